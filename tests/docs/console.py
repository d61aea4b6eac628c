"""Shell blocks, run by `sh` with the commands of this Python's environment and a stand-in for curl.

A machine with nothing but Python has no curl. Ports of the pages are exchanged for free ones.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

SCRIPTS = Path(sys.executable).parent

_CURL = f"""#!{sys.executable}
import argparse, sys, urllib.error, urllib.request
parser = argparse.ArgumentParser()
parser.add_argument("-i", action="store_true")
parser.add_argument("-H", action="append", default=[])
parser.add_argument("url")
given = parser.parse_args()
headers = dict(line.split(": ", 1) for line in given.H)
opener = urllib.request.build_opener(urllib.request.ProxyHandler({{}}))
try:
    answer = opener.open(urllib.request.Request(given.url, headers=headers), timeout=10)
except urllib.error.HTTPError as error:
    answer = error
with answer:
    if given.i:
        print(f"HTTP/1.1 {{answer.status}} {{answer.reason}}")
        for name, value in answer.headers.items():
            print(f"{{name}}: {{value}}")
        print()
    print(answer.read().decode())
"""


class Console:
    """Runs lines in the project's root, in `environment` and with `ports` exchanged."""

    def __init__(self, root: Path, scratch: Path, environment: dict[str, str]) -> None:
        self._root = root
        self._sh = shutil.which("sh")
        self.ports: dict[str, str] = {}
        self.environment = {**os.environ, **environment, "PYTHONUNBUFFERED": "1"}
        curl = scratch / "curl"
        curl.write_text(_CURL, encoding="utf-8")
        curl.chmod(0o755)
        self.environment["PATH"] = os.pathsep.join([str(scratch), str(SCRIPTS), os.environ.get("PATH", "")])

    def map_port(self, port: str) -> int:
        """The free port that stands for one of a page."""
        free = free_port()
        self.ports[port] = str(free)
        return free

    def run(self, text: str) -> str:
        done = subprocess.run(
            [self._sh or "sh", "-eu", "-c", self._mapped(text)],
            cwd=self._root,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    @contextlib.contextmanager
    def started(self, text: str) -> Iterator[subprocess.Popen[str]]:
        """While open, a command of one line runs; it is stopped as Ctrl-C would."""
        process = subprocess.Popen(
            [self._sh or "sh", "-eu", "-c", f"exec {self._mapped(text).strip()}"],
            cwd=self._root,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            yield process
        finally:
            process.terminate()
            process.communicate(timeout=20)

    def _mapped(self, text: str) -> str:
        for port, free in self.ports.items():
            text = text.replace(port, free)
        return text


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free: int = probe.getsockname()[1]
    return free


def wait_for_port(process: subprocess.Popen[str], port: int) -> None:
    for _ in range(200):
        assert process.poll() is None, process.stdout.read() if process.stdout else ""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise AssertionError(f"nothing listens on {port}")
