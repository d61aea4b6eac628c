"""A bounded mapping of hashes to texts, from which the one used longest ago goes first.

It is split by the first bytes of the hash, because a table that has to grow stands still for as long as it is large:
one dict of a million entries for 30 to 100 ms. Plain dicts that hold nothing but bytes and texts are left alone by the
garbage collector (up to Python 3.13), which an OrderedDict is not.
"""

from __future__ import annotations

from typing import Final

_SHARD: Final = 4096
_MOST: Final = 4096


class Shards:
    """Room for `size`. From 8,192 on the oldest of the newcomer's shard goes instead of the oldest of all.

    Not for two threads.
    """

    __slots__ = ("_held", "_mask", "_room", "_shards")

    def __init__(self, size: int) -> None:
        number = 1
        while number < _MOST and size >= 2 * number * _SHARD:
            number *= 2
        self._mask = number - 1
        # Of all together: hashes do not fill shards quite evenly, and what one lacks another may have.
        self._room = size
        self._held = 0
        self._shards: tuple[dict[bytes, str], ...] = tuple({} for _ in range(number))

    def put(self, key: bytes, value: str) -> None:
        shard = self._of(key)
        self._held += shard.pop(key, None) is None
        shard[key] = value
        if self._held > self._room:
            # A dict keeps the order, and looks past what was deleted at its front, which is less than a shard.
            del shard[next(iter(shard))]
            self._held -= 1

    @property
    def full(self) -> bool:
        return self._held >= self._room

    def use(self, key: bytes) -> str | None:
        """The value, which goes to the end of the line."""
        shard = self._of(key)
        value = shard.pop(key, None)
        if value is not None:
            shard[key] = value
        return value

    def pop(self, key: bytes) -> str | None:
        value = self._of(key).pop(key, None)
        self._held -= value is not None
        return value

    def __len__(self) -> int:
        return self._held

    def _of(self, key: bytes) -> dict[bytes, str]:
        return self._shards[int.from_bytes(key[:2], "big") & self._mask]
