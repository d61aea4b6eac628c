"""Servers as processes of their own, each on a socket that is bound here and handed over.

The socket listens before its server does, so that a first request waits in the queue until there is somebody to take
it: nothing polls, and no port is guessed.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PATIENCE = 20.0
"""Seconds until a server that neither answers nor ends counts as broken."""

_UVICORN = ("-m", "uvicorn", "--factory", "{module}:{app}", "--fd", "{fd}")
_GUNICORN = ("-m", "gunicorn", "{module}:{app}()", "-b", "fd://{fd}", "--no-control-socket")
# None of the three has an option for a factory: hypercorn evaluates a call, for daphne a module makes its attributes.
_HYPERCORN = ("-m", "hypercorn", "-w", "0", "-b", "fd://{fd}", "asgi:{module}:{app}()")
_DAPHNE = ("-m", "daphne", "-v", "0", "--fd", "{fd}", "tests.servers.made:{app}")
_RUN = ("-m", "tests.servers.run")
COMMANDS: dict[str, Sequence[str]] = {
    "uvicorn-h11": (*_UVICORN, "--http", "h11", "--ws", "websockets-sansio"),
    "uvicorn-httptools": (*_UVICORN, "--http", "httptools"),
    "uvicorn-old-websockets": (*_UVICORN, "--http", "h11", "--ws", "websockets"),
    "uvicorn-wsproto": (*_UVICORN, "--http", "h11", "--ws", "wsproto"),
    "uvicorn-without-lifespan": (*_UVICORN, "--http", "h11", "--lifespan", "off"),
    "hypercorn": _HYPERCORN,
    "granian": (*_RUN, "granian", "{app}", "{fd}"),
    "daphne": _DAPHNE,
    "gunicorn-sync": (*_GUNICORN, "-k", "sync"),
    "gunicorn-gthread": (*_GUNICORN, "-k", "gthread", "--threads", "2"),
    "gunicorn-preload": (*_GUNICORN, "-k", "sync", "--preload", "-w", "2"),
    "waitress": (*_RUN, "waitress", "{app}", "{fd}"),
    "werkzeug": (*_RUN, "werkzeug", "{app}", "{fd}"),
    "cheroot": (*_RUN, "cheroot", "{app}", "{fd}"),
}
_MODULES = {
    "fastapi_app": "fastapi_apps",
    "lasting_asgi": "lasting_apps",
    "lasting_wsgi": "lasting_apps",
    "trial_asgi": "trial_apps",
    "trial_wsgi": "trial_apps",
}


def module_of(app: str) -> str:
    """The module with an app's factory; `apps` unless said otherwise."""
    return "tests.servers." + _MODULES.get(app, "apps")


def factory(app: str) -> Callable[[], Any]:
    made: Callable[[], Any] = getattr(importlib.import_module(module_of(app)), app)
    return made


@dataclass(frozen=True)
class Host:
    """A running server. `output` is what it wrote, `ran` which handlers ran."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    folder: Path

    @property
    def output(self) -> str:
        return (self.folder / "output").read_text(encoding="utf-8", errors="backslashreplace")

    @property
    def ran(self) -> list[str]:
        return (self.folder / "tripwire").read_text(encoding="utf-8").splitlines()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End the server as an operator would, and wait for it. The exit status, negative for a signal."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


Serve = Callable[..., Host]


def _hears_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(
    server: str,
    app: str,
    broker_url: str,
    folder: Path,
    *,
    python: Sequence[str] = (),
    options: Sequence[str] = (),
    **env: str,
) -> Host:
    """Start `server` with the app of a factory.

    `env` adds to the environment, `python` to the interpreter's options, `options` to the server's.
    """
    (folder / "tripwire").touch()
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AGENTWRIT_")}
    environment = {
        **clean,
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "PYTHONUNBUFFERED": "1",
        "AGENTWRIT_BROKER_URL": broker_url,
        "TRIPWIRE": str(folder / "tripwire"),
        **env,
    }
    with socket.create_server(("127.0.0.1", 0)) as listener, (folder / "output").open("wb") as output:
        fd = listener.fileno()
        command = [part.format(module=module_of(app), app=app, fd=fd) for part in COMMANDS[server]]
        process = subprocess.Popen(
            [sys.executable, *python, *command, *options],
            # A shell that puts a job into the background has it ignore SIGINT, and servers would inherit that.
            preexec_fn=_hears_interrupts,
            cwd=ROOT,
            env=environment,
            pass_fds=[fd],
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
        )
        return Host(f"{app} on {server}", listener.getsockname()[1], process, folder)
