"""Herd and flood: many requests at once with one new token, and strangers in numbers beside agents at work."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import Final

from bench.drills.stage import stage, stranger
from bench.effort import Effort
from bench.figures import Figure
from bench.report import Section, Target
from bench.serving.connection import request
from bench.serving.generator import Generator, generator
from bench.serving.plans import Closed, Due, Open, Outcome
from bench.serving.servers import PATH, THREADS, Kind, Server, Wanted, serving
from bench.serving.trial import make_way, minted, prove_guarded

KINDS: Final[Sequence[Kind]] = ("uvicorn", "gunicorn")
HERD: Final = 200
GOOD: Final = 200.0
"""Requests a second of the agents that are known, in the flood as in the calm before it."""
AGENTS: Final = 5
STRANGERS: Final = 500.0
"""A second."""
POOLS: Final = (16, 160)
"""Connections of agents and of strangers, who must not wait for each other on this side."""
LONG: Final = 4.0
"""Stretches of other sections in a calm, and in a flood once its onset is over."""
ONSET: Final = 0.3
"""Seconds in which a flood uses up what the budget has saved: it is told apart, lest a short run shows only that."""
_STATUSES: Final = (200, 401, 503)


def run(effort: Effort) -> Section:
    section = Section(f"Herd and flood: {HERD} requests at once with a new token, and {STRANGERS:g} strangers a second")
    wanted = [Wanted(kind, guarded=True) for kind in KINDS]
    with stage(None, None) as scene, generator() as load, serving(wanted, scene.url) as servers:
        make_way(scene)
        known = minted(scene, AGENTS)
        for server in servers:
            prove_guarded(server, known[0])
            _add_herd(section, load, server, known[0], minted(scene, effort.rounds))
        _add_flood(section, load, servers[0], known, effort)
    return section


def _add_herd(section: Section, load: Generator, server: Server, warm: bytes, new: Sequence[bytes]) -> None:
    """In each round a herd with a token that is known, and one with a token that is not."""
    calls, cold, base = [], [], []
    for credentials in new:
        base.append(_herd(load, server, warm, warm).all.milliseconds(0.99))
        before = server.asked()
        outcome = _herd(load, server, warm, credentials)
        calls.append(float(server.asked() - before))
        cold.append(outcome.all.milliseconds(0.99))
    known = Figure(f"{server.name}: p99 of a herd, token known", "ms", tuple(base))
    unknown = Figure(f"{server.name}: p99 of a herd, token new", "ms", tuple(cold))
    section.figures += [known, unknown]
    asked = Figure(f"{server.name}: broker calls for a herd, one worker", "calls", tuple(calls))
    section.targets.append(Target(asked, "at most", 1))


def _herd(load: Generator, server: Server, first: bytes, credentials: bytes) -> Outcome:
    plan = Closed(server.port, HERD, request(PATH, first), request(PATH, credentials), 0, server.pids)
    return load.run(plan)


def _add_flood(section: Section, load: Generator, server: Server, known: Sequence[bytes], effort: Effort) -> None:
    """In each round the agents by themselves, and then together with strangers."""
    seconds = LONG * effort.stretch
    calms, floods, calls = [], [], []
    statuses: collections.Counter[int] = collections.Counter()
    for _ in range(effort.rounds):
        calms.append(load.run(_plan(server, known, seconds, strangers=False)))
        plan = _plan(server, known, seconds, strangers=True)
        before = server.asked()
        floods.append(load.run(plan, _STATUSES))
        calls.append((server.asked() - before) / (ONSET + seconds))
        for tag in ("onset", "good"):
            if set(floods[-1].answers[tag].statuses) != {200}:
                raise SystemExit(f"agents were refused in the flood: {dict(floods[-1].answers[tag].statuses)}")
        if floods[-1].answers["strangers"].statuses[200]:
            raise SystemExit(f"{server.name} let a stranger in")
        statuses += floods[-1].answers["strangers"].statuses
    for share, name in ((0.5, "p50"), (0.99, "p99")):
        calm, onset, flood = (
            Figure(
                f"{name} of known agents, {when}", "ms", tuple(each.answers[tag].milliseconds(share) for each in taken)
            )
            for when, tag, taken in (
                ("no flood", "good", calms),
                ("onset of a flood", "onset", floods),
                ("in the flood", "good", floods),
            )
        )
        section.figures += [calm, onset, flood, flood.over(calm, f"{name} in the flood over without")]
    section.figures.append(
        Figure("p99 of strangers", "ms", tuple(each.answers["strangers"].milliseconds(0.99) for each in floods))
    )
    section.figures.append(Figure("broker calls a second in the flood", "calls/s", tuple(calls)))
    cpu = tuple(each.cpu / each.seconds for each in floods)
    section.figures.append(Figure("cores that the server used in the flood", "cores", cpu))
    section.notes += _notes(statuses, seconds, load)


def _plan(server: Server, known: Sequence[bytes], seconds: float, *, strangers: bool) -> Open:
    asking = [request(PATH, credentials) for credentials in known]
    onset = ONSET if strangers else 0.0
    schedule = []
    for number in range(round(GOOD * (onset + seconds))):
        at = number / GOOD
        schedule.append(Due(at, 0, "onset" if at < onset else "good", asking[number % len(asking)]))
    if strangers:
        come = range(round(STRANGERS * (onset + seconds)))
        schedule += [Due(number / STRANGERS, 1, "strangers", request(PATH, stranger())) for number in come]
    schedule.sort(key=lambda due: due.at)
    return Open(tuple((server.port, many) for many in POOLS), asking[0], schedule, server.pids)


def _notes(statuses: collections.Counter[int], seconds: float, load: Generator) -> list[str]:
    came = ", ".join(f"{count} got a {status}" for status, count in sorted(statuses.items()))
    return [
        "One worker each, on a core of its own; generator and broker on the other. Default settings.",
        f"Herd: {HERD} open connections send at once; gunicorn (gthread) works on {THREADS} at a time.",
        "Latency is from when each was sent. Broker calls are the guard's own count.",
        f"Flood, on uvicorn: {AGENTS} known agents send {GOOD:g} requests/s, by themselves and then with {STRANGERS:g}",
        f"distinct well-formed tokens a second, for {ONSET:g} s (its onset) and {seconds:.2g} s more. Latency is from",
        f"when a request was due. Of {GOOD * 5 / AGENTS:.0f} requests of known agents one has the broker asked again.",
        f"Strangers: {came}. A 401 is the broker's no, a 503 the budget for unknown tokens: 100 at once,",
        "50 a second, which also fills up while no stranger comes.",
        f"The generator needed {load.busiest:.0%} of its core at most.",
    ]
