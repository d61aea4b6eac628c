"""The apps that are served: one route with its JSON answer, bare and behind the guard as the README sets it up.

The guarded ones read AGENTWRIT_BROKER_URL. Both answer as much, and `/stats` tells what a guard has asked its broker.
"""

from __future__ import annotations

from typing import Any, Final

from flask import Flask
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from agentwrit_guard import Guard
from agentwrit_guard.contrib import flask as guardflask
from agentwrit_guard.contrib import starlette as guardstarlette

_NOBODY: Final = "spiffe://agentwrit.local/agent/drill/task-0/0000000000000000"
_PUBLIC: Final = ["/stats"]


def bare_asgi() -> Starlette:
    async def read_customer(request: Request) -> JSONResponse:
        return JSONResponse({"customer": request.path_params["customer_id"], "agent": _NOBODY, "source": "nobody"})

    return Starlette(routes=[Route("/customers/{customer_id}", read_customer)])


def guarded_asgi() -> guardstarlette.GuardMiddleware:
    guard = Guard.from_env()

    @guardstarlette.requires_scope("read:customers:{customer_id}")
    async def read_customer(request: Request) -> JSONResponse:
        agent = request.state.agent
        return JSONResponse(
            {"customer": request.path_params["customer_id"], "agent": agent.agent_id, "source": agent.source}
        )

    async def stats(_: Request) -> JSONResponse:
        return JSONResponse(_asked(guard))

    routes = [Route("/customers/{customer_id}", read_customer), Route("/stats", stats)]
    return guardstarlette.GuardMiddleware(Starlette(routes=routes), guard, public=_PUBLIC)


def bare_wsgi() -> Flask:
    app = Flask(__name__)

    @app.get("/customers/<customer_id>")
    def read_customer(customer_id: str) -> dict[str, str]:
        return {"customer": customer_id, "agent": _NOBODY, "source": "nobody"}

    return app


def guarded_wsgi() -> Flask:
    app = Flask(__name__)
    guardflask.FlaskGuard(app, public=_PUBLIC)

    @app.get("/customers/<customer_id>")
    @guardflask.requires_scope("read:customers:{customer_id}")
    def read_customer(customer_id: str) -> dict[str, str]:
        agent = guardflask.current_agent
        return {"customer": customer_id, "agent": agent.agent_id, "source": agent.source}

    @app.get("/stats")
    def stats() -> dict[str, Any]:
        return _asked(app.extensions["agentwrit_guard"])

    return app


def _asked(guard: Guard) -> dict[str, int]:
    stats = guard.stats()
    return {"valid": stats.valid, "invalid": stats.invalid, "unavailable": stats.unavailable}
