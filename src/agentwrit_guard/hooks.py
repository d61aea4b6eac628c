"""Functions of the program that a guard tells of what it does. Nothing that they do changes a decision.

One that raises is named in the event log, and that is all. Only `Exception` is caught: SystemExit and
KeyboardInterrupt end the program, and a cancelled task has to end. They let nobody in either, for the request ends
with them.
"""

from __future__ import annotations

import inspect
import logging
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from agentwrit_guard.core.decisions import DecisionEvent
from agentwrit_guard.core.witness import ValidationEvent
from agentwrit_guard.errors import ConfigurationError

Hook = Callable[[DecisionEvent], None]
ValidationHook = Callable[[ValidationEvent], None]

E = TypeVar("E")

_events_log: logging.Logger = logging.getLogger("agentwrit_guard.events")


class Hooks:
    """`decision` are those told of decisions: some are there from the start, `watch` adds more."""

    def __init__(self, decision: tuple[Hook, ...]) -> None:
        self.decision: tuple[Hook, ...] = decision
        self._validation: tuple[ValidationHook, ...] = ()
        self.reset()

    def reset(self) -> None:
        """Keep the hooks, with a new lock (for a forked child)."""
        self._lock = threading.Lock()
        self._here = threading.local()

    def decided(self, event: DecisionEvent) -> None:
        for hook in self.decision:
            _call("decision", hook, event)

    def validated(self, event: ValidationEvent) -> None:
        """Tell of a validation; not of one that a hook asks for meanwhile, or it would go on for ever."""
        if getattr(self._here, "telling", False):
            return
        self._here.telling = True
        try:
            for hook in self._validation:
                _call("validation", hook, event)
        finally:
            self._here.telling = False

    def watch(self, on_decision: Hook | None, on_validation: ValidationHook | None) -> Callable[[], None]:
        """Add hooks, until what this returns is called. ConfigurationError for one that cannot be called."""
        decision = () if on_decision is None else (_Added("on_decision", on_decision),)
        validation = () if on_validation is None else (_Added("on_validation", on_validation),)
        with self._lock:
            self.decision += decision
            self._validation += validation

        def end() -> None:
            with self._lock:
                self.decision = tuple(hook for hook in self.decision if hook not in decision)
                self._validation = tuple(hook for hook in self._validation if hook not in validation)

        return end


class _Added(Generic[E]):
    """A hook that was added. The same function added twice is two of them, and each is ended by itself."""

    def __init__(self, name: str, hook: Callable[[E], None]) -> None:
        # The coroutine that an async function gives would never be awaited.
        if not callable(hook) or inspect.iscoroutinefunction(hook):
            raise ConfigurationError(f"{name} must be a plain function of the event, got {hook!r}")
        self._hook = hook

    def __call__(self, event: E) -> None:
        self._hook(event)


def _call(kind: str, hook: Callable[[E], None], event: E) -> None:
    try:
        hook(event)
    except Exception as error:
        _events_log.error("%s hook failed: %s", kind, type(error).__name__, extra={"event": "hook_failed"})
