"""A Starlette app of one route, bare and behind the middleware."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from agentwrit_guard import Guard
from agentwrit_guard.contrib.starlette import GuardMiddleware, requires_scope


async def read_customer(request: Request) -> Response:
    return JSONResponse({"customer": request.path_params["customer_id"]})


def bare() -> Starlette:
    return Starlette(routes=[Route("/customers/{customer_id}", read_customer)])


def guarded(guard: Guard) -> GuardMiddleware:
    return GuardMiddleware(bare(), guard)


def with_scope(guard: Guard) -> GuardMiddleware:
    endpoint = requires_scope("read:customers:{customer_id}")(read_customer)
    return GuardMiddleware(Starlette(routes=[Route("/customers/{customer_id}", endpoint)]), guard)
