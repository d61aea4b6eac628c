"""Apps of many routes, whose first and last two read a customer: one for anybody, and one for an agent that may.

What goes through the middleware and what goes past it search the same routes. Two apps would not do: whose thousand
routes lie better in memory makes more of a difference than a guard does.
"""

# No `from __future__ import annotations`: FastAPI cannot resolve the text of annotations that name local variables.

from typing import NamedTuple

from fastapi import FastAPI
from flask import Flask
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from agentwrit_guard import Guard
from agentwrit_guard.asgiscope import ASGIApp, Receive, Scope, Send
from agentwrit_guard.contrib import fastapi, flask, starlette
from agentwrit_guard.environ import WSGIApp

TEMPLATE = "read:customers:{customer_id}"


class Asgi(NamedTuple):
    """An app without its middleware, and behind it."""

    bare: ASGIApp
    guarded: ASGIApp


class Wsgi(NamedTuple):
    bare: WSGIApp
    guarded: WSGIApp


def path(number: int, customer: str) -> str:
    """Every other route is one for agents."""
    return f"/part{number}/customers/{customer}"


def starlette_app(routes: int, guard: Guard) -> Asgi:
    async def read_customer(request: Request) -> Response:
        return JSONResponse({"customer": request.path_params["customer_id"]})

    endpoints = (read_customer, starlette.requires_scope(TEMPLATE)(read_customer))
    app = Starlette(routes=[Route(path(number, "{customer_id}"), endpoints[number % 2]) for number in range(routes)])
    return Asgi(app, starlette.GuardMiddleware(app, guard))


class Searching:
    """Goes through as many routes of another app before its own: what colder caches make of the same work."""

    def __init__(self, app: ASGIApp, other: Starlette) -> None:
        self._app = app
        self._routes = other.router.routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        for route in self._routes:
            route.matches(scope)
        await self._app(scope, receive, send)


def searching_app(routes: int, searched: int, guard: Guard) -> Asgi:
    app, other = starlette_app(routes, guard).bare, Starlette(routes=[_nothing(number) for number in range(searched)])
    late = Searching(app, other)
    return Asgi(late, starlette.GuardMiddleware(late, guard))


def _nothing(number: int) -> Route:
    return Route(f"/other{number}/customers/{{customer_id}}", lambda request: Response())


def fastapi_app(routes: int, guard: Guard) -> Asgi:
    async def read_customer(customer_id: str) -> dict[str, str]:
        return {"customer": customer_id}

    endpoints = (read_customer, fastapi.requires_scope(TEMPLATE)(read_customer))
    app = FastAPI()
    for number in range(routes):
        app.get(path(number, "{customer_id}"))(endpoints[number % 2])
    return Asgi(app, fastapi.GuardMiddleware(app, guard))


def flask_app(routes: int, guard: Guard) -> Wsgi:
    def read_customer(customer_id: str) -> dict[str, str]:
        return {"customer": customer_id}

    views = (read_customer, flask.requires_scope(TEMPLATE)(read_customer))
    app = Flask(__name__)
    for number in range(routes):
        app.add_url_rule(path(number, "<customer_id>"), f"read_customer_{number}", views[number % 2])
    bare = app.wsgi_app
    flask.FlaskGuard(app, guard=guard)
    return Wsgi(bare, app.wsgi_app)
