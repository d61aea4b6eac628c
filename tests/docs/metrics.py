"""What docs/metrics.md shows: a scrape, an outage in the log, and names that are there."""

from __future__ import annotations

import dataclasses
import logging
import re
import time

from prometheus_client import REGISTRY

from agentwrit_guard import Guard
from agentwrit_guard.contrib import prometheus
from agentwrit_guard.core.decisions import Phase, Reason
from agentwrit_guard.stats import Stats
from tests.docs.conftest import World
from tests.docs.pages import Block, prose, read, table
from tests.docs.web import get, running, talk
from tests.kit.clock import MovableClock

PAGE = "docs/metrics.md"


def scraped(block: Block, world: World) -> str:
    """The scrape of the app in the block, after the requests that the page tells of."""
    try:
        with running(block) as names:
            asks = [get("/customers/7291", world.clerk)] * 2 + [get("/customers/8", world.clerk), get("/customers/1")]
            *answers, scrape = talk(names["app"], *asks, get("/metrics"))
    finally:
        # The registry is the process's: another run must find it as this one did.
        for collector in {REGISTRY._names_to_collectors[f"agentwrit_guard_{name}"]
                          for name in ("decisions", "validation_seconds", "degraded")}:  # fmt: skip
            REGISTRY.unregister(collector)
        prometheus._METRICS.pop(REGISTRY)
    assert [answer.status_code for answer in answers] == [200, 200, 403, 401]
    assert scrape.status_code == 200
    assert scrape.headers["content-type"].startswith("text/plain; version=")
    return str(scrape.text)


def shown(scrape: str) -> list[str]:
    """What the page shows of it: lines whose figures are those of every run."""
    lines = [line for line in scrape.splitlines() if line.startswith("agentwrit_guard_decisions_total")]
    return sorted(lines)


def check_names(scrape: str) -> None:
    """The table has every metric with its labels, and no other; alerts and tables name nothing else."""
    kinds = dict(re.findall(r"^# TYPE (agentwrit_guard_\w+) (\w+)$", scrape, re.MULTILINE))
    families = {name for name in kinds if not name.endswith("_created")}
    rows = {row[0].strip("`"): row[1] for row in table(PAGE, "Prometheus")}
    assert set(rows) == families
    for name, cell in rows.items():
        names = {each for line in scrape.splitlines() if re.match(rf"{name}[{{_]", line)
                 for each in re.findall(r'(\w+)="', line)}  # fmt: skip
        assert names - {"guard", "le"} == set(re.findall(r"`(\w+)`", cell)), name
    named = set(re.findall(r"agentwrit_guard_\w+", read(PAGE)))
    assert {re.sub(r"_count$", "", name) for name in named} <= families
    most = (len(Reason) + 1) * len(Phase.__args__) * 2
    assert f"at most {most} series" in " ".join(prose(PAGE).split())


def check_stats() -> None:
    named = [name for row in table(PAGE, "Stats") for name in re.findall(r"`(\w+)`", row[0])]
    assert named == [field.name for field in dataclasses.fields(Stats)]


def check_alerts(text: str, scrape: str) -> None:
    used = set(re.findall(r"agentwrit_guard_\w+", text))
    assert len(re.findall(r"- alert: ", text)) == len(used) == 3
    assert all(f"\n{name}" in scrape for name in used)
    (reasons,) = re.findall(r'reason=~"([^"]+)"', text)
    assert set(reasons.split("|")) == {reason.code for reason in Reason if reason.status == 503}


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def outage(world: World) -> str:
    """The event log of a guard whose broker fails for a while."""
    clock = MovableClock(wall=time.time())
    guard = Guard(world.broker.url, clock=clock.clock)
    log, lines = logging.getLogger("agentwrit_guard.events"), _Lines()
    log.addHandler(lines)

    def ask(times: int) -> None:
        for _ in range(times):
            decision = guard.check([world.clerk["Authorization"].encode()])
            guard.record(decision, phase="middleware", front="asgi", method="GET", path="/", request_id="r")

    try:
        with world.broker.fail(500):
            ask(8)
        clock.monotonic += 31
        ask(1)
    finally:
        log.removeHandler(lines)
        guard.close()
    return "".join(f"{line}\n" for line in lines.lines)
