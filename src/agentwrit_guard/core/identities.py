"""Where validated identities wait: a thousand of those used last as they are handed out, all others packed."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from agentwrit_guard.core.identity import Identity, unpack
from agentwrit_guard.core.shards import Shards

LIVE: Final = 1024
"""How many are kept unpacked: some 10,000 objects, which the garbage collector goes through in a millisecond or two."""


class _Seat:
    """The place of a live one, and the turns at which it took it and was used last."""

    __slots__ = ("identity", "since", "used")

    def __init__(self, identity: Identity, turn: int) -> None:
        self.identity = identity
        self.since = self.used = turn


class Identities:
    """Up to `size`; who was used among the last `size` less `LIVE` turns stays (above 8,192 of them: nearly).

    A turn is whatever keeps an identity, or finds a packed one. `live` may be called at any time. Everything else
    needs the lock of whoever keeps this.
    """

    def __init__(self, size: int, resources: frozenset[str] | None) -> None:
        self._resources = resources
        self._turn = 0
        self._room = min(size, LIVE)
        self._live: OrderedDict[bytes, _Seat] = OrderedDict()
        self._packed = Shards(size - self._room) if size > self._room else None
        # Packed ones that were used lately. Whoever comes a second time takes the place of a live one, so that a
        # crowd of which each comes once does not push out those that come again and again.
        self._once: set[bytes] = set()

    def live(self, key: bytes) -> Identity | None:
        """The identity, if it is one of the unpacked. Whoever moves it meanwhile does not matter."""
        seat = self._live.get(key)
        if seat is None:
            return None
        seat.used = self._turn
        return seat.identity

    def get(self, key: bytes) -> Identity | None:
        """The identity, which counts as used now."""
        identity = self.live(key)
        packed = None if identity is not None or self._packed is None else self._packed.use(key)
        if packed is None:
            return identity
        self._turn += 1
        identity = unpack(packed, self._resources)
        if key in self._once:
            self.put(key, identity)
        else:
            if len(self._once) >= LIVE:
                self._once.clear()
            self._once.add(key)
        return identity

    def put(self, key: bytes, identity: Identity) -> None:
        self._live.pop(key, None)
        if self._packed is not None:
            self._packed.pop(key)
            self._once.discard(key)
        if len(self._live) >= self._room:
            self._make_room()
        self._live[key] = _Seat(identity, self._turn)
        # From here on: a use is later than the place was taken.
        self._turn += 1

    def pop(self, key: bytes) -> Identity | None:
        seat = self._live.pop(key, None)
        packed = None if self._packed is None else self._packed.pop(key)
        if packed is not None:
            return unpack(packed, self._resources)
        return None if seat is None else seat.identity

    def __len__(self) -> int:
        return len(self._live) + (0 if self._packed is None else len(self._packed))

    def _make_room(self) -> None:
        """Of the live ones the first goes that was not used since it took its place, or since it was here last."""
        key, seat = next(iter(self._live.items()))
        while seat.used > seat.since:
            seat.since = seat.used
            self._live.move_to_end(key)
            key, seat = next(iter(self._live.items()))
        del self._live[key]
        if self._packed is None:
            return
        # Not for one that nobody has used for as long as it takes to go through all the packed: they come first.
        if not (self._packed.full and self._turn - seat.used > len(self._packed)):
            self._packed.put(key, seat.identity.pack())
