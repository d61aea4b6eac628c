"""The canary sweep (threats L-01, P9): while any test of this suite runs, no 16 characters of any signature that was
minted in it may come to light.

Looked at are: log records with their tracebacks, every refusal, event and count that is made, what `pytest.raises`
catches (text, attributes, chain, and the locals of our own frames), the caches of guards, and after each file the
`repr` of every object of the package that lives.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import re
import traceback
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

import pytest

from agentwrit_guard.core.decisions import DecisionEvent, Denied
from agentwrit_guard.core.witness import ValidationEvent
from agentwrit_guard.devbroker.tokens import Signer
from agentwrit_guard.standing import _GUARDS
from agentwrit_guard.stats import Stats
from tests.kit import tokens

WINDOW = 16
_RUN = re.compile(rf"[A-Za-z0-9_-]{{{WINDOW},}}")
_PACKAGE = "agentwrit_guard"
# What a caller hands over stands in the caller's own frame as well, and in the server's scope.
_CALLERS = frozenset(("authorization", "entries", "scope", "environ"))


class Canary:
    """What was minted, and where it was seen since somebody last asked."""

    def __init__(self) -> None:
        self._windows: set[str] = set()
        self.found: list[str] = []

    def mint(self, token: str) -> str:
        signature = token.rpartition(".")[2]
        self._windows.update(signature[start : start + WINDOW] for start in range(len(signature) - WINDOW + 1))
        return token

    def looks(self, where: str, text: str) -> None:
        for run in _RUN.findall(text):
            if any(run[start : start + WINDOW] in self._windows for start in range(len(run) - WINDOW + 1)):
                self.found.append(f"{where}: ...{run[:4]}... ({len(run)} characters)")

    def taken(self) -> list[str]:
        found, self.found = self.found, []
        return found

    def forget(self) -> None:
        self._windows.clear()


class _Handler(logging.Handler):
    def __init__(self, canary: Canary) -> None:
        super().__init__(level=1)
        self._canary = canary

    def emit(self, record: logging.LogRecord) -> None:
        own = {name: value for name, value in vars(record).items() if name not in ("args", "exc_info", "msg")}
        self._canary.looks(f"log {record.name}", f"{record.getMessage()} {own!r}")
        if record.exc_info and record.exc_info[1] is not None:
            _sweep_exception(self._canary, f"log {record.name}", record.exc_info[1])


def _sweep_exception(canary: Canary, where: str, error: BaseException) -> None:
    seen: set[int] = set()
    queue: list[BaseException | None] = [error]
    while queue:
        one = queue.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        if str(type(one).__module__).startswith(_PACKAGE):
            canary.looks(f"{where}, {type(one).__name__}", f"{one} {one!r} {vars(one)!r}")
        _sweep_frames(canary, f"{where}, {type(one).__name__}", one.__traceback__)
        queue += [one.__cause__, one.__context__]


def _sweep_frames(canary: Canary, where: str, trace: TracebackType | None) -> None:
    for frame, line in traceback.walk_tb(trace):
        module = frame.f_globals.get("__name__", "")
        if module.startswith(_PACKAGE) and not module.startswith(f"{_PACKAGE}.devbroker"):
            for name in set(frame.f_locals) - _CALLERS:
                value = frame.f_locals[name]
                with contextlib.suppress(Exception):
                    canary.looks(f"{where}, local {name} at {module}:{line}", repr(value))


def _watched(canary: Canary, made: type, text: Callable[[Any], str]) -> Callable[..., None]:
    original: Any = made.__init__

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        canary.looks(made.__name__, text(self))

    return init


CANARY = Canary()


@pytest.fixture(scope="session", autouse=True)
def _canary_watches() -> Iterator[None]:
    from _pytest import raises

    patch = pytest.MonkeyPatch()
    sign, issue, leave = tokens.sign, Signer.sign, raises.RaisesExc.__exit__

    def left(self: Any, kind: Any, error: Any, trace: Any) -> bool:
        if error is not None:
            _sweep_exception(CANARY, "raised", error)
        return leave(self, kind, error, trace)

    patch.setattr(tokens, "sign", lambda *args, **kwargs: CANARY.mint(sign(*args, **kwargs)))
    patch.setattr(Signer, "sign", lambda self, claims: CANARY.mint(issue(self, claims)))
    patch.setattr(raises.RaisesExc, "__exit__", left)
    patch.setattr(Denied, "__init__", _watched(CANARY, Denied, lambda made: f"{made!r} {made.headers} {made.body!r}"))
    for kind in (DecisionEvent, ValidationEvent, Stats):
        patch.setattr(kind, "__init__", _watched(CANARY, kind, repr))
    handler = _Handler(CANARY)
    logging.getLogger().addHandler(handler)
    yield
    logging.getLogger().removeHandler(handler)
    patch.undo()


@pytest.fixture(autouse=True)
def _canary_sings(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    for guard in list(_GUARDS):
        if len(guard._cache) <= 1000:
            identities = guard._cache._identities
            packed = identities._packed._shards if identities._packed is not None else ()
            kept = [*identities._live.items(), *packed, *guard._cache._rejected.items()]
            CANARY.looks(f"cache of {guard!r}", repr(kept))
    found = CANARY.taken()
    if found and request.node.get_closest_marker("canary_dies") is None:
        pytest.fail("token bytes came to light:\n" + "\n".join(found), pytrace=False)


@pytest.fixture(scope="module", autouse=True)
def _canary_looks_round() -> Iterator[None]:
    yield
    for thing in gc.get_objects():
        if str(type(thing).__module__).startswith(_PACKAGE):
            with contextlib.suppress(Exception):
                CANARY.looks(f"repr of a {type(thing).__qualname__}", repr(thing))
    CANARY.forget()
    found = CANARY.taken()
    if found:
        pytest.fail("token bytes came to light:\n" + "\n".join(found), pytrace=False)
