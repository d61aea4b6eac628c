"""Fixtures for tests with real tokens: the broker's twin, an app of it, and agents that it has registered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from agentwrit_guard.testing import clock
from agentwrit_guard.testing.guards import each_guard

if TYPE_CHECKING:
    from agentwrit_guard.client import AgentWritApp
    from agentwrit_guard.devbroker import DevBroker


class AgentToken(Protocol):
    """What `agent_token` is."""

    def __call__(
        self,
        scope: Sequence[str],
        ttl: int = ...,
        delegated_from: Any = ...,
        *,
        orch_id: str = ...,
        task_id: str = ...,
    ) -> str: ...


@pytest.fixture
def agentwrit_broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[DevBroker]:
    """A running twin of the broker, which AGENTWRIT_BROKER_URL names for the length of the test.

    A guard finds it by `Guard.from_env()` if it is made during the test, in an app factory say. It goes by
    `agentwrit_clock` if the test has that, and limits no rates. At the end every guard's sync connections are
    closed. Needs the extra `testing`.
    """
    from agentwrit_guard.devbroker import DevBroker

    with (
        DevBroker(clock=clock.now, rate_limits=False) as broker,
        each_guard(lambda guard: None, lambda guard: guard.close()),
    ):
        monkeypatch.setenv("AGENTWRIT_BROKER_URL", broker.url)
        yield broker


@pytest.fixture
def agentwrit_scopes() -> list[str]:
    """The ceiling of `agentwrit_app`. Define a fixture of this name in your conftest for another one."""
    return ["read:customers:*", "write:customers:*"]


@pytest.fixture
def agentwrit_app(
    agentwrit_broker: DevBroker, agentwrit_scopes: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[AgentWritApp]:
    """An `AgentWritApp` registered at `agentwrit_broker`; AGENTWRIT_CLIENT_ID and AGENTWRIT_CLIENT_SECRET are set."""
    from agentwrit_guard.client import AgentWritApp

    credentials = agentwrit_broker.app(scopes=agentwrit_scopes)
    monkeypatch.setenv("AGENTWRIT_CLIENT_ID", credentials.client_id)
    monkeypatch.setenv("AGENTWRIT_CLIENT_SECRET", credentials.client_secret)
    with AgentWritApp(
        agentwrit_broker.url, credentials.client_id, credentials.client_secret, clock=clock.monotonic
    ) as app:
        yield app


@pytest.fixture
def agent_token(agentwrit_broker: DevBroker) -> AgentToken:
    """`agent_token(scope=[...], ttl=300, delegated_from=None, orch_id="orch", task_id="task")`: a real token.

    It is signed by `agentwrit_broker` and belongs to an agent of its own, registered there. `ttl` is in seconds.
    With `delegated_from`, a token or anything that has an `access_token`, it is one that was delegated by that.
    ValueError where the broker would refuse, as for a wider scope than the delegator's.
    """

    def make(
        scope: Sequence[str],
        ttl: int = 300,
        delegated_from: Any = None,
        *,
        orch_id: str = "orch",
        task_id: str = "task",
    ) -> str:
        from agentwrit_guard.core.redacted import Redacted

        if type(ttl) is not int:
            raise ValueError(f"ttl must be a whole number of seconds, got {ttl!r}")
        delegator = getattr(delegated_from, "access_token", delegated_from)
        if delegator is not None and not isinstance(delegator, str):
            raise ValueError(f"delegated_from must be a token or have one, got {type(delegated_from).__name__}")
        # From here on no frame shows it.
        delegated_from = delegator = None if delegator is None else Redacted(delegator)
        made = agentwrit_broker.agent(scope=scope, orch_id=orch_id, task_id=task_id, ttl=ttl, delegated_from=delegator)
        return Redacted(made.access_token)

    return make
