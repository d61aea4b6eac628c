"""Agents for one test: a client of the app under test whose requests carry one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from agentwrit_guard import testrun
from agentwrit_guard.errors import ConfigurationError
from agentwrit_guard.testing.clients import client_for
from agentwrit_guard.testing.guards import each_guard
from agentwrit_guard.testing.principals import fake_principal
from agentwrit_guard.testing.tokens import fake_token

if TYPE_CHECKING:
    from agentwrit_guard.core.claims import Principal
    from agentwrit_guard.standing import Standing


class AsAgent:
    """Makes agents that the guards of this process know, and clients whose requests carry one; see `as_agent`."""

    def __init__(self, request: pytest.FixtureRequest, known: dict[str, Principal], clients: contextlib.ExitStack):
        self._request = request
        self._known = known
        self._clients = clients

    def __call__(self, scope: Sequence[str] = (), *, app: Any = None, **agent: Any) -> Any:
        """A client for `app`, else for the fixture named `app`. Beside `scope` it takes what `fake_principal` does."""
        headers = self.headers(scope, **agent)
        client = client_for(self._app() if app is None else app, headers)
        close = getattr(client, "close", None)
        if close is not None:
            self._clients.callback(close)
        return client

    def headers(self, scope: Sequence[str] = (), **agent: Any) -> dict[str, str]:
        """The header of such an agent, for a client of your own."""
        if not testrun.active():
            raise ConfigurationError("as_agent makes agents out of nothing, so it works in a test run only")
        principal = fake_principal(scope, **agent)
        token = fake_token(principal)
        self._known[token] = principal
        return {"Authorization": f"Bearer {token}"}

    def _app(self) -> Any:
        try:
            return self._request.getfixturevalue("app")
        except pytest.FixtureLookupError as error:
            if error.argname != "app":
                raise
            raise ConfigurationError(
                "as_agent has no app: say as_agent(scope, app=...), or define a fixture named app that returns it"
            ) from None


@pytest.fixture
def as_agent(request: pytest.FixtureRequest) -> Iterator[AsAgent]:
    """`as_agent(scope=[...])`: a client of your app whose requests carry an agent that holds `scope`. No broker needed.

    The app is `app=`, else your fixture named `app`: Flask gives its test client, other ASGI apps Starlette's, other
    WSGI apps httpx's. `as_agent.headers(scope=[...])` gives the header for any other client. Each call makes another
    agent, and further keywords are those of `fake_principal`. All guards of the process know the agents until the
    test ends. The clients are closed then; a client does not run the app's lifespan unless it is used in a `with`.
    """
    known: dict[str, Principal] = {}
    before: dict[Standing, Mapping[str, Principal] | None] = {}

    def introduce(guard: Standing) -> None:
        before[guard] = guard._agents
        guard._know(known)

    with (
        each_guard(introduce, lambda guard: guard._know(before[guard])),
        contextlib.ExitStack() as clients,
    ):
        yield AsAgent(request, known, clients)
