"""The same small API behind every front, with a tripwire: which handlers ran.

GET  /me                any valid agent
GET  /customers/{id}    read:customers:{id}
GET  /any               one of read:customers:7291, read:orders:1
GET  /fresh             read:customers:7291, asked now
GET  /orders?id=        agent.require("read:orders:<id>")
GET  /whoami            what the handler sees of its agent
GET  /health            public          POST /hooks   public for POST     GET /public/...  public prefix
WS   /ws                any valid agent
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fastapi import Depends, FastAPI, Security, WebSocket
from flask import Flask
from flask import request as flask_request
from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute

from agentwrit_guard import Guard
from agentwrit_guard.asgi import GuardMiddleware as ASGIGuard
from agentwrit_guard.contrib import fastapi as guard_fastapi
from agentwrit_guard.contrib import flask as guard_flask
from agentwrit_guard.contrib import starlette as guard_starlette
from agentwrit_guard.wsgi import GuardMiddleware as WSGIGuard
from tests.kit import drivers
from tests.kit.drivers import Answer, Request

PUBLIC = ("/health", "POST /hooks", "/public/")
PLAIN_PATHS = ("/health", "/hooks", "/public/a")
READ = "read:customers:{customer_id}"
ANY = ("read:customers:7291", "read:orders:1")


@dataclass
class Front:
    """An app under guard. `ran` lists the handlers that ran; `whole` says whether a middleware guards everything."""

    name: str
    guard: Guard
    send: Callable[[Any, Guard, Request], Answer]
    app: Any = None
    whole: bool = True
    websockets: bool = False
    ran: list[str] = field(default_factory=list)

    def request(self, request: Request) -> Answer:
        return self.send(self.app, self.guard, request)


def _whoami(agent: Any) -> str | None:
    return agent.agent_id if agent else None


def make_asgi(guard: Guard, **options: Any) -> Front:
    front = Front("asgi", guard, drivers.asgi, websockets=True)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        allowed = scope["agentwrit"][guard]
        status, said = _plain(front, scope["path"], scope["query_string"].decode(), allowed)
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            return
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(said).encode()})

    front.app = ASGIGuard(app, guard, **{"public": PUBLIC, **options})
    return front


def make_wsgi(guard: Guard, **options: Any) -> Front:
    front = Front("wsgi", guard, drivers.wsgi)

    def app(environ: Any, start_response: Any) -> list[bytes]:
        allowed = environ["agentwrit_guard"][guard]
        status, said = _plain(front, environ["PATH_INFO"], environ["QUERY_STRING"], allowed)
        start_response(f"{status} X", [("Content-Type", "application/json")])
        return [json.dumps(said).encode()]

    front.app = WSGIGuard(app, guard, **{"public": PUBLIC, **options})
    return front


def _plain(front: Front, path: str, query: str, allowed: Any) -> tuple[int, Any]:
    """The API without a framework: what decorators say elsewhere is said by `principal.require`."""
    agent = None if allowed is None else allowed.principal
    if path.startswith("/customers/"):
        agent.require(f"read:customers:{path[11:]}")
    elif path == "/orders":
        agent.require(f"read:orders:{query.removeprefix('id=')}")
    elif path == "/any" and not any(agent.can(scope) for scope in ANY):
        agent.require(*ANY)
    elif path not in ("/me", "/any", "/fresh", "/whoami", "/ws", *PLAIN_PATHS):
        return 404, "not found"
    front.ran.append(path)
    return 200, _whoami(agent)


def make_starlette(guard: Guard, *, whole: bool = True, **options: Any) -> Front:
    front = Front("starlette" if whole else "starlette-alone", guard, drivers.asgi, whole=whole, websockets=True)
    alone = None if whole else guard
    scoped = functools.partial(guard_starlette.requires_scope, guard=alone)

    @guard_starlette.requires_scope(READ, guard=alone)
    async def customer(request: StarletteRequest) -> JSONResponse:
        return _ran(front, request)

    @guard_starlette.requires_any_scope(*ANY, guard=alone)
    def either(request: StarletteRequest) -> JSONResponse:
        return _ran(front, request)

    @scoped("read:customers:7291", max_age=0)
    async def fresh(request: StarletteRequest) -> JSONResponse:
        return _ran(front, request)

    @scoped(*("read:customers:7291",))
    async def websocket(websocket: Any) -> None:
        front.ran.append("/ws")
        await websocket.accept()

    async def orders(request: StarletteRequest) -> JSONResponse:
        agent = guard_starlette.current_agent(request)
        assert agent is not None
        agent.require(f"read:orders:{request.query_params['id']}")
        return _ran(front, request)

    async def plain(request: StarletteRequest) -> JSONResponse:
        return _ran(front, request)

    async def mine(request: StarletteRequest) -> JSONResponse:
        return _ran(front, request)

    me = mine if whole else guard_starlette.requires_any_scope("read:customers:*", *ANY, guard=guard)(mine)
    front.app = Starlette(
        routes=[
            Route("/me", me),
            Route("/whoami", me),
            Route("/customers/{customer_id}", customer),
            Route("/any", either),
            Route("/fresh", fresh),
            Route("/orders", orders),
            Route("/hooks", plain, methods=["GET", "POST"]),
            *(Route(path, plain) for path in ("/health", "/public/a")),
            WebSocketRoute("/ws", websocket),
        ]
    )
    if whole:
        front.app.add_middleware(ASGIGuard, guard=guard, **{"public": PUBLIC, **options})
    return front


def _ran(front: Front, request: StarletteRequest) -> JSONResponse:
    front.ran.append(request.url.path)
    return JSONResponse(_whoami(guard_starlette.current_agent(request)))


def make_fastapi(guard: Guard, *, whole: bool = True, **options: Any) -> Front:
    front = Front("fastapi" if whole else "fastapi-alone", guard, drivers.asgi, whole=whole, websockets=True)
    alone = None if whole else guard
    security = guard_fastapi.agent_security if whole else guard_fastapi.AgentSecurity(guard)
    app = front.app = FastAPI()
    if whole:
        app.add_middleware(ASGIGuard, guard=guard, **{"public": PUBLIC, **options})

    @app.get("/me")
    @app.get("/whoami")
    async def me(request: StarletteRequest, agent: Any = Security(security)) -> Any:
        front.ran.append(request.url.path)
        return _whoami(agent)

    @app.get("/customers/{customer_id}")
    @guard_fastapi.requires_scope(READ, guard=alone)
    async def customer(customer_id: str) -> Any:
        front.ran.append("/customers")
        return customer_id

    @app.get("/any")
    @guard_fastapi.requires_any_scope(*ANY, guard=alone)
    def either() -> Any:
        front.ran.append("/any")

    @app.get("/fresh")
    @guard_fastapi.requires_scope("read:customers:7291", guard=alone, max_age=0)
    async def fresh() -> Any:
        front.ran.append("/fresh")

    @app.get("/orders")
    async def orders(id: str, agent: Any = Security(security)) -> Any:  # noqa: A002
        agent.require(f"read:orders:{id}")
        front.ran.append("/orders")

    @app.websocket("/ws")
    @guard_fastapi.requires_scope("read:customers:7291", guard=alone)
    async def websocket(websocket: WebSocket) -> None:
        front.ran.append("/ws")
        await websocket.accept()

    def plain(request: StarletteRequest) -> Any:
        front.ran.append(request.url.path)

    app.add_api_route("/hooks", plain, methods=["GET", "POST"])
    for path in ("/health", "/public/a"):
        app.add_api_route(path, plain)
    return front


def make_fastapi_dependency(guard: Guard, **_: Any) -> Front:
    """No middleware and no decorator: scopes in `Security(...)` alone."""
    front = Front("fastapi-dependency", guard, drivers.asgi, whole=False, websockets=True)
    security = guard_fastapi.AgentSecurity(guard)
    app = front.app = FastAPI()

    def handler(path: str, *scopes: str) -> None:
        async def endpoint(agent: Any = Security(security, scopes=list(scopes))) -> Any:
            front.ran.append(path)
            return _whoami(agent)

        app.add_api_route(path, endpoint)

    handler("/me")
    handler("/whoami")
    handler("/customers/{customer_id}", READ)

    @app.websocket("/ws", dependencies=[Depends(security), Security(security, scopes=["read:customers:7291"])])
    async def websocket(websocket: WebSocket) -> None:
        front.ran.append("/ws")
        await websocket.accept()

    return front


def make_flask(guard: Guard, *, whole: bool = True, **options: Any) -> Front:
    front = Front("flask" if whole else "flask-alone", guard, drivers.wsgi, whole=whole)
    alone = None if whole else guard
    app = front.app = Flask("guarded")
    if whole:
        guard_flask.FlaskGuard(app, guard=guard, **{"public": PUBLIC, **options})

    def ran() -> Any:
        front.ran.append(flask_request.path)
        return json.dumps(_whoami(guard_flask.current_agent))

    @app.get("/customers/<customer_id>")
    @guard_flask.requires_scope(READ, guard=alone)
    def customer(customer_id: str) -> Any:
        return ran()

    @app.get("/any")
    @guard_flask.requires_any_scope(*ANY, guard=alone)
    def either() -> Any:
        return ran()

    @app.get("/fresh")
    @guard_flask.requires_scope("read:customers:7291", guard=alone, max_age=0)
    def fresh() -> Any:
        return ran()

    @app.get("/orders")
    def orders() -> Any:
        guard_flask.current_agent.require(f"read:orders:{flask_request.args['id']}")
        return ran()

    me = ran if whole else guard_flask.requires_any_scope("read:customers:*", *ANY, guard=guard)(ran)
    for path in ("/me", "/whoami"):
        app.add_url_rule(path, path, me)
    for path in ("/health", "/public/a"):
        app.add_url_rule(path, path, ran)
    app.add_url_rule("/hooks", "hooks", ran, methods=["GET", "POST"])
    return front


FRONTS: dict[str, Callable[..., Front]] = {
    "asgi": make_asgi,
    "wsgi": make_wsgi,
    "starlette": make_starlette,
    "starlette-alone": functools.partial(make_starlette, whole=False),
    "fastapi": make_fastapi,
    "fastapi-alone": functools.partial(make_fastapi, whole=False),
    "fastapi-dependency": make_fastapi_dependency,
    "flask": make_flask,
    "flask-alone": functools.partial(make_flask, whole=False),
}
WHOLE = ("asgi", "wsgi", "starlette", "fastapi", "flask")
