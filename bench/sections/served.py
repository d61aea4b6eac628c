"""Behind real servers: what a guarded API serves of what it serves bare, and what it takes for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Final

from bench.drills.stage import stage
from bench.effort import Effort
from bench.figures import Figure
from bench.report import Bound, Section, Target
from bench.serving.connection import request
from bench.serving.generator import Generator, generator
from bench.serving.plans import Closed, Due, Open, Outcome
from bench.serving.servers import PATH, THREADS, Kind, Server, Wanted, serving
from bench.serving.trial import make_way, minted, prove_bare, prove_guarded

KINDS: Final[Sequence[Kind]] = ("uvicorn", "gunicorn")
CONNECTIONS: Final = (1, 16, 64)
JUDGED: Final = 16
OPEN: Final = {"open, half": 0.5, "open, quarter": 0.25}
"""Rates of the open loops: shares of what the bare server serves with 16 connections."""
POOL: Final = 32
LONG: Final = 1.6
"""Stretches of other sections in one of these."""

Pair = Mapping[bool, Server]
Rounds = dict[tuple[str, bool], list[Outcome]]
"""Outcomes by the load, and by whether the server is guarded."""


def run(effort: Effort) -> Section:
    section = Section("Served: a guarded API behind real servers, and the same one bare")
    wanted = [Wanted(kind, guarded) for kind in KINDS for guarded in (False, True)]
    with stage(None, None) as scene, generator() as load, serving(wanted, scene.url) as servers:
        make_way(scene)
        (credentials,) = minted(scene, 1)
        pairs = {kind: {False: servers[2 * at], True: servers[2 * at + 1]} for at, kind in enumerate(KINDS)}
        for bare, guarded in (pair.values() for pair in pairs.values()):
            prove_bare(bare)
            prove_guarded(guarded, credentials)
        asking = request(PATH, credentials)
        seconds = LONG * effort.stretch
        rates = {kind: _rate(load, pair, asking, seconds) for kind, pair in pairs.items()}
        taken: dict[str, Rounds] = {kind: {} for kind in KINDS}
        for number in range(effort.rounds):
            for kind in KINDS:
                _round(load, pairs[kind], asking, rates[kind], seconds, number, taken[kind])
    for kind in KINDS:
        _add(section, kind, taken[kind])
    section.notes += _notes(load, rates)
    return section


def _round(
    load: Generator, pair: Pair, asking: bytes, rate_of_bare: float, seconds: float, number: int, taken: Rounds
) -> None:
    """Every load once on both servers, one stretch after the other; who begins changes from round to round."""
    turns = (False, True) if number % 2 == 0 else (True, False)
    for connections in CONNECTIONS:
        for guarded in turns:
            server = pair[guarded]
            plan = Closed(server.port, connections, asking, asking, seconds, server.pids)
            taken.setdefault((str(connections), guarded), []).append(load.run(plan))
    for name, share in OPEN.items():
        rate = rate_of_bare * share
        schedule = [Due(index / rate, 0, "", asking) for index in range(max(1, round(rate * seconds)))]
        for guarded in turns:
            server = pair[guarded]
            opened = Open(((server.port, POOL),), asking, schedule, server.pids)
            taken.setdefault((name, guarded), []).append(load.run(opened))


def _rate(load: Generator, pair: Pair, asking: bytes, seconds: float) -> float:
    """What the bare server serves, at its best of a few times, after both have been under load."""
    plans = [
        Closed(server.port, JUDGED, asking, asking, seconds, server.pids)
        for server in (pair[True], pair[False], pair[False], pair[False])
    ]
    return max([_throughput(load.run(plan)) for plan in plans][1:])


def _throughput(outcome: Outcome) -> float:
    return len(outcome.all) / outcome.seconds


def _cpu(outcome: Outcome) -> float:
    """Microseconds a request."""
    return outcome.cpu / len(outcome.all) * 1e6


_BOUNDS: Final[Sequence[tuple[str, Bound, float, Callable[[Outcome], float]]]] = (
    ("throughput", "at least", 0.9, _throughput),
    ("CPU a request", "at most", 1.15, _cpu),
)


def _add(section: Section, kind: Kind, taken: Rounds) -> None:
    closed = [str(connections) for connections in CONNECTIONS]
    measures: Sequence[tuple[str, str, Sequence[str], Callable[[Outcome], float]]] = (
        ("throughput", "requests/s", closed, _throughput),
        ("p50", "ms", [*closed, *OPEN], lambda outcome: outcome.all.milliseconds(0.5)),
        ("p99", "ms", [*closed, *OPEN], lambda outcome: outcome.all.milliseconds(0.99)),
        ("CPU a request", "us", [*closed, *OPEN], _cpu),
    )
    for measure, unit, loads, of in measures:
        for side in (False, True):
            name = f"{kind} {'guarded' if side else 'bare'}, {measure}, by connections"
            section.series[name] = {
                load: Figure(f"{name}: {load}", unit, tuple(map(of, taken[load, side]))) for load in loads
            }
    for load in closed:
        bare, guarded = (Figure("CPU", "us", tuple(map(_cpu, taken[load, side]))) for side in (False, True))
        extra = guarded.above(bare, f"{kind}, {_spelt(load)}: CPU a request, guarded above bare")
        section.figures.append(extra)
        why = f"{extra.median:.0f} us of CPU a request for the guard; a whole bare request takes {bare.median:.0f}"
        for measure, bound, value, of in _BOUNDS:
            base, figure = (Figure(measure, "", tuple(map(of, taken[load, side]))) for side in (False, True))
            name = f"{kind}, {_spelt(load)}: {measure}, guarded over bare"
            section.targets.append(Target(figure.over(base, name), bound, value, why))


def _spelt(load: str) -> str:
    return f"{load} connection{'s' if load != '1' else ''}"


def _notes(load: Generator, rates: Mapping[Kind, float]) -> list[str]:
    spelt = ", ".join(f"{kind} {rate:.0f}/s" for kind, rate in rates.items())
    return [
        "One worker on a core of its own; generator and broker on the other. Access logs are off on both sides.",
        f"uvicorn: httptools, {'uvloop' if find_spec('uvloop') else 'asyncio'}; Starlette, one route with a parameter.",
        f"gunicorn: gthread, {THREADS} threads, because its sync workers keep no connection; Flask, the same route.",
        "Guarded as in the README, default settings, one public path. The broker is asked about the token every 5 s;",
        "each guarded server works a quarter of the time, so that asking weighs on it four times as much.",
        f"open: due at a fixed rate, half and a quarter of what the bare server served with 16 connections ({spelt}).",
        "Latency counts from when a request was due: above what a server can serve it is that of the queue.",
        "With 1 connection server and client wait for each other.",
        f"The generator needed {load.busiest:.0%} of its core at most.",
    ]
