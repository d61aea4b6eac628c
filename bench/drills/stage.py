"""The broker of a drill, its agents, and strangers who only look like agents."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

from agentwrit_guard import AsyncAgentWritApp, Guard
from agentwrit_guard.client.admin import Operator
from bench.drills.interrupts import held_back
from bench.drills.tokens import HEAD, encoded

CEILING = ("read:customers:*",)


@dataclass
class Stage:
    """A broker that can be asked. `process` is its twin's, None for one of yours."""

    url: str
    admin_secret: str = field(repr=False)
    process: subprocess.Popen[str] | None = None

    def freeze(self) -> None:
        """Let the broker hang: connections are taken and nothing is answered."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        os.kill(self._own().pid, number)

    def kill(self) -> None:
        """End the broker's process at once: it says goodbye to nobody, and all that it knew is lost."""
        process = self._own()
        process.kill()
        process.wait(10)

    def start(self, port: int = 0) -> subprocess.Popen[str]:
        """Start a twin, which does not listen yet."""
        command = [sys.executable, "-m", "agentwrit_guard", "dev-broker", "--port", str(port)]
        with held_back():
            self.process = subprocess.Popen(
                [*command, "--admin-secret", self.admin_secret], stdout=subprocess.PIPE, text=True
            )
        return self.process

    async def revive(self) -> None:
        """Start another twin on the same port. It has a key of its own, and knows neither apps nor agents."""
        _close(self._own())
        twin = self.start(int(self.url.rpartition(":")[2]))
        self.url = await asyncio.to_thread(_address, twin)

    def _own(self) -> subprocess.Popen[str]:
        if self.process is None:
            raise SystemExit("this drill stops and starts the broker, so it needs the twin: leave --broker-url out")
        return self.process

    def operator(self) -> Operator:
        return Operator(self.url, self.admin_secret, allow_http=True)

    def guard(self, **settings: object) -> Guard:
        return Guard(self.url, allow_http=True, **settings)  # type: ignore[arg-type]

    @contextlib.asynccontextmanager
    async def agents(self, number: int) -> AsyncIterator[list[bytes]]:
        """Credentials of so many live agents, each with a task of its own."""
        with self.operator() as operator:
            credentials = operator.create_app(f"drill-{secrets.token_hex(4)}", CEILING)
        app = AsyncAgentWritApp(self.url, credentials.client_id, credentials.client_secret, allow_http=True)
        async with app:
            turn = asyncio.Semaphore(50)

            async def agent(index: int) -> bytes:
                async with turn:
                    made = await app.create_agent("drill", f"task-{index}", ["read:customers:7291"])
                    return f"Bearer {made.access_token}".encode()

            yield list(await asyncio.gather(*(agent(index) for index in range(number))))


@contextlib.contextmanager
def stage(broker_url: str | None, admin_secret: str | None) -> Iterator[Stage]:
    """The broker that was named, else the twin, which ends with the block."""
    if broker_url and admin_secret:
        yield Stage(broker_url, admin_secret)
        return
    scene = Stage("", secrets.token_hex(16))
    try:
        scene.url = _address(scene.start())
        yield scene
    finally:
        if scene.process is not None:
            _close(scene.process)


def _address(twin: subprocess.Popen[str]) -> str:
    """Where it listens, once it does."""
    assert twin.stdout is not None
    for line in twin.stdout:
        if found := re.match(r"export AGENTWRIT_BROKER_URL=(\S+)", line):
            return found.group(1)
    raise SystemExit("the twin did not start")


def _close(process: subprocess.Popen[str]) -> None:
    """End a twin, whether it hangs or has ended already."""
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)
        process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def stranger() -> bytes:
    """A well-formed token that nobody signed, with claims that nothing speaks against."""
    now = int(time.time())
    claims = {
        "iss": "", "sub": f"spiffe://agentwrit.local/agent/drill/x/{secrets.token_hex(8)}", "exp": now + 300,
        "nbf": now, "iat": now, "jti": secrets.token_hex(16), "scope": ["read:customers:7291"],
        "task_id": "x", "orch_id": "drill",
    }  # fmt: skip
    parts = [encoded(json.dumps(part, separators=(",", ":")).encode()) for part in (HEAD, claims)]
    return b"Bearer " + b".".join([*parts, encoded(secrets.token_bytes(64))])


def megabytes() -> float:
    """What this process holds in memory now."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")
