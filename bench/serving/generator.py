"""The load generator's process, from outside."""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
from collections.abc import Collection, Iterator

from bench.drills.interrupts import held_back
from bench.serving import cores
from bench.serving.plans import Failed, Outcome, Plan
from bench.serving.servers import ROOT


class Generator:
    """`busiest` is the most that it needed of its core: near 1 it, and not the server, was the limit."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.busiest = 0.0

    def run(self, plan: Plan, statuses: Collection[int] = (200,)) -> Outcome:
        """What came of a plan. SystemExit if it failed, or if an answer had another status than these."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            pickle.dump(plan, self._process.stdin)
            self._process.stdin.flush()
            said: Outcome | Failed = pickle.load(self._process.stdout)
        except (EOFError, BrokenPipeError):
            raise SystemExit("the load generator ended") from None
        if isinstance(said, Failed):
            raise SystemExit(f"the load generator: {said}")
        for answers in said.answers.values():
            if not set(answers.statuses) <= set(statuses):
                raise SystemExit(f"answers that were not expected, by status: {dict(answers.statuses)}")
        self.busiest = max(self.busiest, said.own)
        return said


@contextlib.contextmanager
def generator(*, alone: bool = True) -> Iterator[Generator]:
    """On the cores that measured servers leave free, or, not `alone`, on any."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with held_back():
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.serving.load"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Ctrl-C is not for it: it ends with its input.
            start_new_session=True,
        )
    try:
        if alone:
            cores.pin(process.pid, cores.REST)
        yield Generator(process)
    finally:
        # A plan that is under way is of no use to anybody any more.
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(BrokenPipeError):
                if pipe is not None:
                    pipe.close()
