"""A FastAPI app of one route: bare, with FastAPI's own `HTTPBearer`, and guarded as the README says."""

# No `from __future__ import annotations`: FastAPI cannot resolve the text of annotations that name local variables.

from typing import Annotated

from fastapi import Depends, FastAPI
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from agentwrit_guard import Guard
from agentwrit_guard.contrib.fastapi import CurrentAgent, GuardMiddleware, requires_scope

_PATH = "/customers/{customer_id}"
_TEMPLATE = "read:customers:{customer_id}"


def bare() -> FastAPI:
    app = FastAPI()

    @app.get(_PATH)
    async def read_customer(customer_id: str) -> dict[str, str]:
        return {"customer": customer_id}

    return app


def http_bearer() -> FastAPI:
    """Takes the header apart, and gives the token to the handler, whoever sent it."""
    app = FastAPI()
    bearer = HTTPBearer()

    @app.get(_PATH)
    async def read_customer(
        customer_id: str, credentials: Annotated[HTTPAuthorizationCredentials, Depends(bearer)]
    ) -> dict[str, str]:
        return {"customer": customer_id}

    return app


def middleware(guard: Guard) -> FastAPI:
    """Any valid agent: nothing stands on the route."""
    app = bare()
    app.add_middleware(GuardMiddleware, guard=guard)
    return app


def with_agent(guard: Guard) -> FastAPI:
    """Any valid agent, and the handler gets it."""
    app = FastAPI()
    app.add_middleware(GuardMiddleware, guard=guard)

    @app.get(_PATH)
    async def read_customer(customer_id: str, agent: CurrentAgent) -> dict[str, str]:
        return {"customer": customer_id}

    return app


def with_scope(guard: Guard) -> FastAPI:
    """Only an agent that may read this very customer."""
    app = FastAPI()
    app.add_middleware(GuardMiddleware, guard=guard)

    @app.get(_PATH)
    @requires_scope(_TEMPLATE)
    async def read_customer(customer_id: str) -> dict[str, str]:
        return {"customer": customer_id}

    return app


def quick_start(guard: Guard) -> FastAPI:
    """The README's app: both of these."""
    app = FastAPI()
    app.add_middleware(GuardMiddleware, guard=guard)

    @app.get(_PATH)
    @requires_scope(_TEMPLATE)
    async def read_customer(customer_id: str, agent: CurrentAgent) -> dict[str, str]:
        return {"customer": customer_id}

    return app
