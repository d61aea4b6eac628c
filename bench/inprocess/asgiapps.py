"""A Starlette app of one route, bare and behind the middleware."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from agentwrit_guard import Guard
from agentwrit_guard.asgi import GuardMiddleware


async def read_customer(request: Request) -> Response:
    return JSONResponse({"customer": request.path_params["customer_id"]})


def bare() -> Starlette:
    return Starlette(routes=[Route("/customers/{customer_id}", read_customer)])


def guarded(guard: Guard) -> GuardMiddleware:
    return GuardMiddleware(bare(), guard)
