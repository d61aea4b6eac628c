"""The demo's two web servers, each in a thread of its own, on a free loopback port."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import uvicorn
from fastapi import FastAPI
from flask import Flask
from waitress import wasyncore
from waitress.server import create_server

from agentwrit_guard.cli.exits import CommandError


@contextlib.contextmanager
def uvicorn_serving(app: FastAPI) -> Iterator[str]:
    """Serve an ASGI app; the value is its URL."""
    listener = _listener()
    server = _Uvicorn(uvicorn.Config(app, log_config=None, access_log=False, ws="none", server_header=False))
    thread = threading.Thread(target=server.serve_on, args=(listener,), name="demo-uvicorn", daemon=True)
    thread.start()
    try:
        server.settled.wait()
        if not server.started:
            raise CommandError("uvicorn did not start")
        yield _url(listener)
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


class _Uvicorn(uvicorn.Server):
    """Says when it listens, instead of being polled for it."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.settled = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.settled.set()

    def serve_on(self, listener: socket.socket) -> None:
        try:
            self.run([listener])
        except SystemExit:
            # How uvicorn says that it could not start.
            pass
        finally:
            self.settled.set()


@contextlib.contextmanager
def waitress_serving(app: Flask) -> Iterator[str]:
    """Serve a WSGI app; the value is its URL."""
    listener = _listener()
    url = _url(listener)
    channels: dict[int, Any] = {}
    server: Any = create_server(app, map=channels, sockets=[listener], threads=4, ident=None)
    stopping = threading.Event()

    def serve() -> None:
        # Not server.run(): it knows no way to be stopped from another thread.
        while not stopping.is_set():
            wasyncore.loop(timeout=1, map=channels, count=1)
        server.task_dispatcher.shutdown()
        server.close()
        wasyncore.close_all(channels)

    thread = threading.Thread(target=serve, name="demo-waitress", daemon=True)
    thread.start()
    try:
        yield url
    finally:
        stopping.set()
        server.pull_trigger()
        thread.join()


def _listener() -> socket.socket:
    # The protocol is spelt out, because asyncio sets TCP_NODELAY only then: without it answers wait for 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    return listener


def _url(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"
