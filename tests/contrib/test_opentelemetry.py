"""OpenTelemetry: a span of each validation, below the request's; decisions on the request's span; never a token."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator, Sequence
from email.utils import formatdate
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from agentwrit_guard import Guard
from agentwrit_guard.contrib import opentelemetry
from agentwrit_guard.contrib.opentelemetry import SPAN
from agentwrit_guard.errors import ConfigurationError
from tests.canary import CANARY
from tests.fronts.test_table import CASES, bearer, get
from tests.kit.clock import MovableClock
from tests.kit.drivers import Request, asgi_request
from tests.kit.fronts import FRONTS
from tests.kit.stub import Answer, StubBroker, invalid, valid
from tests.kit.tokens import AGENT, NOW, delegated, record, token

ROWS = {case.values[1].id: case.values[1] for case in CASES}
ENTRIES = [b"Bearer " + token().encode()]
SECOND = 1_000_000_000
# All there may be.
ATTRIBUTES = {
    "agentwrit.outcome", "agentwrit.reason", "agentwrit.phase", "agentwrit.source", "agentwrit.enforced",
    "agentwrit.agent_id", "agentwrit.task_id", "agentwrit.depth", "agentwrit.retried", "agentwrit.clock_skew",
    "error.type",
}  # fmt: skip


class Tracing:
    """A provider of its own, and what it exported."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = self.provider.get_tracer("tests")

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        return self._exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]


@pytest.fixture
def tracing() -> Iterator[Tracing]:
    made = Tracing()
    yield made
    made.provider.shutdown()


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def guard(broker: StubBroker, clock: MovableClock, tracing: Tracing) -> Iterator[Guard]:
    made = Guard(broker.url, clock=clock.clock)
    opentelemetry.watch(made, tracer_provider=tracing.provider)
    yield made
    made.close()


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


@pytest.mark.parametrize("way", ["check", "acheck"])
def test_a_validation_is_a_span_below_the_current_one(
    guard: Guard, broker: StubBroker, tracing: Tracing, clock: MovableClock, way: str
) -> None:
    def slow(body: bytes) -> Answer:
        clock.move(0.25)
        status, headers, text = valid(body)
        return status, {**headers, "Date": formatdate(NOW + 1, usegmt=True)}, text

    async def once() -> None:
        await guard.acheck(ENTRIES)
        await guard.aclose()

    broker.answer = slow
    with tracing.tracer.start_as_current_span("request") as request:
        for _ in range(2):  # the second is a hit
            asyncio.run(once()) if way == "acheck" else guard.check(ENTRIES)
    (span,) = tracing.named(SPAN)
    assert span.parent is not None
    assert span.parent.span_id == request.get_span_context().span_id
    assert span.kind is trace.SpanKind.CLIENT
    assert span.status.status_code is trace.StatusCode.UNSET
    assert (span.start_time, span.end_time) == ((NOW + 1) * SECOND, (NOW + 1) * SECOND + SECOND // 4)
    assert attributes(span) == {
        "agentwrit.outcome": "valid", "agentwrit.retried": False, "agentwrit.clock_skew": pytest.approx(0.375)
    }  # fmt: skip


def test_without_a_current_span_it_is_a_trace_of_its_own(guard: Guard, tracing: Tracing) -> None:
    guard.check(ENTRIES)
    (span,) = tracing.spans
    assert (span.name, span.parent) == (SPAN, None)


def test_no_answer_is_an_error_that_names_the_fault(guard: Guard, broker: StubBroker, tracing: Tracing) -> None:
    broker.answer = lambda _: (503, {}, b"")
    guard.check(ENTRIES)
    broker.answer = invalid
    guard.check(ENTRIES)
    failed, rejected = tracing.spans
    assert (failed.status.status_code, failed.status.description) == (trace.StatusCode.ERROR, "status")
    assert attributes(failed) == {
        "agentwrit.outcome": "unavailable", "agentwrit.retried": False, "error.type": "status"
    }  # fmt: skip
    # A no is an answer.
    assert rejected.status.status_code is trace.StatusCode.UNSET
    assert attributes(rejected) == {"agentwrit.outcome": "invalid", "agentwrit.retried": False}


def traced(tracing: Tracing, guard: Guard, front: str, request: Request) -> dict[str, Any]:
    """The attributes of a request's span, as an instrumentation outside the guard makes one."""
    made = FRONTS[front](guard)
    with tracing.tracer.start_as_current_span("request"):
        made.request(request)
    return attributes(tracing.named("request")[-1])


@pytest.mark.parametrize("front", ["asgi", "wsgi", "starlette", "fastapi", "flask"])
def test_the_last_decision_stands_on_the_requests_span(guard: Guard, tracing: Tracing, front: str) -> None:
    chain = token(delegated(record()))
    refused = traced(tracing, guard, front, get(bearer(chain), path="/customers/8"))
    assert refused.pop("agentwrit.source") in ("guard", "broker", "cache")
    assert refused == {
        "agentwrit.outcome": "denied", "agentwrit.reason": "insufficient_scope", "agentwrit.phase": "requirement",
        "agentwrit.enforced": True, "agentwrit.agent_id": AGENT, "agentwrit.task_id": "task-1", "agentwrit.depth": 1,
    }  # fmt: skip
    allowed = traced(tracing, guard, front, get(bearer(chain), path="/customers/7291"))
    assert (allowed["agentwrit.outcome"], allowed["agentwrit.reason"]) == ("allowed", "ok")
    nobody = traced(tracing, guard, front, Request("/me"))
    assert nobody == {
        "agentwrit.outcome": "denied", "agentwrit.reason": "no_credentials", "agentwrit.phase": "middleware",
        "agentwrit.source": "guard", "agentwrit.enforced": True,
    }  # fmt: skip


def test_a_decision_that_was_not_acted_on_says_so(guard: Guard, tracing: Tracing) -> None:
    with tracing.tracer.start_as_current_span("request"):
        guard.record(
            guard.check([]), phase="middleware", front="asgi", method="GET", path="/", request_id="r", enforced=False
        )
    assert attributes(tracing.named("request")[0])["agentwrit.enforced"] is False


def test_agents_may_be_left_out(broker: StubBroker, tracing: Tracing, clock: MovableClock) -> None:
    guard = Guard(broker.url, clock=clock.clock)
    opentelemetry.watch(guard, tracer_provider=tracing.provider, agents=False)
    seen = traced(tracing, guard, "asgi", get(bearer(token())))
    assert seen["agentwrit.outcome"] == "allowed"
    assert not {"agentwrit.agent_id", "agentwrit.task_id", "agentwrit.depth"} & set(seen)
    guard.close()


def test_tasks_of_one_loop_write_on_their_own_spans(guard: Guard, tracing: Tracing) -> None:
    front = FRONTS["asgi"](guard)

    async def ask(name: str, request: Request) -> None:
        with tracing.tracer.start_as_current_span(name):
            await asgi_request(front.app, request)

    async def main() -> None:
        good, bad = get(bearer(token())), Request("/me")
        await asyncio.gather(*(ask(f"good {n}", good) for n in range(5)), *(ask(f"bad {n}", bad) for n in range(5)))
        await guard.aclose()

    asyncio.run(main())
    for span in tracing.spans:
        if span.name != SPAN:
            expected = "allowed" if span.name.startswith("good") else "denied"
            assert attributes(span)["agentwrit.outcome"] == expected, span.name
    # Five that came together share one validation, which is the first one's.
    (validation,) = tracing.named(SPAN)
    assert validation.parent is not None
    owners = [span for span in tracing.spans if span.context and span.context.span_id == validation.parent.span_id]
    assert [span.name for span in owners] == ["good 0"]


@pytest.mark.parametrize("name", ["asgi", "wsgi", "fastapi"])
def test_l_01_l_03_spans_hold_no_token_and_no_token_id(broker: StubBroker, tracing: Tracing, name: str) -> None:
    for row in ROWS.values():
        options = {key.removeprefix("guard_"): value for key, value in row.options.items()}
        broker.answer = row.broker
        guard = Guard(options.pop("url", broker.url), clock=MovableClock().clock, **options)
        opentelemetry.watch(guard, tracer_provider=tracing.provider)
        traced(tracing, guard, name, row.request)
        guard.close()
    assert len(tracing.spans) > 2 * len(ROWS) // 2
    shown = " ".join(span.to_json() for span in tracing.spans)
    CANARY.looks("spans", shown)
    assert "57cef72249661b21c4979c2acb445d26" not in shown
    assert {key for span in tracing.spans for key in attributes(span)} <= ATTRIBUTES


def test_it_ends(guard: Guard, broker: StubBroker, tracing: Tracing, clock: MovableClock) -> None:
    other = Guard(broker.url, clock=clock.clock)
    end = opentelemetry.watch(other, tracer_provider=tracing.provider)
    end()
    other.check(ENTRIES)
    assert tracing.spans == ()
    other.close()


def test_the_global_provider_is_the_default(broker: StubBroker, clock: MovableClock) -> None:
    """Without an SDK it makes no spans, and nothing breaks."""
    guard = Guard(broker.url, clock=clock.clock)
    opentelemetry.watch(guard)
    assert FRONTS["asgi"](guard).request(get(bearer(token()))).status == 200
    guard.close()


def test_what_is_no_guard() -> None:
    with pytest.raises(ConfigurationError, match="guard must be a Guard"):
        opentelemetry.watch("guard")  # type: ignore[arg-type]


def test_without_its_package_the_import_says_what_to_install() -> None:
    code = "import sys; sys.modules['opentelemetry'] = None; import agentwrit_guard.contrib.opentelemetry"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: agentwrit_guard.contrib.opentelemetry needs opentelemetry-api; "
        "pip install 'agentwrit-guard[opentelemetry]'"
    )
