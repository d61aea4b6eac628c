"""gunicorn with its workers, each a process of its own, and connections that stay with one of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.drills.interrupts import held_back

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
"""Seconds until every worker has taken its connections."""


@dataclass(frozen=True)
class Answer:
    """`pid` and `jti` are what the handler said, None and empty for a refusal. Times are monotonic."""

    status: int
    pid: int | None
    jti: str
    began: float
    ended: float


class Line:
    """A connection, and the worker at its end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def to(cls, port: int) -> Line:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, credentials: bytes) -> Answer:
        began = time.monotonic()
        head = b"GET /customers/7291 HTTP/1.1\r\nHost: localhost\r\nAuthorization: " + credentials
        self._writer.write(head + b"\r\n\r\n")
        answer = await self._reader.readuntil(b"\r\n\r\n")
        length = next(line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        body = await self._reader.readexactly(int(length.partition(b":")[2]))
        status = int(answer.split()[1])
        pid, _, jti = body.decode().partition(" ") if status == 200 else ("", "", "")
        return Answer(status, int(pid) if pid else None, jti, began, time.monotonic())

    def close(self) -> None:
        self._writer.close()


@contextlib.contextmanager
def gunicorn(workers: int, broker_url: str, deny_file: str) -> Iterator[int]:
    """The port of a server that ends with the block."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AGENTWRIT_")}
    environment = {
        **clean, "PYTHONPATH": str(ROOT), "AGENTWRIT_BROKER_URL": broker_url, "AGENTWRIT_ALLOW_HTTP": "1",
        "AGENTWRIT_DENY_FILE": deny_file,
    }  # fmt: skip
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        fd = listener.fileno()
        command = [
            sys.executable, "-m", "gunicorn", "bench.drills.served:app()", "-b", f"fd://{fd}", "-w", str(workers),
            "-k", "gthread", "--threads", "4", "--keep-alive", "600", "--log-level", "error", "--no-control-socket",
        ]  # fmt: skip
        process: subprocess.Popen[bytes] | None = None
        try:
            with held_back():
                process = subprocess.Popen(command, cwd=ROOT, env=environment, pass_fds=[fd], stdin=subprocess.DEVNULL)
            yield listener.getsockname()[1]
        finally:
            if process is not None:
                _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.asynccontextmanager
async def lines(port: int, workers: int, each: int, credentials: bytes) -> AsyncIterator[dict[int, list[Line]]]:
    """So many connections with each worker, by its process id. Which one takes a connection nobody can choose."""
    found: dict[int, list[Line]] = {}
    spare: list[Line] = []
    try:
        deadline = time.monotonic() + PATIENCE
        while len(found) < workers or any(len(held) < each for held in found.values()):
            if time.monotonic() > deadline:
                raise SystemExit(f"{len(found)} of {workers} workers took connections")
            made = [await Line.to(port) for _ in range(workers)]
            spare += made
            for line, answer in zip(made, await asyncio.gather(*(line.ask(credentials) for line in made)), strict=True):
                if answer.pid is not None and len(found.setdefault(answer.pid, [])) < each:
                    found[answer.pid].append(line)
                    spare.remove(line)
        for line in spare:
            line.close()
        spare = []
        yield found
    finally:
        for line in [*spare, *(line for held in found.values() for line in held)]:
            line.close()
