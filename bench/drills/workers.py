"""A deny file that several worker processes watch: how soon the last of them refuses, and lets in again (P2)."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

from agentwrit_guard.cli import deny
from bench.drills.findings import Findings
from bench.drills.fleet import Answer, Line, gunicorn, lines
from bench.drills.stage import Stage, percentile
from bench.drills.tokens import claims_of

BOUND = 1.0
"""Seconds after which a change of the file is in force everywhere (threats P2)."""
LONGER = 0.3
PATIENCE = 5.0
TARGETS = 6
OTHERS = 4
LEVELS = (("token", "jti"), ("agent", "sub"), ("task", "task_id"))


@dataclass
class Load:
    """What goes on at the workers: of each, one connection brings the target's token, one those of other agents."""

    target: bytes = b""
    answers: dict[int, list[Answer]] = field(default_factory=dict)
    others: int = 0
    refused: int = 0
    mixed: int = 0

    async def bring_target(self, pid: int, line: Line) -> None:
        while True:
            target = self.target
            answer = await line.ask(target)
            if target is self.target:
                self.answers.setdefault(pid, []).append(answer)
            self._look(answer, target, pid)
            await asyncio.sleep(0.02)

    async def bring_others(self, pid: int, line: Line, agents: list[bytes]) -> None:
        while True:
            for credentials in agents:
                answer = await line.ask(credentials)
                self.others += 1
                self.refused += answer.status != 200
                self._look(answer, credentials, pid)
                await asyncio.sleep(0.1)

    def _look(self, answer: Answer, credentials: bytes, pid: int) -> None:
        if answer.status == 200:
            self.mixed += (answer.pid, answer.jti) != (pid, claims_of(credentials)["jti"])

    def first(self, pid: int, status: int, since: float) -> float | None:
        """Seconds until the first answer with this status of those asked for since then."""
        took = [
            each.ended - since for each in self.answers.get(pid, []) if each.status == status and each.began > since
        ]
        return min(took, default=None)


async def run(stage: Stage, workers: int, rounds: int) -> Findings:
    """In each round an entry is put into the file as the command line does it, and taken out of it again."""
    denied: list[float] = []
    lifted: list[float] = []
    late = again = missed = 0
    load = Load()
    async with contextlib.AsyncExitStack() as stack:
        known = await stack.enter_async_context(stage.agents(TARGETS + OTHERS))
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        path = str(Path(folder) / "denied")
        Path(path).write_text("# nobody is denied\n", encoding="utf-8")
        targets, others = known[:TARGETS], known[TARGETS:]
        port = stack.enter_context(gunicorn(workers, stage.url, path))
        held = await stack.enter_async_context(lines(port, workers, 2, others[0]))
        tasks = await stack.enter_async_context(_tasks())
        load.target = targets[0]
        for pid, (one, other) in held.items():
            tasks.append(asyncio.create_task(load.bring_target(pid, one)))
            tasks.append(asyncio.create_task(load.bring_others(pid, other, others)))

        async def change(work: Callable[[argparse.Namespace], int], entry: dict[str, str], status: int) -> list[float]:
            """Seconds from the command's beginning until each worker goes by it; PATIENCE for one that does not."""
            nonlocal missed
            began = time.monotonic()
            with contextlib.redirect_stdout(io.StringIO()):
                work(argparse.Namespace(**entry, file=path, create=False))
            while time.monotonic() - began < BOUND + LONGER or (
                time.monotonic() - began < PATIENCE and any(load.first(pid, status, began) is None for pid in held)
            ):
                await asyncio.sleep(0.01)
                _raise(tasks)
            times = [load.first(pid, status, began) for pid in held]
            missed += times.count(None)
            return [PATIENCE if took is None else took for took in times]

        for number in range(rounds):
            load.target = target = targets[number % TARGETS]
            load.answers = {}
            began = time.monotonic()
            while any(load.first(pid, 200, began) is None for pid in held) and time.monotonic() - began < PATIENCE:
                await asyncio.sleep(0.01)
                _raise(tasks)
            level, claim = LEVELS[number % len(LEVELS)]
            entry = {"level": level, "target": claims_of(target)[claim]}
            began = time.monotonic()
            times = await change(deny.add_entry, entry, 401)
            denied.append(max(times))
            for pid, took in zip(held, times, strict=True):
                let_in = [each.began - began for each in load.answers.get(pid, []) if each.status == 200]
                late += sum(at > BOUND for at in let_in)
                again += sum(at > took for at in let_in)
            lifted.append(max(await change(deny.remove_entry, entry, 200)))
    return Findings(
        {
            "workers": len(held),
            "denied and lifted": rounds,
            "until the last worker refuses, p50 and p100 (s)": [_shown(percentile(denied, 0.5)), _shown(max(denied))],
            "until the last one lets in again, p50 and p100 (s)": [
                _shown(percentile(lifted, 0.5)),
                _shown(max(lifted)),
            ],
            "let in later than that bound": late,
            "let in after the first refusal of the same worker": again,
            "requests of other agents": load.others,
            "of which refused": load.refused,
            "answers of another worker or token": load.mixed,
        },
        {
            f"every worker refuses within {BOUND:g} s": missed == 0 and max(denied) <= BOUND,
            f"every worker lets in again within {BOUND:g} s": missed == 0 and max(lifted) <= BOUND,
            f"0 let in that came {BOUND:g} s after the entry": late == 0,
            "0 let in after a refusal": again == 0,
            "other agents notice nothing": load.refused == load.mixed == 0,
        },
    )


def _shown(seconds: float) -> float:
    return round(seconds, 3)


@contextlib.asynccontextmanager
async def _tasks() -> AsyncIterator[list[asyncio.Task[None]]]:
    """Tasks that end with the block."""
    tasks: list[asyncio.Task[None]] = []
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _raise(tasks: list[asyncio.Task[None]]) -> None:
    """A connection that broke is the end of the drill."""
    for task in tasks:
        if task.done():
            task.result()
