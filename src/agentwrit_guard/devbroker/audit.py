"""The hash-chained audit log (contract section 5, GET /v1/audit/events)."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from agentwrit_guard.devbroker import times

_GENESIS = "0" * 64
# Details quote what callers sent, and a caller may send a token where an id belongs.
_TOKEN = re.compile(r"(?<![\w-])eyJ[\w-]*\.[\w-]+\.[\w-]+", re.ASCII)
_ORDER = (
    *("id", "timestamp", "event_type", "agent_id", "task_id", "orch_id", "detail", "resource", "outcome"),
    *("deleg_depth", "deleg_chain_hash", "bytes_transferred"),
    *("hash", "prev_hash"),
)
_OPTIONAL = {"agent_id", "task_id", "orch_id", "resource", "deleg_depth", "deleg_chain_hash", "bytes_transferred"}


@dataclass(frozen=True)
class Event:
    """One entry. `detail` and the ids are the only free text: no secret and no token goes in here."""

    id: str
    at: float
    event_type: str
    agent_id: str
    task_id: str
    orch_id: str
    detail: str
    outcome: str
    deleg_depth: int
    deleg_chain_hash: str
    prev_hash: str
    # Always empty here; they are part of what is hashed.
    resource: str = ""
    bytes_transferred: int = 0
    timestamp: str = field(init=False)
    hash: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "timestamp", times.nanoseconds(self.at))
        hashed = [self.prev_hash, *(str(getattr(self, name)) for name in _ORDER[:-2])]
        object.__setattr__(self, "hash", hashlib.sha256("|".join(hashed).encode()).hexdigest())

    def wire(self) -> dict[str, Any]:
        """The members in their order, optional ones left out when empty or 0."""
        return {name: getattr(self, name) for name in _ORDER if name not in _OPTIONAL or getattr(self, name)}


class AuditLog:
    """Events in order, oldest first. Survives a restart of the twin; validate never writes to it."""

    def __init__(self) -> None:
        self._events: list[Event] = []

    def __len__(self) -> int:
        return len(self._events)

    def append(
        self,
        at: float,
        event_type: str,
        detail: str,
        *,
        outcome: str = "success",
        agent_id: str = "",
        task_id: str = "",
        orch_id: str = "",
        deleg_depth: int = 0,
        deleg_chain_hash: str = "",
    ) -> Event:
        """Add one event; `at` is in unix seconds, `outcome` is `success` or `denied`. Tokens in `detail` are hidden."""
        event = Event(
            id=f"evt-{len(self._events) + 1:06d}",
            at=at,
            event_type=event_type,
            agent_id=agent_id,
            task_id=task_id,
            orch_id=orch_id,
            detail=_TOKEN.sub("[token]", detail),
            outcome=outcome,
            deleg_depth=deleg_depth,
            deleg_chain_hash=deleg_chain_hash,
            prev_hash=self._events[-1].hash if self._events else _GENESIS,
        )
        self._events.append(event)
        return event

    def types(self, start: int) -> Counter[str]:
        """How many events of each type there are from position `start` on."""
        return Counter(event.event_type for event in self._events[start:])

    def find(self, event_type: str, since: float | None) -> list[Event]:
        """All events of a type (`""`: of any) from `since` on, in unix seconds."""
        return [
            event
            for event in self._events
            if (not event_type or event.event_type == event_type) and (since is None or event.at >= since)
        ]
