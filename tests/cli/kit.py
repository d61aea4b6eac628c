"""Runs the real command in a process of its own, with nothing of the surrounding environment's settings."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

from agentwrit_guard.devbroker import DevBroker

CEILING = ("read:customers:*", "write:customers:*")
TIMEOUT = 60
_CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("AGENTWRIT_", "AA_"))}


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "agentwrit_guard", *arguments]


def run(*arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _command(*arguments),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        env={**_CLEAN, **environment},
        check=False,
    )


@contextlib.contextmanager
def started(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """The command while it runs; killed if the test leaves it running."""
    with subprocess.Popen(
        _command(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**_CLEAN, **environment},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def exports(process: subprocess.Popen[str], until: str) -> dict[str, str]:
    """The `export NAME=VALUE` lines that the command prints, up to the one for `until`."""
    found: dict[str, str] = {}
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("export "):
            name, _, value = line.removeprefix("export ").strip().partition("=")
            found[name] = value
            if name == until:
                return found
    assert process.stderr is not None
    raise AssertionError(f"no {until} before the end: {process.stderr.read()}")


def environment(broker: DevBroker, *, scopes: tuple[str, ...] = CEILING, operator: bool = False) -> dict[str, str]:
    """A new app of the broker, as the environment names it. One app each: logins of an app are limited."""
    app = broker.app(scopes=scopes)
    named = {
        "AGENTWRIT_BROKER_URL": broker.url,
        "AGENTWRIT_CLIENT_ID": app.client_id,
        "AGENTWRIT_CLIENT_SECRET": app.client_secret,
    }
    return {**named, "AGENTWRIT_ADMIN_SECRET": broker.admin_secret} if operator else named


def options(broker: DevBroker, **keywords: object) -> list[str]:
    """The same as command line options."""
    named = environment(broker, **keywords)
    return [text for name, value in named.items() for text in (_option(name), value)]


def _option(name: str) -> str:
    return f"--{name.removeprefix('AGENTWRIT_').lower().replace('_', '-')}"


def one_line(ended: subprocess.CompletedProcess[str]) -> str:
    """The reason why a command could not be carried out: exit code 2, one line on stderr, nothing on stdout."""
    assert (ended.returncode, ended.stdout) == (2, ""), ended
    assert ended.stderr.startswith("agentwrit-guard")
    assert ended.stderr.count("\n") == 1
    return ended.stderr.rstrip("\n")
