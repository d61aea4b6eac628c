"""Prometheus: `watch(guard)` counts a guard's decisions and validations, and shows its state at each scrape.

Every label has a closed set of values but `guard`, which is the name given here: no agent, path or token makes a
series. The metrics page has all names.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator
from typing import Final, get_args

from agentwrit_guard.core.breaker import State
from agentwrit_guard.core.decisions import DecisionEvent
from agentwrit_guard.core.witness import OUTCOMES, ValidationEvent
from agentwrit_guard.errors import ConfigurationError
from agentwrit_guard.guard import Guard
from agentwrit_guard.stats import Stats

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        f"{__name__} needs prometheus-client; pip install 'agentwrit-guard[prometheus]'", name=_missing.name
    ) from None

__all__ = ["watch"]

_PREFIX: Final = "agentwrit_guard_"
# From a broker next door to the greatest timeout that makes sense.
_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)

_COUNTED: Final[dict[str, tuple[str, Callable[[Stats], float]]]] = {
    "cached": ("Tokens decided on what the cache held", lambda stats: stats.cached),
    "lookups": ("Tokens that only the broker could judge", lambda stats: stats.lookups),
}
_SHOWN: Final[dict[str, tuple[str, Callable[[Stats], float | None]]]] = {
    "degraded": ("1 while the breaker is not closed", lambda stats: stats.degraded),
    "calls_in_flight": ("Calls to the broker under way", lambda stats: stats.in_flight),
    "calls_waiting": ("Calls to the broker that stand in line", lambda stats: stats.waiting),
    "budget_left": ("Calls for unknown tokens that could be made at once", lambda stats: stats.budget_left),
    "answer_age_seconds": ("Time since the broker's last yes or no", lambda stats: stats.answered),
    "clock_skew_seconds": ("How far the broker's clock is ahead of this one's", lambda stats: stats.clock_skew),
}
_STORES: Final[dict[str, Callable[[Stats], int]]] = {
    "identities": lambda stats: stats.identities,
    "rejected": lambda stats: stats.rejected,
    "tombstones": lambda stats: stats.tombstones,
    "denied": lambda stats: stats.denied,
    "denied_by_file": lambda stats: stats.denied_by_file,
}


def watch(guard: Guard, name: str = "default", *, registry: CollectorRegistry = REGISTRY) -> Callable[[], None]:
    """Put a guard's metrics into a registry, with `guard=name` on each series. Call what this returns to end it.

    Several guards of a process take several names. ConfigurationError for a guard or a name that the registry has
    already, and for metrics of the same names that are somebody else's.
    """
    if not isinstance(guard, Guard):
        raise ConfigurationError(f"guard must be a Guard, got {guard!r}")
    if not isinstance(name, str) or not name or not name.isprintable():
        raise ConfigurationError(f"name must be a printable text that is not empty, got {name!r}")
    if registry not in _METRICS:
        _METRICS[registry] = _Metrics(registry)
    return _METRICS[registry].add(guard, name)


class _Metrics(Collector):
    """What one registry shows of the guards in it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._guards: dict[str, tuple[Guard]] = {}
        self._decisions = Counter(
            f"{_PREFIX}decisions", "Decisions that were acted on, or would have been where enforced is false",
            ("guard", "outcome", "reason", "phase", "enforced"), registry=None,
        )  # fmt: skip
        self._validations = Histogram(
            f"{_PREFIX}validation_seconds", "Validations that the broker was asked for, with the wait for a place",
            ("guard", "outcome"), buckets=_BUCKETS, registry=None,
        )  # fmt: skip
        with contextlib.ExitStack() as undo:
            for collector in (self._decisions, self._validations, self):
                try:
                    registry.register(collector)
                except ValueError:
                    raise ConfigurationError(
                        f"the registry has metrics named {_PREFIX}... that are not these; give another registry="
                    ) from None
                undo.callback(registry.unregister, collector)
            undo.pop_all()

    def add(self, guard: Guard, name: str) -> Callable[[], None]:
        if name in self._guards:
            raise ConfigurationError(f"the registry has a guard named {name!r} already; give each a name= of its own")
        for other, (known,) in self._guards.items():
            if known is guard:
                raise ConfigurationError(f"the registry has this guard already, as {other!r}")
        for outcome in OUTCOMES:
            self._validations.labels(name, outcome)

        def decided(event: DecisionEvent) -> None:
            enforced = "true" if event.enforced else "false"
            self._decisions.labels(name, event.outcome, event.reason, event.phase, enforced).inc()

        def validated(event: ValidationEvent) -> None:
            self._validations.labels(name, event.outcome).observe(event.seconds)

        unwatch = guard.watch(decided, validated)
        self._guards[name] = entry = (guard,)

        def end() -> None:
            unwatch()
            if self._guards.get(name) is entry:
                del self._guards[name]

        return end

    def describe(self) -> Iterator[Metric]:
        """The names, for a registry to find those that it has already."""
        return self.collect()

    def collect(self) -> Iterator[Metric]:
        seen = {name: guard.stats() for name, (guard,) in list(self._guards.items())}
        for metric, (text, count) in _COUNTED.items():
            counter = CounterMetricFamily(_PREFIX + metric, text, labels=("guard",))
            for name, stats in seen.items():
                counter.add_metric((name,), count(stats))
            yield counter
        for metric, (text, value) in _SHOWN.items():
            gauge = GaugeMetricFamily(_PREFIX + metric, text, labels=("guard",))
            for name, stats in seen.items():
                figure = value(stats)
                if figure is not None:
                    gauge.add_metric((name,), figure)
            yield gauge
        entries = GaugeMetricFamily(f"{_PREFIX}entries", "Entries of the guard's stores", labels=("guard", "store"))
        breaker = GaugeMetricFamily(f"{_PREFIX}breaker", "1 for the breaker's state", labels=("guard", "state"))
        for name, stats in seen.items():
            for store, size in _STORES.items():
                entries.add_metric((name, store), size(stats))
            for state in get_args(State):
                breaker.add_metric((name, state), state == stats.breaker)
        yield entries
        yield breaker


_METRICS: weakref.WeakKeyDictionary[CollectorRegistry, _Metrics] = weakref.WeakKeyDictionary()
