"""An exception at any line of the guard refuses the request: 500 or 503, and the handler never runs (threats R-21)."""

from __future__ import annotations

import gc
import itertools
import linecache
import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import agentwrit_guard
from agentwrit_guard.core.bearer import _fixed
from tests.fronts.altered import serve
from tests.fronts.expect import expect
from tests.fronts.test_table import bearer, get
from tests.kit.drivers import Answer, Request
from tests.kit.fronts import Front
from tests.kit.stub import StubBroker
from tests.kit.tokens import token

PACKAGE = f"{Path(agentwrit_guard.__file__).parent}{os.sep}"
Line = tuple[str, int]
# Lines that do nothing, so that nothing can go wrong at them.
IDLE = ("try:", "while True:", "pass", "continue")
# Tidies up beside the request, when the broker's answer is there already: it decides nothing.
BESIDE = ("_forget", "give")
ASKING = ("link", "exchange", "transport", "surplus", "tls", "wire")


def _asks(file: Path) -> bool:
    return file.stem in ASKING or file.parent.name in ASKING


class Chaos(Exception):
    """What nobody in the guard expects."""


class Tracer:
    """Notes the lines of the package that run until the handler does, or raises once at one of them."""

    def __init__(self, front: Front, at: Line | None = None, error: type[Exception] = Chaos) -> None:
        self.lines: dict[Line, None] = {}
        self.fired = False
        self._front = front
        self._at = at
        self._error = error
        self._ran = len(front.ran)

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        code = frame.f_code
        return self._line if code.co_filename.startswith(PACKAGE) and code.co_name not in BESIDE else None

    def _line(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "line" and not self.fired and len(self._front.ran) == self._ran:
            line = (frame.f_code.co_filename, frame.f_lineno)
            if linecache.getline(*line).strip() not in IDLE:
                self.lines[line] = None
            if line == self._at:
                self.fired = True
                raise self._error("chaos")
        return self._line

    def ask(self, request: Request) -> Answer:
        """The answer to a request, traced. From a thread of its own: what a trace function raises within an `except`
        can stay behind in its thread, as the context of every later error there."""
        _fixed.cache_clear()  # refusals are made once and kept
        self._front.guard.close()  # threads that are there already would not be traced
        answers: list[Answer] = []
        thread = threading.Thread(target=lambda: answers.append(self._front.request(request)))
        others = threading.gettrace()
        threading.settrace(self)
        try:
            thread.start()
            thread.join()
        finally:
            threading.settrace(others)
        (answer,) = answers
        return answer


_numbers = itertools.count()


def fresh() -> tuple[str, bytes]:
    """A good token that the guard has not seen."""
    return bearer(token(jti=f"{next(_numbers):032x}"))


SEEN = bearer(token(jti="seen"))
# Of each walk: how to ask, and the status without chaos.
WALKS: dict[str, tuple[Callable[[], Request], int]] = {
    "a new token": (lambda: get(fresh()), 200),
    "a token seen before": (lambda: get(SEEN, path="/customers/7291"), 200),
    "asked again": (lambda: get(SEEN, path="/fresh"), 200),
    "another's id": (lambda: get(SEEN, path="/customers/8"), 403),
    "no credentials": (get, 401),
    "a malformed token": (lambda: get(bearer("junk")), 401),
}
CASES = [
    # Their handler takes any request that comes as far: a guard that let it by after a fault would be seen.
    *((name, walk) for name in ("asgi", "wsgi") for walk in ("a new token", "no credentials", "a malformed token")),
    *((name, walk) for name in ("starlette", "fastapi", "flask") for walk in WALKS if walk != "a new token"),
    *((name, walk) for name in ("starlette-alone", "fastapi-dependency", "flask-alone") for walk in
      ("a token seen before", "no credentials")),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name, walk", CASES)
def test_r_21_an_exception_anywhere_lets_nothing_in(
    make_front: Callable[..., Front], broker: StubBroker, name: str, walk: str
) -> None:
    ask, status = WALKS[walk]
    # A refusal that stood before things went wrong may stand.
    refusals = {500, 503} | ({status} if status >= 400 else set())
    # What goes wrong at one line is not to hide the next.
    front = serve(make_front(name, guard_breaker_failures=1_000_000, guard_unknown_token_burst=1_000_000))
    expect(front, broker, get(SEEN, path="/customers/7291"), 200, calls=1)
    quiet = Tracer(front)
    assert quiet.ask(ask()).status == status
    assert len(quiet.lines) > 20
    missed, let_in = [], []
    # What asks the broker is walked once for each of its runners: it takes the longest, and knows nothing of fronts.
    lines = [line for line in quiet.lines if name in ("asgi", "wsgi") or not _asks(Path(line[0]))]
    for line in lines:
        ran = len(front.ran)
        chaos = Tracer(front, line)
        answer = chaos.ask(ask())
        if not chaos.fired:
            missed.append(line)
        elif answer.status not in refusals or len(front.ran) > ran:
            let_in.append((line, answer.status, len(front.ran) - ran))
    gc.collect()
    assert let_in == []
    assert len(missed) <= len(lines) // 20, missed
    # Nothing is stuck: no place in the queue to the broker was lost, no lock kept.
    expect(front, broker, get(fresh(), path="/customers/7291"), 200, calls=1)
