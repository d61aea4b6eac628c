"""One input of the fuzzer: everything that a decision depends on, as a value whose repr can be pasted into Python."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from tests.kit.tokens import NOW

Header = tuple[str, str]
Reply = tuple[int, tuple[Header, ...], bytes]
"""What the broker says to one request: status, headers as sent, body."""

JSON_ANSWER: Final[tuple[Header, ...]] = (("Content-Type", "application/json"),)

Fault = str
"""What the network says instead: one of `FAULTS`."""

FAULTS: Final = ("connect", "timeout", "reset", "tls")
"""After a `reset` the guard asks once more, after the others it does not (threats B-01 to B-03)."""

KINDS: Final[dict[str, Callable[[str], object]]] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "uuid": uuid.UUID,
    "none": lambda _: None,
}
"""How a route may convert the text of a parameter."""


@dataclass(frozen=True)
class Value:
    """A route parameter: its text in the path (None where the front knows only one form), and what it becomes."""

    raw: str | None
    kind: str
    text: str

    @property
    def converted(self) -> object:
        return KINDS[self.kind](self.text)


@dataclass(frozen=True)
class Needs:
    """A requirement as data: `mode` all, any, or agent for any valid one."""

    mode: str = "agent"
    parts: tuple[str | Needs, ...] = ()
    charset: str | None = None
    rules: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """`settings` are the guard's, but that `pinned_keys` are names of `keys.FILES`.

    `now` is the wall clock at the start, `elapsed` what one broker call takes.

    `warm` is a token that the guard has just validated, so that its identity lies in the cache. `replies` answer
    the broker calls of this request in turn, the last one every further call.
    """

    entries: tuple[bytes, ...]
    needs: Needs = Needs()
    params: dict[str, Value] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    replies: tuple[Reply | Fault, ...] = ("connect",)
    now: float = NOW
    elapsed: int = 0
    query: bytes = b""
    warm: str = ""
