"""The thread that serves the twin, with an event loop of its own."""

from __future__ import annotations

import asyncio
import socket
import threading
from concurrent.futures import Future

from uvicorn.config import Config
from uvicorn.server import ServerState

from agentwrit_guard.devbroker.faults import Faults
from agentwrit_guard.devbroker.front import Front
from agentwrit_guard.devbroker.protocol import HEADER_LIMIT, BrokerProtocol

_CLOSING_ROUNDS = 5
_KEEP_ALIVE_SECONDS = 120


class ServerThread:
    """Serves `app` once, from `start` to `stop`."""

    def __init__(self, app: Front, faults: Faults) -> None:
        self._app = app
        self._faults = faults
        self._connections = ServerState()
        self._stopping = asyncio.Event()

    def start(self, listener: socket.socket) -> None:
        """Take what connects to `listener`, and close it at the end."""
        ready: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(listener, ready)), name="devbroker", daemon=True
        )
        self._thread.start()
        try:
            self._loop = ready.result()
        except BaseException:
            self._thread.join()
            raise

    def stop(self) -> None:
        """Cut every connection and wait for the thread to end."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def cut(self) -> None:
        """Abort every connection that is open now."""
        done = threading.Event()

        def abort() -> None:
            for connection in list(self._connections.connections):
                connection.transport.abort()
            done.set()

        self._loop.call_soon_threadsafe(abort)
        done.wait()

    async def _serve(self, listener: socket.socket, ready: Future[asyncio.AbstractEventLoop]) -> None:
        # Not uvicorn's Server: it polls in tenths of a second, and a test suite starts hundreds of twins.
        self._faults.stopping = self._stopping
        with listener:
            try:
                server = await self._open(listener)
            except BaseException as error:
                ready.set_exception(error)
                return
            ready.set_result(asyncio.get_running_loop())
            await self._stopping.wait()
            server.close()
            await self._drain()
            await server.wait_closed()

    async def _open(self, listener: socket.socket) -> asyncio.Server:
        config = Config(
            self._app,
            interface="asgi3",
            ws="none",
            lifespan="off",
            log_config=None,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            h11_max_incomplete_event_size=HEADER_LIMIT,
        )
        config.load()

        def protocol() -> BrokerProtocol:
            return BrokerProtocol(config, self._connections, {}, self._faults)

        return await asyncio.get_running_loop().create_server(protocol, sock=listener)

    async def _drain(self) -> None:
        # Requests that were held by a delay have been let go by now: they get their answer, idle connections an end.
        tasks = list(self._connections.tasks)
        if tasks:
            await asyncio.wait(tasks, timeout=1)
        # A connection taken just before the stop becomes known some rounds of the loop later, and the socket of an
        # aborted one is closed in the round after that.
        for _ in range(_CLOSING_ROUNDS):
            for connection in list(self._connections.connections):
                connection.transport.abort()
            await asyncio.sleep(0)
