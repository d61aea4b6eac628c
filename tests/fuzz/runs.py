"""Many cases, counted: where guard and reference differ, and how the decisions are spread."""

from __future__ import annotations

import logging
import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Final

from tests.fuzz import pairs
from tests.fuzz.case import Case
from tests.fuzz.generate import generate, plan
from tests.fuzz.guards import Outcome, judged
from tests.fuzz.reference import ALLOW, decide

LEAST_ALLOWED: Final = 0.05
CHUNK: Final = 1000
_ENOUGH: Final = 5

Judge = Callable[[Case], Outcome]


@dataclass
class Tally:
    """`counts` by decision and reason, `covered` of the scope pairs, and the differences as text."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    covered: Counter[bool] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)

    @property
    def inputs(self) -> int:
        return sum(self.counts.values())

    @property
    def allowed(self) -> float:
        """The share of the inputs that were allowed."""
        return sum(count for (decision, _), count in self.counts.items() if decision == ALLOW) / max(1, self.inputs)

    def add(self, other: Tally) -> None:
        self.counts += other.counts
        self.covered += other.covered
        self.differences += other.differences


def quieten() -> None:
    """Keep the guard's warnings to itself: it has reason for a great many."""
    logging.getLogger("agentwrit_guard").setLevel(logging.CRITICAL)


def disagreement(case: Case, judge: Judge = judged) -> tuple[Outcome, str]:
    """What the guard decides, and how that differs from the reference, empty if it does not."""
    expected, asked = decide(case)
    try:
        found = judge(case)
    except Exception as error:
        return Outcome("crash", type(error).__name__), f"guard raises {error!r}, reference says {expected}"
    if found.decision != expected:
        return found, f"guard says {found.decision} ({found.reason}), reference says {expected}"
    if found.again != expected:
        return found, f"guard says {found.decision}, and then {found.again} to the same request"
    # One whose identity lies in the cache needs no call.
    if not case.warm and bool(found.calls) != asked:
        return found, f"guard makes {found.calls} broker calls, reference {'wants one' if asked else 'none'}"
    return found, ""


def run(seed: int, start: int, stop: int, judge: Judge = judged) -> Tally:
    """The cases and the scope pairs of these indices, until there are differences enough."""
    tally = Tally()
    for index in range(start, stop):
        found, differs = disagreement(generate(seed, index), judge)
        tally.counts[found.decision, found.reason] += 1
        if differs:
            tally.differences.append(f"seed {seed}, input {index}: {differs}\n{reproduction(seed, index, judge)}")
        covered, wrong = pairs.difference(seed, index)
        tally.covered[covered] += 1
        if wrong:
            tally.differences.append(wrong)
        if len(tally.differences) >= _ENOUGH:
            break
    return tally


def reproduction(seed: int, index: int, judge: Judge = judged) -> str:
    """The case without the mutations that the difference does not need, as Python."""
    steps = plan(seed, index)
    without: set[int] = set()
    for position in range(len(steps)):
        if disagreement(generate(seed, index, without={*without, position}), judge)[1]:
            without.add(position)
    names = [f"{stage}.{mutation.__name__}" for place, (stage, mutation) in enumerate(steps) if place not in without]
    case = generate(seed, index, without=without)
    return f"  by {', '.join(names) or 'nothing: a good request'}\n  {case!r}"


def spread(seed: int, count: int, jobs: int, minutes: float | None) -> Iterator[Tally]:
    """Tallies of chunk after chunk, over `jobs` processes, until all are done, time is up, or something differs."""
    end = None if minutes is None else time.monotonic() + 60 * minutes
    chunks = iter([(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)])
    if jobs == 1:
        for start, stop in chunks:
            if end is not None and time.monotonic() >= end:
                return
            yield run(seed, start, stop)
        return
    # Not by fork: whoever calls may have threads.
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), quieten) as pool:
        pending: set[Future[Tally]] = set()
        while True:
            while len(pending) < 2 * jobs and (end is None or time.monotonic() < end):
                chunk = next(chunks, None)
                if chunk is None:
                    break
                pending.add(pool.submit(run, seed, *chunk))
            if not pending:
                return
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
