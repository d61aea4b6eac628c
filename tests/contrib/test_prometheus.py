"""Prometheus: true figures at every front, closed label sets, and clear errors."""

from __future__ import annotations

import gc
import random
import subprocess
import sys
import typing
import weakref
from collections.abc import Iterator
from email.utils import formatdate
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from agentwrit_guard import Guard
from agentwrit_guard.contrib import prometheus
from agentwrit_guard.core.breaker import State
from agentwrit_guard.core.decisions import Allowed, Denied, Phase, Reason
from agentwrit_guard.core.witness import OUTCOMES
from agentwrit_guard.errors import ConfigurationError
from tests.canary import CANARY
from tests.fronts.test_table import CASES, bearer, get
from tests.kit.clock import MovableClock
from tests.kit.drivers import Request
from tests.kit.fronts import FRONTS, WHOLE
from tests.kit.stub import Answer, StubBroker, invalid, valid
from tests.kit.tokens import AGENT, token

ROWS = {case.values[1].id: case.values[1] for case in CASES}
DECISIONS = "agentwrit_guard_decisions_total"
SECONDS = "agentwrit_guard_validation_seconds"
PHASES = set(typing.get_args(Phase))
LABELS: dict[str, set[str]] = {
    "guard": {"default"},
    "outcome": {"allowed", "denied", *OUTCOMES},
    "reason": {"ok", *(reason.code for reason in Reason)},
    "phase": PHASES,
    "enforced": {"true", "false"},
    "state": set(typing.get_args(State)),
    "store": {"identities", "rejected", "tombstones", "denied", "denied_by_file"},
}


def down(_: bytes) -> Answer:
    return 500, {}, b""


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def guard(broker: StubBroker, clock: MovableClock) -> Iterator[Guard]:
    made = Guard(broker.url, clock=clock.clock, breaker_failures=2)
    yield made
    made.close()


def samples(registry: CollectorRegistry) -> list[Any]:
    return [sample for metric in registry.collect() for sample in metric.samples]


def decided(registry: CollectorRegistry) -> dict[tuple[str, ...], float]:
    found = {}
    for sample in samples(registry):
        if sample.name == DECISIONS:
            names = ("outcome", "reason", "phase", "enforced")
            found[tuple(sample.labels[name] for name in names)] = sample.value
    return found


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(f"agentwrit_guard_{name}", {"guard": "default", **labels})


@pytest.mark.parametrize("name", WHOLE)
def test_decisions_are_counted_by_what_they_came_to(
    guard: Guard, registry: CollectorRegistry, broker: StubBroker, name: str
) -> None:
    prometheus.watch(guard, registry=registry)
    front = FRONTS[name](guard)
    for path in ("/customers/7291", "/customers/7291", "/customers/8"):
        front.request(get(bearer(token()), path=path))
    front.request(Request("/me"))
    inner = {} if name in ("asgi", "wsgi") else {("allowed", "ok", "requirement", "true"): 2}
    assert decided(registry) == {
        ("allowed", "ok", "middleware", "true"): 3,
        ("denied", "insufficient_scope", "requirement", "true"): 1,
        ("denied", "no_credentials", "middleware", "true"): 1,
        **inner,
    }


def test_a_decision_that_was_not_acted_on_is_counted_apart(guard: Guard, registry: CollectorRegistry) -> None:
    prometheus.watch(guard, registry=registry)
    refused = guard.check([])
    for enforced in (True, False, False):
        guard.record(
            refused, phase="middleware", front="asgi", method="GET", path="/", request_id="r", enforced=enforced
        )
    assert decided(registry) == {
        ("denied", "no_credentials", "middleware", "true"): 1,
        ("denied", "no_credentials", "middleware", "false"): 2,
    }


def test_validations_and_the_state_through_an_outage(
    guard: Guard, registry: CollectorRegistry, broker: StubBroker, clock: MovableClock
) -> None:
    prometheus.watch(guard, registry=registry)
    assert [value(registry, "validation_seconds_count", outcome=outcome) for outcome in OUTCOMES] == [0, 0, 0]
    assert (value(registry, "answer_age_seconds"), value(registry, "clock_skew_seconds")) == (None, None)

    def dated(body: bytes) -> Answer:
        status, headers, text = valid(body)
        return status, {**headers, "Date": formatdate(clock.wall + 7, usegmt=True)}, text

    for number, answer in enumerate([dated, invalid, down, down, valid]):
        broker.answer = answer
        guard.check([b"Bearer " + token(jti=f"{number}").encode()])
    guard.check([b"Bearer " + token(jti="0").encode()])
    guard.deny("agent", AGENT)
    clock.move(0.5)
    assert [value(registry, "validation_seconds_count", outcome=outcome) for outcome in OUTCOMES] == [1, 1, 2]
    assert [value(registry, "breaker", state=state) for state in ("closed", "open", "half_open")] == [0, 1, 0]
    assert value(registry, "degraded") == 1
    assert (value(registry, "lookups_total"), value(registry, "cached_total")) == (5, 1)
    assert (value(registry, "answer_age_seconds"), value(registry, "clock_skew_seconds")) == (0.5, 7.5)
    assert (value(registry, "calls_in_flight"), value(registry, "calls_waiting")) == (0, 0)
    assert value(registry, "budget_left") == 100
    entries = {store: value(registry, "entries", store=store) for store in sorted(LABELS["store"])}
    assert entries == {"denied": 1, "denied_by_file": 0, "identities": 1, "rejected": 1, "tombstones": 0}
    clock.move(60)
    broker.answer = valid
    guard.undeny("agent", AGENT)
    guard.check([b"Bearer " + token().encode()])
    assert (value(registry, "degraded"), value(registry, "breaker", state="closed")) == (0, 1)


def test_seconds_are_observed(
    guard: Guard, registry: CollectorRegistry, broker: StubBroker, clock: MovableClock
) -> None:
    prometheus.watch(guard, registry=registry)

    def slow(body: bytes) -> Answer:
        clock.move(0.3)
        return valid(body)

    broker.answer = slow
    guard.check([b"Bearer " + token().encode()])
    assert value(registry, "validation_seconds_sum", outcome="valid") == pytest.approx(0.3)
    assert value(registry, "validation_seconds_bucket", outcome="valid", le="0.25") == 0
    assert value(registry, "validation_seconds_bucket", outcome="valid", le="0.5") == 1


# Closed sets.


def check_labels(registry: CollectorRegistry) -> None:
    for sample in samples(registry):
        for name, text in sample.labels.items():
            assert name == "le" or text in LABELS[name], sample


def test_l_03_decisions_have_at_most_200_series() -> None:
    """Of each reason there is one outcome, so that these are all."""
    assert len(LABELS["reason"]) * len(PHASES) * len(LABELS["enforced"]) <= 200


@pytest.mark.parametrize("enforced", [True, False])
def test_l_03_every_reason_is_its_own_series_and_no_more(
    guard: Guard, registry: CollectorRegistry, enforced: bool
) -> None:
    prometheus.watch(guard, registry=registry)
    words = ("depth", "kind", "level", "lifetime", "message", "template", "value", "violation")
    detail = dict.fromkeys(words, "x")
    made: list[Allowed | Denied] = [guard._engine.refuse(reason, detail=detail) for reason in Reason]
    made.append(guard.check([b"Bearer " + token().encode()]))
    for decision in made:
        for phase in typing.get_args(Phase):
            for number in range(2):
                guard.record(
                    decision, phase=phase, front="asgi", method=f"M{number}", path=f"/{number}",
                    request_id=f"{number}", route=f"/{number}/x", enforced=enforced,
                )  # fmt: skip
    found = decided(registry)
    assert len(found) == len(LABELS["reason"]) * len(PHASES)
    assert set(found.values()) == {2}
    check_labels(registry)


def test_l_03_a_hundred_thousand_strangers_make_at_most_200_series(
    broker: StubBroker, registry: CollectorRegistry
) -> None:
    """Requests of which no two are alike, by the guard's own way from header to record; a server would add nothing."""
    guard = Guard(broker.url, clock=MovableClock().clock, breaker_failures=2, unknown_token_burst=40)
    prometheus.watch(guard, registry=registry)
    draw = random.Random("strangers")
    phases = typing.get_args(Phase)
    signed = [token(jti=f"{number}", sub=f"{AGENT[:-3]}{number}") for number in range(60)]
    kinds = {"agent": 0}
    for number in range(100_000):
        noise = f"{number}-{draw.random()}"
        entry = draw.choice((
            b"", b"Bearer " + noise.encode(), noise.encode(), b"Basic " + noise.encode(),
            f"Bearer {noise}.{noise}.{noise}".encode(), f"Bearer {signed[number % 60]}".encode(),
            f"Bearer {signed[number % 60][:-9]}{number:09}".encode(), b"Bearer " + b"a" * 8193,
        ))  # fmt: skip
        broker.answer = draw.choice((valid, valid, invalid, down))
        decision = guard.check([entry] if entry else [], query=f"access_token={noise}".encode() * (number % 50 == 0))
        kinds["agent"] += isinstance(decision, Allowed)
        guard.record(
            decision, phase=phases[number % 3], front="asgi", method=noise, path=f"/{noise}", request_id=noise,
            route=f"/{noise}/{{x}}", enforced=bool(number % 2),
        )  # fmt: skip
    guard.close()
    found = decided(registry)
    assert sum(found.values()) == 100_000
    assert kinds["agent"] > 0
    assert 20 < len(found) <= 200
    assert len(samples(registry)) < 500
    check_labels(registry)


@pytest.mark.parametrize("name", ["asgi", "wsgi", "fastapi"])
def test_l_01_l_03_a_scrape_shows_no_token_and_no_agent(broker: StubBroker, name: str) -> None:
    registry = CollectorRegistry()
    for number, row in enumerate(ROWS.values()):
        options = {key.removeprefix("guard_"): value for key, value in row.options.items()}
        broker.answer = row.broker
        guard = Guard(options.pop("url", broker.url), clock=MovableClock().clock, **options)
        prometheus.watch(guard, str(number), registry=registry)
        FRONTS[name](guard).request(row.request)
        guard.close()
    scrape = generate_latest(registry).decode()
    assert 'reason="insufficient_scope"' in scrape
    CANARY.looks("a scrape", scrape)
    assert "spiffe" not in scrape
    assert "customers" not in scrape


# Several guards, and mistakes.


def test_several_guards_have_series_of_their_own(broker: StubBroker, registry: CollectorRegistry) -> None:
    guards = [Guard(broker.url, clock=MovableClock().clock) for _ in range(2)]
    for guard, name in zip(guards, ("orders", "b\u00fccher"), strict=True):
        prometheus.watch(guard, name, registry=registry)
        guard.check([b"Bearer " + token().encode()])
    guards[1].check([b"Bearer " + token().encode()])
    found = {name: registry.get_sample_value("agentwrit_guard_cached_total", {"guard": name})
             for name in ("orders", "b\u00fccher")}  # fmt: skip
    assert found == {"orders": 0, "b\u00fccher": 1}
    for guard in guards:
        guard.close()


def test_one_guard_in_two_registries(guard: Guard, registry: CollectorRegistry) -> None:
    other = CollectorRegistry()
    prometheus.watch(guard, registry=registry)
    prometheus.watch(guard, "same", registry=other)
    guard.check([b"Bearer " + token().encode()])
    assert value(registry, "lookups_total") == 1
    assert other.get_sample_value(f"{SECONDS}_count", {"guard": "same", "outcome": "valid"}) == 1


def test_the_default_registry_is_prometheus_own(broker: StubBroker) -> None:
    from prometheus_client import REGISTRY

    guard = Guard(broker.url, clock=MovableClock().clock)
    end = prometheus.watch(guard, "default registry")
    assert REGISTRY.get_sample_value("agentwrit_guard_degraded", {"guard": "default registry"}) == 0
    end()
    assert REGISTRY.get_sample_value("agentwrit_guard_degraded", {"guard": "default registry"}) is None
    guard.close()


def test_twice_is_an_error_that_says_what_to_do(guard: Guard, registry: CollectorRegistry, broker: StubBroker) -> None:
    prometheus.watch(guard, registry=registry)
    with pytest.raises(ConfigurationError, match="has a guard named 'default' already; give each a name="):
        prometheus.watch(Guard(broker.url, clock=MovableClock().clock), registry=registry)
    with pytest.raises(ConfigurationError, match="has this guard already, as 'default'"):
        prometheus.watch(guard, "again", registry=registry)
    # Neither left anything behind: one request counts once.
    guard.record(guard.check([]), phase="middleware", front="asgi", method="GET", path="/", request_id="r")
    assert decided(registry) == {("denied", "no_credentials", "middleware", "true"): 1}


@pytest.mark.parametrize("taken", [
    lambda registry: Counter("agentwrit_guard_decisions", "x", registry=registry),
    lambda registry: Gauge("agentwrit_guard_validation_seconds", "x", registry=registry),
    lambda registry: Gauge("agentwrit_guard_degraded", "x", registry=registry),
])  # fmt: skip
def test_names_of_somebody_else_are_an_error_and_leave_nothing(
    guard: Guard, registry: CollectorRegistry, taken: Any
) -> None:
    theirs = taken(registry)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="give another registry="):
            prometheus.watch(guard, registry=registry)
    assert not guard.recording
    registry.unregister(theirs)
    prometheus.watch(guard, registry=registry)
    assert value(registry, "degraded") == 0


@pytest.mark.parametrize("name", ["", "a\nb", "\ud800", 7, None])
def test_a_name_is_a_printable_text(guard: Guard, registry: CollectorRegistry, name: Any) -> None:
    with pytest.raises(ConfigurationError, match="name must be a printable text"):
        prometheus.watch(guard, name, registry=registry)


def test_what_is_no_guard(registry: CollectorRegistry) -> None:
    with pytest.raises(ConfigurationError, match="guard must be a Guard"):
        prometheus.watch("guard", registry=registry)  # type: ignore[arg-type]


def test_a_guard_that_is_ended_goes_and_its_counters_stay(guard: Guard, registry: CollectorRegistry) -> None:
    end = prometheus.watch(guard, registry=registry)
    refused = guard.check([])

    def record() -> None:
        guard.record(refused, phase="middleware", front="asgi", method="GET", path="/", request_id="r")

    record()
    end()
    end()
    record()
    assert value(registry, "degraded") is None
    assert set(decided(registry).values()) == {1}
    prometheus.watch(guard, registry=registry)
    # Of one that was ended before, nothing is left to end.
    end()
    record()
    assert (value(registry, "degraded"), set(decided(registry).values())) == (0, {2})


def test_a_registry_is_not_kept_alive(guard: Guard) -> None:
    registry = CollectorRegistry()
    prometheus.watch(guard, registry=registry)()
    gone = weakref.ref(registry)
    del registry
    gc.collect()
    assert gone() is None


def test_without_its_package_the_import_says_what_to_install() -> None:
    code = "import sys; sys.modules['prometheus_client'] = None; import agentwrit_guard.contrib.prometheus"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: agentwrit_guard.contrib.prometheus needs prometheus-client; "
        "pip install 'agentwrit-guard[prometheus]'"
    )


MULTIPROCESS = """
import os, sys
from prometheus_client import CollectorRegistry, generate_latest, multiprocess
from agentwrit_guard import Guard
from agentwrit_guard.contrib import prometheus

guard = Guard("http://127.0.0.1:9")
prometheus.watch(guard)
for _ in range(2):
    if os.fork() == 0:
        guard.record(guard.check([]), phase="middleware", front="asgi", method="GET", path="/", request_id="r")
        os._exit(0)
    os.wait()
registry = CollectorRegistry()
multiprocess.MultiProcessCollector(registry)
sys.stdout.write(generate_latest(registry).decode())
"""


def test_the_multiprocess_mode_has_counts_and_no_state(tmp_path: Any) -> None:
    """As the metrics page says."""
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", MULTIPROCESS], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    (counted,) = (line for line in done.stdout.splitlines() if line.startswith(DECISIONS))
    assert counted.endswith(" 2.0")
    assert "agentwrit_guard_degraded" not in done.stdout
