"""Servers under test: started together, ready when they answer, ended with the block."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Literal

from bench.drills.interrupts import held_back
from bench.serving import cores
from bench.serving.asgiserver import GRACE, KEPT

ROOT: Final = Path(__file__).parents[2]
PATIENCE: Final = 30.0
"""Seconds until a server answers."""
THREADS: Final = 4
"""Of gunicorn's worker."""
PATH: Final = "/customers/7291"

Kind = Literal["uvicorn", "gunicorn"]
_APPS: Final = {
    ("uvicorn", False): "bare_asgi", ("uvicorn", True): "guarded_asgi",
    ("gunicorn", False): "bare_wsgi", ("gunicorn", True): "guarded_wsgi",
}  # fmt: skip


@dataclass(frozen=True)
class Wanted:
    """A server to start with one worker, on a core for measured servers or, not `alone`, on any."""

    kind: Kind
    guarded: bool
    alone: bool = True


@dataclass(frozen=True)
class Server:
    """`pids` are the process and its workers."""

    name: str
    port: int
    pids: tuple[int, ...]

    def get(self, path: str, credentials: bytes = b"") -> tuple[int, bytes]:
        """Status and body of one request on a connection of its own."""
        return _get(self.port, path, credentials, PATIENCE)

    def asked(self) -> int:
        """How often the guard of this server has asked its broker."""
        status, body = self.get("/stats")
        if status != 200:
            raise SystemExit(f"{self.name} answered /stats with {status}")
        counts: dict[str, int] = json.loads(body)
        return sum(counts.values())


@dataclass
class _Started:
    """A process whose listener takes connections before it does. `output` is all that it wrote."""

    wanted: Wanted
    port: int
    process: subprocess.Popen[bytes]
    output: IO[bytes]

    @property
    def name(self) -> str:
        return f"{'guarded' if self.wanted.guarded else 'bare'} {self.wanted.kind}"

    def ready(self) -> Server:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(OSError, http.client.HTTPException):
                _get(self.port, PATH, b"", 1.0)
                return Server(self.name, self.port, cores.family(self.process.pid))
        self.output.seek(0)
        said = self.output.read().decode(errors="replace").strip() or "it said nothing"
        raise SystemExit(f"{self.name} did not start:\n{said}")


@contextlib.contextmanager
def serving(wanted: Sequence[Wanted], broker_url: str) -> Iterator[list[Server]]:
    """All that are wanted, in their order. SystemExit with the output of one that does not start."""
    started: list[_Started] = []
    with contextlib.ExitStack() as files:
        try:
            for each in wanted:
                output = files.enter_context(tempfile.TemporaryFile())
                with held_back():
                    started.append(_start(each, broker_url, output))
            yield [each.ready() for each in started]
        finally:
            _end([each.process for each in started])


def _start(wanted: Wanted, broker_url: str, output: IO[bytes]) -> _Started:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AGENTWRIT_", "GUNICORN_"))}
    environment = {**clean, "PYTHONPATH": str(ROOT), "AGENTWRIT_BROKER_URL": broker_url}
    # The backlog holds a herd that comes before the first is taken.
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        process = subprocess.Popen(
            _command(wanted, listener.fileno()),
            cwd=ROOT,
            env=environment,
            pass_fds=[listener.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        if wanted.alone:
            cores.pin(process.pid, cores.SERVER)
        return _Started(wanted, listener.getsockname()[1], process, output)


def _command(wanted: Wanted, descriptor: int) -> list[str]:
    app = _APPS[wanted.kind, wanted.guarded]
    if wanted.kind == "uvicorn":
        return [sys.executable, "-m", "bench.serving.asgiserver", str(descriptor), app]
    return [
        sys.executable, "-m", "gunicorn", f"bench.serving.apps:{app}()", "-b", f"fd://{descriptor}", "-w", "1",
        "-k", "gthread", "--threads", str(THREADS), "--keep-alive", str(KEPT), "--graceful-timeout", str(GRACE),
        "--log-level", "warning", "--no-control-socket",
    ]  # fmt: skip


def _get(port: int, path: str, credentials: bytes, timeout: float) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"Authorization": credentials.decode()} if credentials else {})
        answer = connection.getresponse()
        return answer.status, answer.read()


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
