"""The demo's API, once in FastAPI and once in Flask: the same customers, the same requirements."""

# No `from __future__ import annotations`: FastAPI reads the annotations of these inner functions.

from typing import Final

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from flask import Flask

from agentwrit_guard.asgi import GuardMiddleware
from agentwrit_guard.contrib import fastapi as for_fastapi
from agentwrit_guard.contrib import flask as for_flask
from agentwrit_guard.core.claims import Principal
from agentwrit_guard.guard import Guard

CUSTOMERS: Final = {"7291": "Ada", "7292": "Grace", "7293": "Edsger"}
READ: Final = "read:customers:{customer_id}"
WRITE: Final = "write:customers:{customer_id}"
PUBLIC: Final = ("/health",)

Customer = dict[str, str]


def fastapi_app(guard: Guard) -> FastAPI:
    app = FastAPI()
    app.add_middleware(GuardMiddleware, guard=guard, public=PUBLIC)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/customers")
    async def list_customers(agent: for_fastapi.CurrentAgent) -> list[Customer]:
        return _visible(agent)

    @app.get("/customers/{customer_id}")
    @for_fastapi.requires_scope(READ)
    async def read_customer(customer_id: str) -> Customer:
        return _customer(customer_id)

    @app.put("/customers/{customer_id}/vip")
    @for_fastapi.requires_scope(WRITE, max_age=0)
    async def honour_customer(customer_id: str) -> Customer:
        return {**_customer(customer_id), "vip": "yes"}

    @app.exception_handler(LookupError)
    async def unknown_customer(request: Request, error: LookupError) -> JSONResponse:
        return JSONResponse({"detail": "no such customer"}, 404)

    return app


def flask_app(guard: Guard) -> Flask:
    app = Flask("agentwrit-guard-demo")
    for_flask.FlaskGuard(app, guard=guard, public=PUBLIC)

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/customers")
    def list_customers() -> list[Customer]:
        return _visible(for_flask.current_agent)

    @app.get("/customers/<customer_id>")
    @for_flask.requires_scope(READ)
    def read_customer(customer_id: str) -> Customer:
        return _customer(customer_id)

    @app.put("/customers/<customer_id>/vip")
    @for_flask.requires_scope(WRITE, max_age=0)
    def honour_customer(customer_id: str) -> Customer:
        return {**_customer(customer_id), "vip": "yes"}

    @app.errorhandler(LookupError)
    def unknown_customer(error: LookupError) -> tuple[dict[str, str], int]:
        return {"detail": "no such customer"}, 404

    return app


def _visible(agent: Principal) -> list[Customer]:
    """The collection needs no scope: the grant says which of its members there are for this agent."""
    allowed = agent.identifiers("read", "customers")
    return [_customer(customer_id) for customer_id in CUSTOMERS if customer_id in allowed]


def _customer(customer_id: str) -> Customer:
    return {"id": customer_id, "name": CUSTOMERS[customer_id]}
