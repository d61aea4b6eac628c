"""Where validated identities wait: the thousand used last as they are handed out, all others packed."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from agentwrit_guard.core.identity import Identity, unpack
from agentwrit_guard.core.shards import Shards

LIVE: Final = 1024
"""How many are kept unpacked: some 9,000 objects, which the garbage collector goes through in a millisecond or two."""


class Identities:
    """Up to `size`; the least recently used goes first (above 8,192 of them: of its shard).

    `live` may be called at any time. Everything else needs the lock of whoever keeps this.
    """

    def __init__(self, size: int, resources: frozenset[str] | None) -> None:
        self._resources = resources
        self._room = min(size, LIVE)
        self._live: OrderedDict[bytes, Identity] = OrderedDict()
        self._packed = Shards(size - self._room) if size > self._room else None

    def live(self, key: bytes) -> Identity | None:
        """The identity, if it is one of those used last. Each step is a single one for the interpreter."""
        identity = self._live.get(key)
        if identity is None:
            return None
        try:
            self._live.move_to_end(key)
        except KeyError:
            # Another thread has moved it meanwhile: it was here a moment ago.
            return identity
        return identity

    def get(self, key: bytes) -> Identity | None:
        """The identity, which counts as used now."""
        identity = self.live(key)
        packed = None if identity is not None or self._packed is None else self._packed.pop(key)
        if packed is None:
            return identity
        # Always: one that stayed among the packed would be dropped before live ones that nobody has used for longer.
        identity = unpack(packed, self._resources)
        self._take(key, identity)
        return identity

    def put(self, key: bytes, identity: Identity) -> None:
        if self._packed is not None:
            self._packed.pop(key)
        self._take(key, identity)

    def pop(self, key: bytes) -> Identity | None:
        identity = self._live.pop(key, None)
        packed = None if self._packed is None else self._packed.pop(key)
        return identity if packed is None else unpack(packed, self._resources)

    def __len__(self) -> int:
        return len(self._live) + (0 if self._packed is None else len(self._packed))

    def _take(self, key: bytes, identity: Identity) -> None:
        self._live[key] = identity
        self._live.move_to_end(key)
        if len(self._live) > self._room:
            oldest, waiting = self._live.popitem(last=False)
            if self._packed is not None:
                self._packed.put(oldest, waiting.pack())
