"""Traffic as it comes: many agents at their own pace, spread over worker processes that each have a guard."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bench.drills.stage import stage
from bench.effort import Effort
from bench.figures import Figure
from bench.report import Section
from bench.serving.connection import request
from bench.serving.generator import generator
from bench.serving.plans import Answers, Due, Open, Outcome
from bench.serving.servers import PATH, Wanted, serving
from bench.serving.trial import minted, prove_guarded

WORKERS: Final = 8
TTL: Final = 5.0
"""Seconds, the guard's default."""
TOGETHER: Final = 40.0
"""Requests a second of all agents of one class, whatever the pace of each: so classes load alike, and compare."""
RATES: Final = (0.2, 1.0, 5.0, 20.0)
"""Requests a second of one agent, by class."""
POOL: Final = 8
_SEED: Final = 6


@dataclass(frozen=True)
class Times:
    """Seconds: before anything counts, of one window, and how many windows there are."""

    warming: float
    window: float
    windows: int


_FULL: Final = Times(6.0, 4.0, 6)
_QUICK: Final = Times(1.8, 1.0, 3)


def run(effort: Effort) -> Section:
    times = _QUICK if effort.quick else _FULL
    section = Section(f"Real traffic: {WORKERS} workers with a guard each, agents that send at their own pace")
    agents = {rate: round(TOGETHER / rate) for rate in RATES}
    wanted = [Wanted("uvicorn", guarded=True, alone=False)] * WORKERS
    with stage(None, None) as scene, generator(alone=False) as load, serving(wanted, scene.url) as servers:
        known = minted(scene, sum(agents.values()) + 1)
        for server in servers:
            prove_guarded(server, known[-1])
        schedule = _schedule(agents, known, times)
        before = sum(server.asked() for server in servers)
        targets = tuple((server.port, POOL) for server in servers)
        pids = tuple(pid for server in servers for pid in server.pids)
        outcome = load.run(Open(targets, request(PATH, known[-1]), schedule, pids))
        asked = sum(server.asked() for server in servers) - before
    for rate in RATES:
        _add(section, outcome, rate, times)
    section.notes += _notes(outcome, agents, _replayed(schedule), asked, times)
    return section


def _schedule(agents: Mapping[float, int], known: Sequence[bytes], times: Times) -> list[Due]:
    """Each agent sends at random moments, to a random worker each time."""
    dice = random.Random(_SEED)
    end = times.warming + times.window * times.windows
    left = iter(known)
    schedule = []
    for rate, number in agents.items():
        for _ in range(number):
            asking = request(PATH, next(left))
            at = dice.expovariate(rate)
            while at < end:
                schedule.append(Due(at, dice.randrange(WORKERS), _tag(rate, at, times), asking))
                at += dice.expovariate(rate)
    return sorted(schedule, key=lambda due: due.at)


def _tag(rate: float, at: float, times: Times) -> str:
    return f"{rate:g} {max(-1, int((at - times.warming) // times.window))}"


def _replayed(schedule: Sequence[Due]) -> dict[str, float]:
    """The hit ratio by class that these very requests come to if a call makes its token good for the TTL, at once."""
    good: dict[tuple[int, bytes], float] = {}
    hits: dict[str, list[bool]] = {}
    for due in schedule:
        rate, window = due.tag.split()
        hit = due.at < good.get((due.target, due.request), 0.0)
        if not hit:
            good[due.target, due.request] = due.at + TTL
        if int(window) >= 0:
            hits.setdefault(rate, []).append(hit)
    return {rate: sum(found) / len(found) for rate, found in hits.items()}


def expected(rate: float) -> float:
    """The hit ratio in the long run, for requests at random moments: of those to one worker, one a TTL is a miss, and
    all that follow within it are hits."""
    following = rate * TTL / WORKERS
    return following / (1 + following)


def _add(section: Section, outcome: Outcome, rate: float, times: Times) -> None:
    windows = [outcome.answers.get(f"{rate:g} {number}", Answers()) for number in range(times.windows)]
    windows = [answers for answers in windows if answers]
    if not windows:
        raise SystemExit(f"no agent sent anything at {rate:g} requests a second")
    for name, unit, values in (
        ("hit ratio", "", [1 - answers.asked / len(answers) for answers in windows]),
        ("p50", "ms", [answers.milliseconds(0.5) for answers in windows]),
        ("p99", "ms", [answers.milliseconds(0.99) for answers in windows]),
        ("broker calls a second", "calls/s", [answers.asked / times.window for answers in windows]),
    ):
        figure = Figure(f"{rate:g} requests/s an agent: {name}", unit, tuple(values))
        section.series.setdefault(name, {})[f"{rate:g}"] = figure


def _notes(
    outcome: Outcome, agents: Mapping[float, int], replayed: Mapping[str, float], asked: int, times: Times
) -> list[str]:
    told = sum(answers.asked for answers in outcome.answers.values())
    many = ", ".join(f"{number} of {rate:g}/s" for rate, number in agents.items())
    ratios = ", ".join(f"{rate:g}: {expected(rate):.3f} ({replayed[f'{rate:g}']:.3f})" for rate in agents)
    notes = [
        f"{WORKERS} uvicorn processes, one guard each, default settings (cache_ttl {TTL:g}). Access logs are off.",
        f"Sizes are requests a second of one agent: {many}, all at a time, {TOGETHER:g} requests/s of each class.",
        "Requests come at random moments (Poisson), each to a random worker. Latency counts from when one was due.",
        f"Workers, broker and generator share the cores: the workers took {outcome.cpu / outcome.seconds:.2f} of them.",
        "Hit ratio expected for r requests/s of an agent: r*TTL/workers / (1 + r*TTL/workers); in brackets what",
        f"this very schedule comes to: {ratios}.",
        f"Broker calls are answers that say so: {told} in the whole run; {asked} by the guards' own count.",
    ]
    if times.warming < TTL:
        notes.append(f"Quick: counted after {times.warming:g} s, before the long run is reached; mind the brackets.")
    return notes
