"""OpenTelemetry: `watch(guard)` makes a span of each validation, and writes decisions on the request's span.

Spans name the agent and its task, for a trace is of one request; `agents=False` leaves them out. They never hold a
token, a piece of one, or its id. The metrics page has all names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from agentwrit_guard._version import __version__
from agentwrit_guard.core.decisions import DecisionEvent
from agentwrit_guard.core.witness import ValidationEvent
from agentwrit_guard.errors import ConfigurationError
from agentwrit_guard.guard import Guard

try:
    from opentelemetry import trace
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        f"{__name__} needs opentelemetry-api; pip install 'agentwrit-guard[opentelemetry]'", name=_missing.name
    ) from None

__all__ = ["watch"]

SPAN: Final = "agentwrit.validate"


def watch(
    guard: Guard, *, tracer_provider: trace.TracerProvider | None = None, agents: bool = True
) -> Callable[[], None]:
    """Trace a guard, by the global provider if none is given. Call what this returns to end it.

    The request's span is the current one: instrument the server or the framework outside the guard's middleware.
    Where there is no such span, validations begin traces of their own, and decisions are written nowhere.
    """
    if not isinstance(guard, Guard):
        raise ConfigurationError(f"guard must be a Guard, got {guard!r}")
    tracer = trace.get_tracer("agentwrit_guard", __version__, tracer_provider)

    def decided(event: DecisionEvent) -> None:
        span = trace.get_current_span()
        if span.is_recording():
            # Of the decisions about one request the last one counts: what the request came to.
            span.set_attributes(_decision(event, agents))

    def validated(event: ValidationEvent) -> None:
        start = _nanoseconds(event.started)
        span = tracer.start_span(SPAN, kind=trace.SpanKind.CLIENT, attributes=_validation(event), start_time=start)
        if event.outcome == "unavailable":
            span.set_status(trace.StatusCode.ERROR, event.fault)
        span.end(start + _nanoseconds(event.seconds))

    return guard.watch(decided, validated)


def _decision(event: DecisionEvent, agents: bool) -> Mapping[str, str | bool | int]:
    attributes: dict[str, str | bool | int] = {
        "agentwrit.outcome": event.outcome,
        "agentwrit.reason": event.reason,
        "agentwrit.phase": event.phase,
        "agentwrit.source": event.source,
        "agentwrit.enforced": event.enforced,
    }
    if agents and event.agent_id is not None and event.task_id is not None:
        attributes["agentwrit.agent_id"] = event.agent_id
        attributes["agentwrit.task_id"] = event.task_id
        attributes["agentwrit.depth"] = event.depth
    return attributes


def _validation(event: ValidationEvent) -> Mapping[str, str | bool | float]:
    attributes: dict[str, str | bool | float] = {
        "agentwrit.outcome": event.outcome,
        "agentwrit.retried": event.retried,
    }
    if event.fault is not None:
        attributes["error.type"] = event.fault
    if event.clock_skew is not None:
        attributes["agentwrit.clock_skew"] = event.clock_skew
    return attributes


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1_000_000_000)
