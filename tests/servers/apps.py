"""Apps for servers to load, set up by the environment alone; FastAPI's is in `fastapi_apps`.

GET, POST /me         any valid agent
GET /customers/{id}   read:customers:{id}
GET /fresh            read:customers:7291, asked now
GET /health           public
GET /public/...       public prefix
WS  /ws               any valid agent

A handler that runs adds its path to the file that TRIPWIRE names, and answers with its agent, where the agent's
identity came from (`broker` or `cache`), and its process.
"""

from __future__ import annotations

import json
import os
import socket
from typing import Any

from flask import Flask
from flask import request as flask_request
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute

from agentwrit_guard import Allowed, Denied, Guard, Principal, all_of
from agentwrit_guard.asgi import GuardMiddleware as ASGIGuard
from agentwrit_guard.contrib import flask as guard_flask
from agentwrit_guard.contrib import starlette as guard_starlette
from agentwrit_guard.wsgi import GuardMiddleware as WSGIGuard

PUBLIC = ("/health", "/public/")
READ = "read:customers:{customer_id}"
SEVEN = "read:customers:7291"
FRESH = all_of(SEVEN, max_age=0)
POST_TOO = ["GET", "POST"]


def ran(path: str, agent: Principal | None) -> dict[str, Any]:
    with open(os.environ["TRIPWIRE"], "a", encoding="utf-8") as tripwire:
        tripwire.write(ascii(path) + "\n")
    return {"agent": agent and agent.agent_id, "source": agent and agent.source, "pid": os.getpid()}


def starlette_app() -> Starlette:
    async def plain(conn: HTTPConnection) -> JSONResponse:
        return JSONResponse(ran(conn.scope["path"], guard_starlette.current_agent(conn)))

    async def websocket(websocket: Any) -> None:
        await websocket.accept()
        await websocket.send_json(ran("/ws", guard_starlette.current_agent(websocket)))
        await websocket.close()

    app = Starlette(
        routes=[
            Route("/me", plain, methods=POST_TOO),
            Route("/customers/{customer_id}", guard_starlette.requires_scope(READ)(plain)),
            Route("/fresh", guard_starlette.requires_scope(SEVEN, max_age=0)(plain)),
            Route("/health", plain),
            Route("/public/{rest:path}", plain),
            WebSocketRoute("/ws", websocket),
        ]
    )
    app.add_middleware(guard_starlette.GuardMiddleware, guard=Guard.from_env(), public=PUBLIC)
    return app


def asgi_app() -> ASGIGuard:
    guard = Guard.from_env()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for step in ("startup", "shutdown"):
                print((await receive())["type"])
                await send({"type": f"lifespan.{step}.complete"})
            return
        decision = scope["agentwrit"][guard]
        if scope["path"] == "/fresh":
            entries = [value for name, value in scope["headers"] if name == b"authorization"]
            decision = await guard.acheck(entries, FRESH)
        status, headers, body = _plain(scope["path"], decision)
        raw = [(name.encode(), value.encode()) for name, value in headers]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": body})

    return ASGIGuard(app, guard, public=PUBLIC)


def wsgi_app() -> WSGIGuard:
    guard = Guard.from_env()

    def app(environ: Any, start_response: Any) -> list[bytes]:
        decision = environ["agentwrit_guard"][guard]
        if environ["PATH_INFO"] == "/fresh":
            decision = guard.check([environ["HTTP_AUTHORIZATION"].encode("latin-1")], FRESH)
        status, headers, body = _plain(environ["PATH_INFO"], decision)
        start_response(f"{status} Answered", list(headers))
        return [body]

    return WSGIGuard(app, guard, public=PUBLIC)


def _plain(path: str, decision: Allowed | Denied | None) -> tuple[int, tuple[tuple[str, str], ...], bytes]:
    """The API without a framework: what decorators say elsewhere is said by `principal.require`."""
    if isinstance(decision, Denied):
        return decision.status, decision.headers, decision.body
    agent = None if decision is None else decision.principal
    if path.startswith("/customers/") and agent is not None:
        agent.require(f"read:customers:{path.removeprefix('/customers/')}")
    elif path not in ("/me", "/fresh", "/health") and not path.startswith("/public/"):
        return 404, (), b"not found"
    return 200, (("content-type", "application/json"),), json.dumps(ran(path, agent)).encode()


def flask_app() -> Flask:
    app = Flask("guarded")
    guard_flask.FlaskGuard(app, guard=Guard.from_env(), public=PUBLIC)

    def agent() -> Any:
        return guard_flask.current_agent if guard_flask.current_agent else None

    @app.route("/me", methods=POST_TOO)
    def me() -> Any:
        return ran(flask_request.path, agent())

    @app.get("/customers/<customer_id>")
    @guard_flask.requires_scope(READ)
    def customer(customer_id: str) -> Any:
        return ran("/customers", agent())

    @app.get("/fresh")
    @guard_flask.requires_scope(SEVEN, max_age=0)
    def fresh() -> Any:
        return ran("/fresh", agent())

    @app.get("/health")
    @app.get("/public/<path:rest>")
    def public(rest: str = "") -> Any:
        return ran("public", None)

    return app


def used_before_fork() -> Flask:
    """The Flask app after its guard has let SEEN_TOKEN in, with connections and threads to the broker open."""
    app = flask_app()
    guard: Guard = app.extensions["agentwrit_guard"]
    decision = guard.check([f"Bearer {os.environ['SEEN_TOKEN']}".encode()])
    assert isinstance(decision, Allowed), decision
    return app


def leaking_app() -> Starlette:
    """The Starlette app with a socket that nobody closes."""
    app = starlette_app()
    app.state.left_open = socket.socket()
    return app
