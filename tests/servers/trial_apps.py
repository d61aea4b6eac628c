"""One API behind every way of mounting it, in debug mode. The X-Style header says which way a request goes.

plain       the guard, then the API
inside      the API with its guard, mounted at each of PREFIXES
around      a guard around the API that is mounted at each of PREFIXES
forwarded   as plain, further in than a middleware that believes X-Forwarded-Prefix
whole       the guard, then an ASGI app that knows nothing of prefixes: /customers/..., any agent

GET /me, /public/...   as in `apps`, but what ran is the handler's name
WS  /ws                as in `apps`, on ASGI servers
GET /boom              read:customers:7291, then an error that shows all that the guard left in the request
"""

from __future__ import annotations

from typing import Any

from flask import Flask
from flask import request as flask_request
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route, WebSocketRoute
from werkzeug.debug import DebuggedApplication
from werkzeug.exceptions import NotFound
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix

from agentwrit_guard import Guard
from agentwrit_guard.asgi import GuardMiddleware as ASGIGuard
from agentwrit_guard.contrib import flask as guard_flask
from agentwrit_guard.contrib import starlette as guard_starlette
from agentwrit_guard.wsgi import GuardMiddleware as WSGIGuard
from tests.servers.apps import POST_TOO, PUBLIC, SEVEN, ran

PREFIXES = ("/api/v1", "/api", "/public")
"""The last is public where nothing is mounted: a guard that reads past the mount would let everything below it in."""

_AROUND = tuple(f"{prefix}/public/" for prefix in PREFIXES)


def trial_asgi() -> Any:
    guard = Guard.from_env()

    async def me(request: Request) -> JSONResponse:
        return JSONResponse(ran("me", guard_starlette.current_agent(request)))

    async def public(request: Request) -> JSONResponse:
        return JSONResponse(ran("public", None))

    async def websocket(websocket: Any) -> None:
        ran("websocket", guard_starlette.current_agent(websocket))
        await websocket.accept()
        await websocket.close()

    @guard_starlette.requires_scope(SEVEN)
    async def boom(request: Request) -> JSONResponse:
        raise RuntimeError(repr({key: value for key, value in request.scope.items() if "agentwrit" in key}))

    def api() -> Starlette:
        routes = [Route("/me", me, methods=POST_TOO), Route("/public/{rest:path}", public), Route("/boom", boom)]
        return Starlette(debug=True, routes=[*routes, WebSocketRoute("/ws", websocket)])

    def guarded() -> Starlette:
        app = api()
        app.add_middleware(guard_starlette.GuardMiddleware, guard=guard, public=PUBLIC)
        return app

    async def whole(scope: Any, receive: Any, send: Any) -> None:
        found = scope["path"].startswith("/customers/")
        answer = JSONResponse(ran("whole", None) if found else None, 200 if found else 404)
        await answer(scope, receive, send)

    plain = guarded()
    styles: dict[bytes, Any] = {
        b"whole": ASGIGuard(whole, guard, public=PUBLIC),
        b"inside": Starlette(routes=[Mount(prefix, guarded()) for prefix in PREFIXES]),
        b"around": ASGIGuard(Starlette(routes=[Mount(prefix, api()) for prefix in PREFIXES]), guard, public=_AROUND),
    }

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope.get("headers", ()))
        if b"x-forwarded-prefix" in headers:
            scope = {**scope, "root_path": headers[b"x-forwarded-prefix"].decode()}
        await styles.get(headers.get(b"x-style", b""), plain)(scope, receive, send)

    return app


def trial_wsgi() -> Any:
    guard = Guard.from_env()

    def api() -> Flask:
        app = Flask("trial")

        @app.route("/me", methods=POST_TOO)
        def me() -> Any:
            return ran("me", guard_flask.current_agent if guard_flask.current_agent else None)

        @app.get("/public/<path:rest>")
        def public(rest: str) -> Any:
            return ran("public", None)

        @app.get("/boom")
        @guard_flask.requires_scope(SEVEN)
        def boom() -> Any:
            raise RuntimeError(repr({key: value for key, value in flask_request.environ.items() if "agentwrit" in key}))

        app.debug = True
        app.wsgi_app = DebuggedApplication(app.wsgi_app, evalex=False)  # type: ignore[method-assign]
        return app

    def guarded() -> Any:
        return WSGIGuard(api(), guard, public=PUBLIC)

    plain = guarded()
    styles = {
        "inside": DispatcherMiddleware(NotFound(), {prefix: guarded() for prefix in PREFIXES}),
        "around": WSGIGuard(
            DispatcherMiddleware(NotFound(), {prefix: api() for prefix in PREFIXES}), guard, public=_AROUND
        ),
        "forwarded": ProxyFix(plain, x_prefix=1),
    }

    def app(environ: Any, start_response: Any) -> Any:
        return styles.get(environ.get("HTTP_X_STYLE", ""), plain)(environ, start_response)

    return app
