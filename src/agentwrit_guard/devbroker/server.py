"""DevBroker: the twin behind a real socket, in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import TracebackType

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from uvicorn.config import Config
from uvicorn.server import ServerState

from agentwrit_guard.devbroker import apps, credentials, operations, scopes
from agentwrit_guard.devbroker.app import build
from agentwrit_guard.devbroker.credentials import AgentCredentials
from agentwrit_guard.devbroker.faults import Faults
from agentwrit_guard.devbroker.front import Calls
from agentwrit_guard.devbroker.problems import Problem
from agentwrit_guard.devbroker.protocol import HEADER_LIMIT, BrokerProtocol
from agentwrit_guard.devbroker.state import LEVELS, Broker, Settings

_CLOSING_ROUNDS = 5
_KEEP_ALIVE_SECONDS = 120


@dataclass(frozen=True)
class AppCredentials:
    """What an operator gives to a developer. `repr` does not show the secret."""

    client_id: str
    client_secret: str = field(repr=False)
    app_id: str


class DevBroker:
    """An in-memory twin of broker 2.0.0 for development and tests; `with` starts and stops it.

    It issues real tokens to anyone who reaches it with its secrets, keeps nothing, and belongs on loopback.
    `admin_secret` is random when None. Lifetimes are in seconds. `clock` returns unix seconds and drives expiry, rate
    limits and the Date header; delays of `slow` and of connections run on real time.
    """

    def __init__(
        self,
        *,
        audience: str = "",
        issuer: str = "",
        trust_domain: str = "agentwrit.local",
        admin_secret: str | None = None,
        max_ttl: int = 86400,
        admin_token_ttl: int = 300,
        app_token_ttl: int = 1800,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Callable[[], float] | None = None,
        rate_limits: bool = True,
    ) -> None:
        settings = Settings(audience, issuer, trust_domain, max_ttl, admin_token_ttl, app_token_ttl, rate_limits)
        self.admin_secret: str = secrets.token_hex(32) if admin_secret is None else admin_secret
        self.calls: Calls = Calls()
        """Requests by path, as in `calls["/v1/token/validate"]`; `clear()` starts again."""
        self.state: Broker = Broker(settings, self.admin_secret, clock or time.time)
        """The stores behind the endpoints: for tests of the twin, not a stable interface."""
        self._faults = Faults()
        self._address = (host, port)
        self._url = ""
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connections = ServerState()

    def __enter__(self) -> DevBroker:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"DevBroker(url={self._url!r})"

    @property
    def url(self) -> str:
        """Where it listens, without a trailing slash; after a stop, where it last did."""
        if not self._url:
            raise RuntimeError("DevBroker has no address before it is started")
        return self._url

    @property
    def private_key(self) -> Ed25519PrivateKey:
        """Signs every token; for tests that forge one."""
        return self.state.signer.private_key

    @property
    def public_key(self) -> Ed25519PublicKey:
        """Verifies every token. The broker publishes it nowhere: an operator hands it over."""
        return self.state.signer.public_key

    @property
    def kid(self) -> str:
        """The RFC 7638 thumbprint of the public key, in the header of every token."""
        return self.state.signer.kid

    def start(self) -> None:
        """Listen, and serve in a thread. OSError when the address is taken."""
        if self._thread is not None:
            raise RuntimeError("DevBroker is running already")
        listener = _listener(*self._address)
        host, port = listener.getsockname()[:2]
        self._url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        ready: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(listener, ready)), name="devbroker", daemon=True
        )
        self._thread.start()
        try:
            self._loop = ready.result()
        except BaseException:
            self._thread.join()
            self._thread = None
            raise

    def stop(self) -> None:
        """Cut every connection and wait for the thread to end. Nothing happens when it is not running."""
        if self._thread is None or self._loop is None or self._faults.stopping is None:
            return
        self._loop.call_soon_threadsafe(self._faults.stopping.set)
        self._thread.join()
        self._thread = self._loop = None

    def app(self, *, scopes: Sequence[str], name: str | None = None, token_ttl: int | None = None) -> AppCredentials:
        """Register an app whose ceiling is `scopes`. ValueError where the broker would refuse."""
        with self.state.lock:
            try:
                app, secret = apps.register(self.state, name or f"app-{secrets.token_hex(4)}", list(scopes), token_ttl)
            except Problem as refusal:
                raise ValueError(refusal.detail) from None
        return AppCredentials(client_id=app.client_id, client_secret=secret, app_id=app.app_id)

    def agent(
        self,
        *,
        scope: Sequence[str],
        orch_id: str = "orch",
        task_id: str = "task",
        ttl: int = 300,
        delegated_from: str | None = None,
    ) -> AgentCredentials:
        """Register an agent, without HTTP and without an app's ceiling; its token lives for `ttl` seconds or `max_ttl`.

        With `delegated_from`, a token, the new agent's token is one that its bearer delegates to it: `scope` has to
        be covered, and `orch_id` and `task_id` are those of the new agent's id only (contract 6). ValueError where
        the broker would refuse.
        """
        if isinstance(scope, str) or not scope or not all(map(_well_formed, scope)):
            raise ValueError(f"scope must be a list of action:resource:identifier, got {scope!r}")
        if ttl < 1:
            raise ValueError("ttl must be at least 1 second; move the clock for a token that has expired")
        with self.state.lock:
            try:
                made = credentials.register(self.state, scope=scope, orch_id=orch_id, task_id=task_id, ttl=ttl)
                if delegated_from is None:
                    return made
                return credentials.delegate(self.state, delegated_from, to=made.agent_id, scope=scope, ttl=ttl)
            except Problem as refusal:
                raise ValueError(refusal.detail) from None

    def revoke(self, level: str, target: str) -> None:
        """Revoke as POST /v1/revoke does: `token` by jti, `agent` by sub, `task` by task_id, `chain` by root agent."""
        if level not in LEVELS:
            raise ValueError(f"invalid revocation level: {level}")
        with self.state.lock:
            operations.revoke_now(self.state, level, target)

    def restart(self) -> None:
        """Forget agents, nonces, launch tokens, rate limits and counters, as a restart does; the address stays."""
        self.state.restart()

    @contextlib.contextmanager
    def outage(self) -> Iterator[None]:
        """While open, connections are cut without a reply, those of pools and of requests under way too."""
        before, self._faults.down = self._faults.down, True
        self._cut()
        try:
            yield
        finally:
            self._faults.down = before

    @contextlib.contextmanager
    def slow(self, seconds: float) -> Iterator[None]:
        """While open, every request waits that long before anything is looked at."""
        before, self._faults.delay = self._faults.delay, seconds
        try:
            yield
        finally:
            self._faults.delay = before

    @contextlib.contextmanager
    def fail(self, status: int) -> Iterator[None]:
        """While open, every request under /v1/ is answered with `status` (400 to 599) and a problem body."""
        if status not in range(400, 600):
            raise ValueError("status must be from 400 to 599")
        before, self._faults.status = self._faults.status, status
        try:
            yield
        finally:
            self._faults.status = before

    def _cut(self) -> None:
        loop = self._loop
        if loop is None:
            return
        done = threading.Event()

        def abort() -> None:
            for connection in list(self._connections.connections):
                connection.transport.abort()
            done.set()

        loop.call_soon_threadsafe(abort)
        done.wait()

    async def _serve(self, listener: socket.socket, ready: Future[asyncio.AbstractEventLoop]) -> None:
        # Not uvicorn's Server: it polls in tenths of a second, and a test suite starts hundreds of twins.
        stopping = self._faults.stopping = asyncio.Event()
        with listener:
            try:
                server = await self._open(listener)
            except BaseException as error:
                ready.set_exception(error)
                return
            ready.set_result(asyncio.get_running_loop())
            await stopping.wait()
            server.close()
            await self._drain()
            await server.wait_closed()

    async def _open(self, listener: socket.socket) -> asyncio.Server:
        self._connections = state = ServerState()
        config = Config(
            build(self.state, self._faults, self.calls),
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
        loop = asyncio.get_running_loop()
        return await loop.create_server(lambda: BrokerProtocol(config, state, {}, self._faults), sock=listener)

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


def _well_formed(scope: object) -> bool:
    return isinstance(scope, str) and scopes.well_formed(scope)


def serve(broker: DevBroker, *, ready: Callable[[DevBroker], None] | None = None) -> None:
    """Run `broker` in the foreground until SIGINT or SIGTERM, then stop it; main thread only.

    `ready` is called once it listens, with its address known.
    """
    # A SimpleQueue may be filled from a signal handler; an Event may deadlock there.
    signals: queue.SimpleQueue[int] = queue.SimpleQueue()
    handled = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda number, frame: signals.put(number)) for number in handled}
    try:
        with broker:
            if ready is not None:
                ready(broker)
            signals.get()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only where the protocol is spelt out; without it replies wait for 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"DevBroker cannot listen on {host}:{port}: {error.strerror}") from None
    return listener
