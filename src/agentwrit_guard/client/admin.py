"""The operator's side of the broker, as far as demos, tests and the command line need it."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from types import TracebackType

from agentwrit_guard.client import checks, flows
from agentwrit_guard.client.callers import Caller
from agentwrit_guard.client.options import link_options
from agentwrit_guard.client.session import Session
from agentwrit_guard.client.values import AppCredentials


class Operator:
    """Whoever holds the broker's admin secret. Logs in on first use and keeps the login.

    The broker takes logins in bursts of 10 and then 5 a second from one address; beyond that calls raise
    RateLimitError.
    """

    def __init__(
        self,
        broker_url: str,
        admin_secret: str,
        *,
        timeout: float = 10.0,
        allow_http: bool = False,
        ca_file: str | None = None,
        client_cert: str | None = None,
        client_key: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        secret = admin_secret = checks.secret("admin_secret", admin_secret)
        options = link_options(
            broker_url,
            timeout=timeout,
            allow_http=allow_http,
            ca_file=ca_file,
            client_cert=client_cert,
            client_key=client_key,
        )
        self._caller = Caller(options, Session(lambda: flows.admin_auth(secret), checks.clock(clock)))

    @property
    def broker_url(self) -> str:
        """The broker's URL, without a trailing slash."""
        return self._caller.base_url

    def create_app(
        self, name: str, scopes: list[str] | tuple[str, ...], *, token_ttl: int | None = None
    ) -> AppCredentials:
        """Register an app with `scopes` as the ceiling of its agents.

        `token_ttl` is the lifetime of the app's own login, 60 to 86400 seconds (the broker's default is 1800). A name
        in use is ProblemResponseError 500: the broker has no better answer (contract 5).
        """
        ttl = None if token_ttl is None else checks.seconds("token_ttl", token_ttl, low=60, high=86400)
        work = functools.partial(flows.create_app, checks.app_name(name), checks.scope_list("scopes", scopes), ttl)
        return self._caller.logged_in(work)

    def revoke(self, level: str, target: str) -> None:
        """End tokens, those still to come included, for good: there is no way back (contract 7 says which).

        `level` and its `target`: token, a jti; agent, an agent id; task, a task id; chain, the agent id of its root.
        The broker does not say whether anything was hit.
        """
        work = functools.partial(flows.revoke, checks.level(level), checks.text("target", target))
        self._caller.logged_in(work)

    def close(self) -> None:
        self._caller.close()

    def __enter__(self) -> Operator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Operator at {self._caller.base_url}>"
