"""What stands between guard, app and handler: root paths, slow bodies, other guards, error pages, lazy apps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import fastapi
import pytest
from fastapi.testclient import TestClient
from flask import Flask
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from werkzeug.test import Client

from agentwrit_guard import Guard, Requirement
from agentwrit_guard.asgi import GuardMiddleware as ASGIGuard
from agentwrit_guard.contrib import fastapi as guard_fastapi
from agentwrit_guard.contrib import flask as guard_flask
from agentwrit_guard.contrib import starlette as guard_starlette
from agentwrit_guard.wsgi import GuardMiddleware as WSGIGuard
from tests.contrib.test_fastapi import auth
from tests.kit.clock import MovableClock
from tests.kit.stub import StubBroker, invalid


@pytest.mark.parametrize("options", [{"protect": ["/agents/"]}, {"public": ["/open/"]}])
@pytest.mark.parametrize("wrap", [lambda app: app, lambda app: _Passing(_Passing(app))], ids=["bare", "wrapped"])
def test_r_10_a_root_path_of_the_app_itself_opens_nothing(guard: Guard, options: Any, wrap: Any) -> None:
    app = fastapi.FastAPI()
    app.root_path = "/open"  # as the deprecated argument of that name sets it
    ran: list[str] = []
    app.add_api_route("/agents/x", lambda: ran.append("agents"))
    app.add_api_route("/open/x", lambda: ran.append("open"))
    client = TestClient(ASGIGuard(wrap(app), guard, **options))
    for path in ("/agents/x", "/open/agents/x"):
        assert client.get(path).status_code == 401, path
    assert ran == []


class _Passing:
    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


class _Delay:
    """Stands between guard and app for a body that comes slowly: meanwhile time goes by and the token is revoked."""

    def __init__(self, app: Any, meanwhile: Callable[[], None]) -> None:
        self.app = app
        self.meanwhile = meanwhile

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            self.meanwhile()
        await self.app(scope, receive, send)


@pytest.mark.parametrize("ttl", [5, 0])
@pytest.mark.parametrize("kind", ["starlette", "starlette sync", "fastapi", "optional", "flask"])
def test_p2_a_request_that_was_held_up_is_judged_anew(broker: StubBroker, kind: str, ttl: float) -> None:
    clock = MovableClock()
    guard = Guard(broker.url, clock=clock.clock, cache_ttl=ttl)

    def meanwhile() -> None:
        if broker.calls:
            clock.move(6)
            broker.answer = invalid

    ran: list[str] = []
    client: Any
    if kind == "flask":
        flask_app = Flask("x")

        @flask_app.get("/x")
        @guard_flask.requires_scope("a:b:c")
        def view() -> str:
            ran.append("flask")
            return "ok"

        inner = flask_app.wsgi_app

        def slow(environ: Any, start_response: Any) -> Iterable[bytes]:
            meanwhile()
            return inner(environ, start_response)

        client = Client(WSGIGuard(slow, guard))
    else:
        client = TestClient(ASGIGuard(_Delay(_held_up_app(kind, ran), meanwhile), guard))
    assert client.get("/x", headers=auth("a:b:c")).status_code == 401
    assert (ran, broker.calls) == ([], 2)
    guard.close()


def _held_up_app(kind: str, ran: list[str]) -> Any:
    if kind in ("fastapi", "optional"):
        app = fastapi.FastAPI()
        if kind == "fastapi":

            @guard_fastapi.requires_scope("a:b:c")
            async def handler() -> None:
                ran.append(kind)

            app.add_api_route("/x", handler)
        else:

            async def optional(agent: Any = fastapi.Security(guard_fastapi.optional_agent)) -> None:
                ran.append(kind)

            app.add_api_route("/x", optional)
        return app

    @guard_starlette.requires_scope("a:b:c")
    async def endpoint(request: Request) -> PlainTextResponse:
        ran.append(kind)
        return PlainTextResponse("ok")

    @guard_starlette.requires_scope("a:b:c")
    def sync_endpoint(request: Request) -> PlainTextResponse:
        ran.append(kind)
        return PlainTextResponse("ok")

    return Starlette(routes=[Route("/x", endpoint if kind == "starlette" else sync_endpoint)])


def test_a_decorator_never_takes_the_entry_of_another_guard(guard: Guard, broker: StubBroker) -> None:
    with StubBroker() as refusing:
        refusing.answer = invalid
        outer = Guard(refusing.url, clock=guard._clock)
        app = fastapi.FastAPI()
        app.add_middleware(ASGIGuard, guard=outer, public=["/x"])
        security = guard_fastapi.AgentSecurity(guard)

        @app.get("/x", dependencies=[fastapi.Security(security)])
        @guard_fastapi.requires_scope("a:b:1")
        async def handler() -> str:
            return "ran"

        assert TestClient(app).get("/x", headers=auth("a:b:1")).status_code == 401
        assert (broker.calls, refusing.calls) == (1, 1)
        outer.close()


async def _requiring(request: Request) -> PlainTextResponse:
    request.state.agent.require("read:orders:8")
    return PlainTextResponse("ok")


async def _failing(request: Request) -> PlainTextResponse:
    raise RuntimeError("boom")


@pytest.mark.parametrize("path", ["/x", "/sub/x"])
def test_require_is_a_403_whatever_error_page_an_inner_app_has(guard: Guard, path: str) -> None:
    routes = [Route("/x", _requiring), Route("/boom", _failing)]
    app = Starlette(routes=[*routes, Mount("/sub", app=Starlette(routes=routes))])
    client = TestClient(ASGIGuard(app, guard), raise_server_exceptions=False)
    refused = client.get(path, headers=auth("read:orders:7"))
    assert (refused.status_code, refused.json()["missing_scopes"]) == (403, ["read:orders:8"])
    assert client.get(path, headers=auth("read:orders:8")).text == "ok"
    broken = client.get(path.replace("x", "boom"), headers=auth("a:b:c"))
    assert (broken.status_code, broken.text) == (500, "Internal Server Error")


def test_what_a_handler_leaves_in_the_state_is_seen_further_out(guard: Guard) -> None:
    seen: list[Any] = []

    @guard_starlette.requires_scope("a:b:c")
    async def endpoint(request: Request) -> PlainTextResponse:
        request.state.mark = "left"
        return PlainTextResponse("ok")

    class Outer(_Passing):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            state = Request(scope).state if scope["type"] == "http" else None
            await self.app(scope, receive, send)
            seen.append(getattr(state, "mark", None))

    app = Outer(Starlette(routes=[Route("/x", endpoint)]))
    assert TestClient(ASGIGuard(app, guard)).get("/x", headers=auth("a:b:c")).text == "ok"
    assert seen == ["left"]


def _lazily(app: Any) -> Any:
    def lazy(environ: Any, start_response: Any) -> Iterator[bytes]:
        yield from app(environ, start_response)

    return lazy


def test_a_lazy_wsgi_app_is_refused_as_any_other(guard: Guard) -> None:
    app = Flask("x")

    @app.get("/scope")
    @guard_flask.requires_scope("read:orders:8")
    def scoped() -> str:
        return "ok"

    client = Client(WSGIGuard(_lazily(app.wsgi_app), guard))
    assert client.get("/scope", headers=auth("read:orders:7")).status_code == 403
    assert client.get("/scope", headers=auth("read:orders:8")).text == "ok"

    def bare(environ: Any, start_response: Any) -> Iterator[bytes]:
        environ["agentwrit_guard"][guard].principal.require("read:orders:8")
        start_response("200 OK", [])
        yield b"one"
        yield b"two"

    client = Client(WSGIGuard(bare, guard))
    assert client.get("/", headers=auth("read:orders:7")).status_code == 403
    assert client.get("/", headers=auth("read:orders:8")).text == "onetwo"


def test_a_lazy_wsgi_app_that_breaks_is_closed(guard: Guard) -> None:
    closed: list[bool] = []

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            raise RuntimeError("boom")

        def close(self) -> None:
            closed.append(True)

    with pytest.raises(RuntimeError, match="boom"):
        Client(WSGIGuard(lambda environ, start_response: Body(), guard)).get("/", headers=auth("a:b:c"))
    assert closed == [True]


def test_wrong_arguments_fail_at_start_up() -> None:
    for wrong in ({"on_decision": 5}, {"clock": 5}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Guard("http://127.0.0.1:9", **wrong)
    with pytest.raises(ValueError, match="charset"):
        guard_fastapi.requires_scope("a:b:{c}", charset="")
    with pytest.raises(ValueError, match="any"):
        Requirement("any")


def test_an_app_of_wsgi_behind_an_adapter_is_guarded_without_a_warning(guard: Guard) -> None:
    adapters = pytest.importorskip("asgiref.wsgi", reason="asgiref adapts WSGI apps to ASGI")

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"in"]

    client = TestClient(ASGIGuard(adapters.WsgiToAsgi(app), guard))
    assert client.get("/").status_code == 401
    assert client.get("/", headers=auth("read:orders:7")).text == "in"
