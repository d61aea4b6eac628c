"""DevBroker: the twin behind a real socket, in a thread of its own."""

from __future__ import annotations

import contextlib
import queue
import secrets
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from agentwrit_guard.devbroker import apps, credentials, operations, scopes
from agentwrit_guard.devbroker.app import build
from agentwrit_guard.devbroker.credentials import AgentCredentials, AppCredentials
from agentwrit_guard.devbroker.faults import Faults
from agentwrit_guard.devbroker.front import Calls
from agentwrit_guard.devbroker.listener import listen
from agentwrit_guard.devbroker.problems import Problem
from agentwrit_guard.devbroker.state import LEVELS, Broker, Settings
from agentwrit_guard.devbroker.thread import ServerThread


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
        self._thread: ServerThread | None = None

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
        listener = listen(*self._address)
        host, port = listener.getsockname()[:2]
        self._url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        thread = ServerThread(build(self.state, self._faults, self.calls), self._faults)
        thread.start(listener)
        self._thread = thread

    def stop(self) -> None:
        """Cut every connection and wait for the thread to end. Nothing happens when it is not running."""
        if self._thread is not None:
            self._thread.stop()
            self._thread = None

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
        if self._thread is not None:
            self._thread.cut()
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
