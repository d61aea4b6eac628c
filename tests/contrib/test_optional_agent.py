"""The optional agent is held against the deny list when it is handed out, not only when the middleware let it in."""

# No `from __future__ import annotations`: handlers here are local, and FastAPI looks names up in the module.

from typing import Annotated

import pytest
from fastapi import Depends, FastAPI, Request
from fastapi.testclient import TestClient

from agentwrit_guard import Guard, Principal
from agentwrit_guard.contrib.fastapi import GuardMiddleware, optional_agent
from tests.kit.clock import MovableClock
from tests.kit.stub import StubBroker
from tests.kit.tokens import token


@pytest.mark.parametrize("denies, status", [(True, 401), (False, 200)])
def test_d_10_an_optional_agent_that_was_denied_meanwhile_is_refused(denies: bool, status: int) -> None:
    ran: list[Principal | None] = []
    with StubBroker() as broker:
        guard = Guard(broker.url, clock=MovableClock().clock)

        async def between(request: Request) -> None:
            if denies:
                guard.deny("agent", request.state.agent.agent_id)

        app = FastAPI(dependencies=[Depends(between)])
        app.add_middleware(GuardMiddleware, guard=guard, others="pass")

        @app.get("/me")
        async def me(agent: Annotated[Principal | None, Depends(optional_agent)]) -> str:
            ran.append(agent)
            return "me"

        with TestClient(app) as client:
            assert client.get("/me", headers={"Authorization": f"Bearer {token()}"}).status_code == status
        assert broker.calls == 1
    assert len(ran) == (not denies)
