"""Starlette behind the guard: `uvicorn examples.starlette_app:app`, with AGENTWRIT_BROKER_URL set."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from agentwrit_guard import Guard
from agentwrit_guard.contrib.starlette import GuardMiddleware, requires_scope


@requires_scope("read:customers:{customer_id}")
async def read_customer(request: Request) -> JSONResponse:
    return JSONResponse({"customer": request.path_params["customer_id"], "agent": request.state.agent.agent_id})


app = GuardMiddleware(Starlette(routes=[Route("/customers/{customer_id}", read_customer)]), Guard.from_env())
