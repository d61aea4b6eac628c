"""The line before what only so many may do at once: who is next, and whether waiting is worth it (threats X-03).

Some go ahead of the others (threats P5). Among their own kind all are served in the order in which they came.
"""

from __future__ import annotations

import collections
from typing import Generic, TypeVar


class Stand:
    """Somebody's stand in the line."""

    since: float
    number: int
    served: int
    overtaken: int

    def __init__(self, *, ahead: bool = False) -> None:
        self.ahead = ahead


Who = TypeVar("Who", bound=Stand)


class _Kind(Generic[Who]):
    """Those of one kind that stand, and how many of it ever came and were served."""

    def __init__(self) -> None:
        self.standing: collections.OrderedDict[Who, None] = collections.OrderedDict()
        self.came = 0
        self.served = 0


class Line(Generic[Who]):
    """Knows no clock and no lock: `now` is monotonic seconds, and one thread at a time joins, leaves or is next."""

    def __init__(self) -> None:
        self._ahead: _Kind[Who] = _Kind()
        self._behind: _Kind[Who] = _Kind()

    def __len__(self) -> int:
        return len(self._ahead.standing) + len(self._behind.standing)

    def join(self, who: Who, now: float) -> None:
        kind = self._kind(who)
        who.number = kind.served + len(kind.standing)
        kind.standing[who] = None
        kind.came += 1
        self.begin(who, now)

    def begin(self, who: Who, now: float) -> None:
        """What the line does from now on tells `who` how fast it moves."""
        who.since, who.served, who.overtaken = now, self._served(), self._ahead.came

    def leave(self, who: Who) -> None:
        """Whoever does not stand here may leave, too."""
        self._kind(who).standing.pop(who, None)

    def next(self) -> Who | None:
        kind = self._ahead if self._ahead.standing else self._behind
        if not kind.standing:
            return None
        who, _ = kind.standing.popitem(last=False)
        kind.served += 1
        return who

    def moves(self, who: Who, places: int, now: float, left: float) -> bool:
        """Whether `who` may expect its turn, and its end in one of so many `places`, in `left` seconds."""
        kind = self._kind(who)
        # At most so many of its own kind: none of them overtakes, but some before may have left.
        before = min(who.number - kind.served, len(kind.standing) - 1)
        overtaken = 0
        if not who.ahead:
            before += len(self._ahead.standing)
            overtaken = self._ahead.came - who.overtaken
        return in_time(places, before, self._served() - who.served, overtaken, now - who.since, left)

    def _kind(self, who: Who) -> _Kind[Who]:
        return self._ahead if who.ahead else self._behind

    def _served(self) -> int:
        return self._ahead.served + self._behind.served


def in_time(places: int, before: int, served: int, overtaken: int, stood: float, left: float) -> bool:
    """Whether who has `before` others before it may expect its call to end in `left` seconds.

    In the `stood` seconds that it has waited, `served` were served. The first `places` of them prove nothing: so many
    calls can end in any moment, however long they took. Calls before its own are those before it and the `places` that
    are being made. As many as went past it meanwhile (`overtaken`) may be expected to do so again in as many seconds.
    """
    return served > places and (before + places + 1) * stood <= (served - overtaken) * left
