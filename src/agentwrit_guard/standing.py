"""A guard's standing in its process: a test run and a fork find every guard here, and change what it goes by.

In a test run an engine that knows who is asking may stand in for the guard's own, and another clock for the real one.
"""

from __future__ import annotations

import abc
import contextlib
import os
import weakref
from collections.abc import Callable, Iterator, Mapping

from agentwrit_guard import testrun
from agentwrit_guard.clock import Clock
from agentwrit_guard.core.claims import Principal
from agentwrit_guard.core.engine import Engine
from agentwrit_guard.core.standin import StandIn
from agentwrit_guard.errors import ConfigurationError
from agentwrit_guard.hooks import Hook
from agentwrit_guard.parts import Parts
from agentwrit_guard.settings import Settings


class Standing(abc.ABC):
    """What of a guard a test run exchanges, and a forked child forgets."""

    def __init__(self, settings: Settings, clock: Clock, hooks: tuple[Hook, ...]) -> None:
        self._clock = clock
        self._parts = parts = Parts.of(settings, lambda: self._clock, hooks)
        # The one that decides, read at each request: exchanged as a whole, so that nothing asks whether this is a test.
        self._engine: Engine = parts.engine
        self._cache = parts.cache
        self._overrides: dict[object, Principal] = {}
        self._agents: Mapping[str, Principal] | None = None
        _GUARDS.add(self)
        for met in _NEWCOMERS:
            met(self)

    @abc.abstractmethod
    def close(self) -> None:
        """Close the sync connections. Use after it opens new ones."""

    def override(self, principal: Principal) -> contextlib.AbstractContextManager[None]:
        """For tests: while open, every request to this guard is decided as if it carried `principal`.

        That goes for requests without a token, or with any other credentials, too. Requirements and expiry are judged
        as ever, and public paths stay public. Of two overrides the one opened last counts. ConfigurationError
        outside a test run, which is pytest with this package's plugin on.
        """
        _check_test_run()
        if not isinstance(principal, Principal):
            raise ConfigurationError(f"principal must be a Principal, got {type(principal).__name__}")
        return self._overridden(principal)

    @contextlib.contextmanager
    def _overridden(self, principal: Principal) -> Iterator[None]:
        _check_test_run()
        key = object()
        self._overrides[key] = principal
        self._exchange_engine()
        try:
            yield
        finally:
            self._overrides.pop(key, None)
            self._exchange_engine()

    def _end_test_run(self) -> None:
        """Whatever a test left open is over."""
        self._overrides.clear()
        self._know(None)

    def _know(self, agents: Mapping[str, Principal] | None) -> None:
        """Take these tokens for these agents', without asking; None ends that. The test kit alone calls it."""
        self._agents = agents
        self._exchange_engine()

    def _run_on(self, clock: Clock) -> None:
        """Exchange the clock. What was seen by another one is forgotten. The test kit alone calls it."""
        self._clock = clock
        self._parts.reset()

    def _exchange_engine(self) -> None:
        everyone = next(reversed(self._overrides.values()), None)
        if everyone is None and self._agents is None:
            self._engine = self._parts.engine
        else:
            self._engine = StandIn(self._parts.engine, everyone, {} if self._agents is None else self._agents)


_GUARDS: weakref.WeakSet[Standing] = weakref.WeakSet()
# Told of each guard that is made; empty but for the length of some tests.
_NEWCOMERS: list[Callable[[Standing], None]] = []


def _check_test_run() -> None:
    if not testrun.active():
        raise ConfigurationError(
            "override lets every request in, so it works in a test run only: "
            "under pytest, with the plugin agentwrit_guard switched on"
        )


def _end_test_run() -> None:
    for guard in list(_GUARDS):
        guard._end_test_run()


testrun.at_end(_end_test_run)


def _after_fork() -> None:
    for guard in list(_GUARDS):
        guard._parts.reset()


# Absent where there is no fork.
getattr(os, "register_at_fork", lambda **_: None)(after_in_child=_after_fork)
