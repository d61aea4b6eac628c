"""The load generator: a process that takes plans from its standard input, one after the other, and writes outcomes."""

from __future__ import annotations

import collections
import contextlib
import gc
import pickle
import selectors
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Final

from bench.serving import cores
from bench.serving.connection import Connection
from bench.serving.plans import Answers, Closed, Failed, Open, Outcome, Plan

PATIENCE: Final = 10.0
"""Seconds without any answer, or past the last due time, after which a plan has failed."""
_ASKED: Final = b'"source":"broker"'


class Measured:
    """Answers as they come."""

    def __init__(self) -> None:
        self.answers: dict[str, Answers] = {}
        self.count = 0

    def take(self, connection: Connection) -> bool:
        """Whether an answer is complete."""
        found = connection.receive()
        if found is None:
            return False
        took = time.perf_counter() - connection.since
        status, body = found
        answers = self.answers.get(connection.tag)
        if answers is None:
            answers = self.answers[connection.tag] = Answers()
        answers.latencies.append(took)
        answers.statuses[status] += 1
        answers.asked += _ASKED in body
        self.count += 1
        return True


def run(plan: Plan) -> Outcome:
    if isinstance(plan, Closed):
        # Waits in whole milliseconds, which does not matter where an answer ends every wait.
        selector: selectors.BaseSelector = selectors.DefaultSelector()
        lines = [(plan.port, 0)] * plan.connections
    else:
        selector = selectors.SelectSelector()
        lines = [(port, number) for number, (port, many) in enumerate(plan.targets) for _ in range(many)]
    with selector, _connected(lines) as connections:
        for connection in connections:
            selector.register(connection, selectors.EVENT_READ)
        _open_up(selector, connections, plan.first)
        measured = Measured()
        cpu, own, start = cores.spent(plan.pids), time.process_time(), time.perf_counter()
        if isinstance(plan, Closed):
            _closed(plan, selector, connections, measured, start)
        else:
            _opened(plan, selector, connections, measured, start)
        seconds = time.perf_counter() - start
        own = time.process_time() - own
        return Outcome(measured.answers, seconds, cores.spent(plan.pids) - cpu, own / seconds)


def _closed(
    plan: Closed, selector: selectors.BaseSelector, connections: Sequence[Connection], measured: Measured, start: float
) -> None:
    end = start + plan.seconds
    for connection in connections:
        connection.send(plan.request, time.perf_counter())
    sent = len(connections)
    while measured.count < sent:
        for connection in _ready(selector, PATIENCE):
            if measured.take(connection):
                now = time.perf_counter()
                if now < end:
                    connection.send(plan.request, now)
                    sent += 1


def _opened(
    plan: Open, selector: selectors.BaseSelector, connections: Sequence[Connection], measured: Measured, start: float
) -> None:
    free: list[list[Connection]] = [[] for _ in plan.targets]
    for connection in connections:
        free[connection.target].append(connection)
    schedule = plan.schedule
    waiting: list[collections.deque[int]] = [collections.deque() for _ in plan.targets]
    number = 0

    def go(connection: Connection, which: int) -> None:
        connection.send(schedule[which].request, start + schedule[which].at, schedule[which].tag)

    while measured.count < len(schedule):
        now = time.perf_counter() - start
        while number < len(schedule) and schedule[number].at <= now:
            target = schedule[number].target
            if free[target]:
                go(free[target].pop(), number)
            else:
                waiting[target].append(number)
            number += 1
        patience = schedule[number].at - now if number < len(schedule) else PATIENCE
        if now > schedule[-1].at + PATIENCE:
            raise Failed(f"{len(schedule) - measured.count} of {len(schedule)} requests were not answered")
        for key, _ in selector.select(patience):
            connection = _connection(key)
            if measured.take(connection):
                if waiting[connection.target]:
                    go(connection, waiting[connection.target].popleft())
                else:
                    free[connection.target].append(connection)


def _open_up(selector: selectors.BaseSelector, connections: Sequence[Connection], request: bytes) -> None:
    """Let each connection be taken by the server, which has answered it then."""
    measured = Measured()
    for connection in connections:
        connection.send(request, time.perf_counter())
    while measured.count < len(connections):
        for connection in _ready(selector, PATIENCE):
            measured.take(connection)
    statuses = measured.answers[""].statuses
    if set(statuses) != {200}:
        raise Failed(f"the first request was answered with {dict(statuses)}")


def _ready(selector: selectors.BaseSelector, seconds: float) -> list[Connection]:
    found = [_connection(key) for key, _ in selector.select(seconds)]
    if not found:
        raise Failed(f"no answer for {seconds:g} s")
    return found


def _connection(key: selectors.SelectorKey) -> Connection:
    assert isinstance(key.fileobj, Connection)
    return key.fileobj


@contextlib.contextmanager
def _connected(lines: Sequence[tuple[int, int]]) -> Iterator[list[Connection]]:
    connections: list[Connection] = []
    try:
        for port, target in lines:
            connections.append(Connection(port, target))
        yield connections
    finally:
        for connection in connections:
            connection.close()


def main() -> None:
    gc.disable()
    while True:
        try:
            plan: Plan = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            said: Outcome | Failed = run(plan)
        except (Failed, OSError) as error:
            said = Failed(str(error))
        pickle.dump(said, sys.stdout.buffer)
        sys.stdout.buffer.flush()
        del plan, said
        gc.collect()


if __name__ == "__main__":
    main()
