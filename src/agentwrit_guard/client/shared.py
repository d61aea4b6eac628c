"""A piece of work that concurrent callers do once, together."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Generic, TypeVar

from agentwrit_guard.core.wire import Flow

T = TypeVar("T")


class Shared(Generic[T]):
    """`key()` names the turn that is under way or next: whoever finds it in a link's calls joins that turn.

    The turn ends inside the flow, before anyone has its outcome. So nobody who has seen one turn end, well or badly,
    can join it again by asking before the link has cleared it away.
    """

    __slots__ = ("_name", "_turn")

    def __init__(self) -> None:
        self._name = secrets.token_bytes(16)
        self._turn = 0

    def key(self) -> bytes:
        return self._name + self._turn.to_bytes(8, "big")

    def flow(self, start: Callable[[], Flow[T]]) -> Flow[T]:
        """This turn's work, which is done only by who begins it."""
        try:
            return (yield from start())
        finally:
            self._turn += 1
