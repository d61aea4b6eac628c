"""How many requests would have been refused, and which: in bounded memory, however long the log is."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Generic, NamedTuple, TypeVar

from agentwrit_guard.cli.requests import Place, Request
from agentwrit_guard.core.decisions import Reason
from agentwrit_guard.jsonlog import Logged

MAX_ROWS: Final = 10_000

Key = TypeVar("Key")


@dataclass
class Count:
    """`refused` for something about the agent or its request, `unavailable` because the broker could not be asked."""

    refused: int = 0
    unavailable: int = 0

    def add(self, *, unavailable: bool) -> None:
        if unavailable:
            self.unavailable += 1
        else:
            self.refused += 1

    @property
    def total(self) -> int:
        return self.refused + self.unavailable


class Rows(Generic[Key]):
    """Counts by key. A key that comes when MAX_ROWS others are held is counted in `others`."""

    def __init__(self) -> None:
        self._rows: dict[Key, Count] = {}
        self.others: Count = Count()

    def add(self, key: Key, *, unavailable: bool) -> None:
        count = self._rows.get(key)
        if count is None:
            count = self._rows.setdefault(key, Count()) if len(self._rows) < MAX_ROWS else self.others
        count.add(unavailable=unavailable)

    def top(self, most: int) -> tuple[list[tuple[Key, Count]], int]:
        """The most frequent, those that blame somebody first, and how many refusals are of other rows."""
        rows = sorted(self._rows.items(), key=lambda row: (-row[1].refused, -row[1].unavailable, str(row[0])))
        return rows[:most], self.others.total + sum(count.total for _, count in rows[most:])


class Why(NamedTuple):
    status: int
    reason: str


class Lack(NamedTuple):
    """Scopes that somebody did not hold at a place."""

    agent: str | None
    missing: tuple[str, ...]
    place: Place


@dataclass
class Tally:
    """Requests, and the refusals of those that shadow mode let by: by route, agent, reason, and missing scopes.

    `refusals` counts requests, `ended` connections that would have been ended, `enforced` requests that were refused
    already. A row counts both of the former.
    """

    records: int = 0
    first: datetime | None = None
    last: datetime | None = None
    requests: int = 0
    enforced: int = 0
    refusals: Count = field(default_factory=Count)
    ended: Count = field(default_factory=Count)
    routes: Rows[Place] = field(default_factory=Rows)
    agents: Rows[str | None] = field(default_factory=Rows)
    reasons: Rows[Why] = field(default_factory=Rows)
    lacks: Rows[Lack] = field(default_factory=Rows)

    @property
    def wanting(self) -> bool:
        """Whether anything would have been refused or ended."""
        return bool(self.refusals.total or self.ended.total)

    def saw(self, logged: Logged) -> None:
        self.records += 1
        self.first = logged.time if self.first is None else min(self.first, logged.time)
        self.last = logged.time if self.last is None else max(self.last, logged.time)

    def add(self, request: Request) -> None:
        refused = request.refused
        if not request.connection:
            self.requests += 1
            self.enforced += refused
        first = request.first
        if first is None or refused:
            return
        unavailable = first.status >= 500
        (self.ended if request.connection else self.refusals).add(unavailable=unavailable)
        self.routes.add(request.place, unavailable=unavailable)
        self.agents.add(request.agent, unavailable=unavailable)
        self.reasons.add(Why(first.status, first.reason), unavailable=unavailable)
        # Every requirement that was not met: to mend only the first would end in a refusal by the next.
        missing = {each.missing for each in request.refusals if each.reason == Reason.INSUFFICIENT_SCOPE.code}
        for scopes in sorted(missing):
            self.lacks.add(Lack(request.agent, scopes, request.place), unavailable=False)
