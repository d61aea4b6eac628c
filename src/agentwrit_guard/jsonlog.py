"""Decision records as JSON lines: a formatter that writes them, and a reader for whoever counts them.

A line is one JSON object in ASCII, whatever a client put into its path. Of a line that is read nothing is guessed: it
is an object from its first character to its last, or it is left out and counted. Text before the object is not taken:
a client's path may hold the text of a whole record, and another logger's line quotes it.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import IO, Any, Final

from agentwrit_guard.core import strictjson
from agentwrit_guard.core.decisions import EVENT_VERSION, DecisionEvent

DECISIONS: Final = "agentwrit_guard.decisions"
EVENTS: Final = "agentwrit_guard.events"
MAX_LINE: Final = 2**20
"""Bytes of the longest line that is read: no server lets a path in that makes one of this length."""

_SURROGATE = re.compile("[\ud800-\udfff]")
# Whole runs, and not the three parts of a token, so that no text makes the search slow, and no other dot hides one.
_RUN = re.compile(r"[A-Za-z0-9_.-]{40,}")
# With what is left before it of a dot that was escaped, and before that.
_SIGNATURE: Final = range(86, 91)
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)", re.ASCII)

_FIELDS: Final = {field.name: None for field in dataclasses.fields(DecisionEvent)}
_TEXTS: Final = ("reason", "front", "method", "path", "request_id", "source")
_OPTIONAL: Final = ("agent_id", "task_id", "jti_hash", "route")
_PHASES: Final = ("middleware", "requirement", "connection")


class JsonFormatter(logging.Formatter):
    """One JSON object a record. A decision has all fields of its `DecisionEvent`; any other record has its message.

    Each has `time` (RFC 3339, UTC, milliseconds), `level` and `logger`. Text that looks like a token is written as
    `[token]`, also where a client put one into a path.
    """

    def format(self, record: logging.LogRecord) -> str:
        said: dict[str, Any] = {
            "time": spelt(datetime.fromtimestamp(record.created, timezone.utc)),
            "level": record.levelname,
            "logger": record.name,
        }
        decision = getattr(record, "decision", None)
        if isinstance(decision, DecisionEvent):
            said |= {name: getattr(decision, name) for name in _FIELDS}
        else:
            if record.name == EVENTS:
                said |= {name: getattr(record, name, None) for name in ("event", "reason")}
            said["message"] = record.getMessage()
            if record.exc_info:
                said["exception"] = self.formatException(record.exc_info)
        return json.dumps(_plain(said), separators=(",", ":"))


def _plain(value: object) -> object:
    """What every JSON reader takes. Half a surrogate pair is none of it, so U+FFFD stands for one."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, Mapping):
        return {str(_plain(name)): _plain(member) for name, member in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(member) for member in value]
    return _RUN.sub(_hidden, _SURROGATE.sub("\ufffd", str(value)))


def _hidden(run: re.Match[str]) -> str:
    """Header and payload of a JWS begin with `{"`, which is `eyJ`, and an Ed25519 signature has 86 characters."""
    text = run.group()
    return "[token]" if "eyJ" in text or len(text) in _SIGNATURE else text


@dataclass(frozen=True)
class Logged:
    """A decision, and when it was logged."""

    time: datetime
    event: DecisionEvent


class Reading:
    """The decisions of some lines, in their order. The counts are right once all have been taken."""

    def __init__(self, lines: Iterable[str | bytes]) -> None:
        self._lines = lines
        self.left_out: int = 0
        """Lines that are no JSON object, or that are a decision's and not of the form that a guard writes."""
        self.others: int = 0
        """Log records that are no decisions."""

    def __iter__(self) -> Iterator[Logged]:
        for line in self._lines:
            try:
                data = line.encode() if isinstance(line, str) else line
                if not data.strip():
                    continue
                members = strictjson.loads(data)
                if not isinstance(members, dict):
                    raise ValueError("not an object")
                if members.get("logger") != DECISIONS:
                    self.others += 1
                    continue
                logged = Logged(moment(members.get("time")), _event(members))
            except ValueError:
                self.left_out += 1
            else:
                yield logged


def read(lines: Iterable[str | bytes]) -> Reading:
    """The decisions in `lines`, as `JsonFormatter` writes them. No line is an error; `left_out` says how many were."""
    return Reading(lines)


def lines(file: IO[bytes]) -> Iterator[bytes]:
    """The lines of a file, in bounded memory. One of more than MAX_LINE bytes becomes one that cannot be read."""
    while line := file.readline(MAX_LINE + 1):
        if len(line) <= MAX_LINE:
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(MAX_LINE)
        yield b"?"


def spelt(time: datetime) -> str:
    """An aware time as RFC 3339 in UTC, with milliseconds."""
    return time.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(text: object) -> datetime:
    """A time as RFC 3339 spells it. ValueError for anything else."""
    found = _TIME.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError("not a time like 2026-01-31T09:30:00Z")
    seconds, fraction, zone = found.groups()
    zone = "+00:00" if zone == "Z" else zone
    time = datetime.fromisoformat(f"{seconds}.{(fraction or '')[:6]:0<6}{zone}")
    try:
        return time.astimezone(timezone.utc)
    except OverflowError:
        raise ValueError("before the year 1, or after 9999") from None


def _event(members: Mapping[str, Any]) -> DecisionEvent:
    """ValueError unless the members are those of a decision. What a newer guard adds beside them is passed over."""
    given = {name: value for name, value in members.items() if name in _FIELDS}
    given["required"], given["missing"] = _texts(given.get("required", [])), _texts(given.get("missing", []))
    detail = given.setdefault("detail", {})
    fits = (
        given.get("outcome") in ("allowed", "denied")
        and given.get("phase") in _PHASES
        and all(isinstance(given.get(name), str) for name in _TEXTS)
        and all(isinstance(given.get(name), (str, type(None))) for name in _OPTIONAL)
        and isinstance(detail, dict)
        and all(isinstance(text, str) for text in detail.values())
        and all(type(given.get(name, 0)) is int for name in ("depth", "status", "version"))
        and given.get("version") == EVENT_VERSION
        and "status" in given
        and isinstance(given.get("enforced", True), bool)
    )
    if not fits:
        raise ValueError("not a decision")
    return DecisionEvent(**given)


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ValueError("not a list of texts")
    return tuple(value)
