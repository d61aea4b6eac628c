"""Validated identities, for as long as the guard may rely on them (threats C).

Holds identities, never decisions, and never a token: keys are keyed hashes. Entries carry the start of the
validating call on both clocks, so that neither a stepped wall clock nor a suspended machine stretches their age.
Whether an entry is young enough is the engine's question; the cache bounds numbers only. Tokens that the broker
rejected live in a store of their own, so that strangers cannot evict agents, and those that it had confirmed before
in a third: a broker that loses a revocation does not bring them back (C-27).
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Callable
from typing import Final

from cachetools import LRUCache

from agentwrit_guard.core.identities import Identities
from agentwrit_guard.core.identity import Identity
from agentwrit_guard.core.instant import Instant

NEGATIVE_TTL: Final = 5.0


class TokenHash:
    """Keyed hash of a token, bound to the settings that its identity depends on (C-01 to C-03).

    The key is random and lives with the process, so a dump of the cache tells nothing about tokens.
    """

    __slots__ = ("_start",)

    def __init__(self, *settings: str) -> None:
        state = hashlib.blake2b(key=secrets.token_bytes(32), digest_size=32)
        for text in ("v1", *settings):
            data = text.encode()
            state.update(len(data).to_bytes(8, "big") + data)
        # Copied for each token, which is faster than to begin with the key anew.
        self._start = hashlib.blake2b(key=state.digest(), digest_size=32)

    def __call__(self, token: bytes) -> bytes:
        state = self._start.copy()
        state.update(token)
        return state.digest()


class IdentityCache:
    """Three bounded least-recently-used stores behind one lock that is never held across I/O, nor for a hit.

    Those of rejected and of revoked tokens have room for `negative_size` each.
    """

    def __init__(self, size: int, negative_size: int, resources: frozenset[str] | None = None) -> None:
        self._sizes = size, negative_size
        self._resources = resources
        self.reset()

    def reset(self) -> None:
        """Empty, with a new lock: in a forked child the old one may be held by a thread that is not there."""
        self._lock = threading.Lock()
        self._identities = Identities(self._sizes[0], self._resources)
        self.live: Callable[[bytes], Identity | None] = self._identities.live
        """The identity, if it is one of the unpacked. Takes no lock: it reads a mapping and leaves a number."""
        self._rejected: LRUCache[bytes, Instant] = LRUCache(self._sizes[1])
        self._tombstones: LRUCache[bytes, int] = LRUCache(self._sizes[1])

    def get(self, key: bytes) -> Identity | None:
        with self._lock:
            return self._identities.get(key)

    def put(self, key: bytes, identity: Identity) -> bool:
        """Keep an identity, unless the one held was confirmed by a call that started later.

        False if the broker has meanwhile rejected the token in answer to a later call, or to one as late, or had
        rejected it after it was valid here.
        """
        with self._lock:
            rejected = self._rejected.get(key)
            if rejected is not None and rejected.monotonic >= identity.started.monotonic:
                self._bury(key, identity, rejected)
                return False
            if self._buried(key, identity.started.wall):
                return False
            held = self._identities.get(key)
            if held is None or held.started.monotonic <= identity.started.monotonic:
                self._identities.put(key, identity)
                self._rejected.pop(key, None)
            return True

    def reject(self, key: bytes, started: Instant) -> None:
        """Forget an identity: the broker no longer confirms it. One that an earlier call had confirmed stays out
        until its `exp`; of two calls at a time nobody knows which the broker answered first."""
        with self._lock:
            held = self._identities.pop(key)
            if held is not None:
                self._bury(key, held, started)
            known = self._rejected.get(key)
            if known is None or known.monotonic <= started.monotonic:
                self._rejected[key] = started

    def rejected(self, key: bytes, now: Instant) -> bool:
        """Whether the broker rejected the token in the last few seconds, or ever since it was valid here."""
        with self._lock:
            started = self._rejected.get(key)
            if started is not None and started.age(now) < NEGATIVE_TTL:
                return True
            return self._buried(key, now.wall)

    def _bury(self, key: bytes, identity: Identity, rejected: Instant) -> None:
        if identity.started.monotonic < rejected.monotonic:
            self._tombstones[key] = identity.allowed.principal.claims.exp

    def _buried(self, key: bytes, wall: float) -> bool:
        """Not removed at `exp`: a wall clock that is set back must not raise the dead."""
        exp = self._tombstones.get(key)
        return exp is not None and wall < exp

    def sizes(self) -> tuple[int, int, int]:
        """How many identities, rejected and revoked tokens there are."""
        with self._lock:
            return len(self._identities), len(self._rejected), len(self._tombstones)

    def __len__(self) -> int:
        with self._lock:
            return len(self._identities)
