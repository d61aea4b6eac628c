"""Requests, put together again from the records that a log has of them.

A request can have several records: the middleware's, those of its handler's requirements, and one for a connection that
was ended. They share `request_id`, method and path. The id may be the caller's own, so it is not trusted to be new: a
second decision of the middleware, or a record more than a minute after the first, begins another request. The end of a
connection stands for itself, because it can come hours later.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from agentwrit_guard.core.decisions import DecisionEvent
from agentwrit_guard.jsonlog import Logged

MAX_OPEN: Final = 10_000
MAX_REFUSALS: Final = 8
MAX_TEXT: Final = 200
_LONGEST: Final = timedelta(minutes=1)
_LONG_SEGMENT: Final = 32
_ID = re.compile(r"\d")

Key = tuple[str, str, str]


class Place(NamedTuple):
    """A route as it is declared. Where none is known, the path with `*` for each segment that may be an id."""

    method: str
    path: str
    declared: bool


class Refusal(NamedTuple):
    """A denied decision that was not acted on."""

    phase: str
    reason: str
    status: int
    missing: tuple[str, ...]


@dataclass
class Request:
    """What is known of one request, or of one connection that would have been ended (`connection`)."""

    began: datetime
    method: str
    path: str
    connection: bool = False
    route: str | None = None
    agent: str | None = None
    judged: bool = False
    """Whether the middleware's record is among those seen."""
    refused: bool = False
    """Whether one of its refusals was acted on."""
    refusals: dict[Refusal, None] = field(default_factory=dict)

    @property
    def place(self) -> Place:
        if self.route is not None:
            return Place(self.method, self.route, declared=True)
        return Place(self.method, _masked(self.path), declared=False)

    @property
    def first(self) -> Refusal | None:
        """The refusal that the caller would have got: the middleware's, where there is one."""
        return min(self.refusals, key=lambda refusal: refusal.phase != "middleware", default=None)

    def add(self, event: DecisionEvent) -> None:
        self.judged = self.judged or event.phase == "middleware"
        self.route = self.route if event.route is None else _cut(event.route)
        self.agent = self.agent if event.agent_id is None else _cut(event.agent_id)
        if event.outcome == "allowed":
            return
        if event.enforced:
            self.refused = True
        elif len(self.refusals) < MAX_REFUSALS:
            missing = tuple(_cut(scope) for scope in event.missing[:MAX_REFUSALS])
            self.refusals[Refusal(event.phase, _cut(event.reason), event.status, missing)] = None


class Requests:
    """Takes records in the order of the log, and gives each request to `whole` once no more of it is waited for."""

    def __init__(self, whole: Callable[[Request], None]) -> None:
        self._whole = whole
        self._open: dict[Key, Request] = {}

    def add(self, logged: Logged) -> None:
        event = logged.event
        key = (_cut(event.request_id), _cut(event.method), _cut(event.path))
        known = self._open.get(key)
        if event.phase == "connection":
            route, agent = (None, None) if known is None else (known.route, known.agent)
            ended = Request(logged.time, key[1], key[2], connection=True, route=route, agent=agent)
            ended.add(event)
            self._whole(ended)
            return
        if known is not None and (
            (known.judged and event.phase == "middleware") or abs(logged.time - known.began) > _LONGEST
        ):
            self._whole(self._open.pop(key))
            known = None
        if known is None:
            if len(self._open) >= MAX_OPEN:
                self._whole(self._open.pop(next(iter(self._open))))
            known = self._open[key] = Request(logged.time, key[1], key[2])
        known.add(event)

    def end(self) -> None:
        """No record comes after this."""
        for request in self._open.values():
            self._whole(request)
        self._open.clear()


def _masked(path: str) -> str:
    segments = path.split("/")
    return "/".join("*" if len(part) > _LONG_SEGMENT or _ID.search(part) else part for part in segments)


def _cut(text: str) -> str:
    """Enough of a text to know it by; a log is anybody's, and what is kept of it has to be bounded."""
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}..."
