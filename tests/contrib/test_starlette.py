"""Starlette: endpoints of every kind, converted values, mounts, and the agent of a request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Mount, Route, Router
from starlette.testclient import TestClient

from agentwrit_guard import Guard
from agentwrit_guard.contrib.starlette import GuardMiddleware, current_agent, requires_scope
from agentwrit_guard.errors import ConfigurationError
from tests.contrib.test_fastapi import auth, status


class Upper(Convertor[str]):
    regex = "[A-Za-z]+"

    def convert(self, value: str) -> str:
        return value.upper()

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("upper", Upper())


@requires_scope("read:data:{xid}")
async def one(request: Request) -> PlainTextResponse:
    agent = current_agent(request)
    assert agent is not None
    assert request.state.agent is agent
    return PlainTextResponse(str(request.path_params["xid"]))


@requires_scope("read:data:customer-{xid}")
def prefixed(request: Request) -> PlainTextResponse:
    return PlainTextResponse("ok")


@requires_scope("read:tenants:{tenant}", "read:data:{xid}")
async def of_tenant(request: Request) -> PlainTextResponse:
    return PlainTextResponse("ok")


class Endpoint(HTTPEndpoint):
    @requires_scope("read:data:{xid}")
    async def get(self, request: Request) -> PlainTextResponse:
        return PlainTextResponse("ok")

    async def post(self, request: Request) -> PlainTextResponse:
        return PlainTextResponse("any agent")


ROUTES = [
    Route("/text/{xid}", one),
    Route("/int/{xid:int}", one),
    Route("/float/{xid:float}", one),
    Route("/uuid/{xid:uuid}", one),
    Route("/path/{xid:path}", one),
    Route("/upper/{xid:upper}", one),
    Route("/prefixed/{xid}", prefixed),
    Route("/none", one),
    Route("/class/{xid}", Endpoint),
    Mount("/tenants/{tenant:int}", routes=[Route("/data/{xid:int}", of_tenant)]),
    Mount("/router", app=Router([Route("/int/{xid:int}", one)])),
    Mount("/sub", app=Starlette(routes=[Route("/int/{xid:int}", one)])),
]


@pytest.fixture(params=["", "/root"])
def client(guard: Guard, request: Any) -> Iterator[TestClient]:
    app = Starlette(routes=[*ROUTES, Host("api.example", app=Router(ROUTES))])
    app.add_middleware(GuardMiddleware, guard=guard)
    with TestClient(
        app, f"http://testserver{request.param}", raise_server_exceptions=False, root_path=request.param
    ) as made:
        yield made


@pytest.mark.parametrize(
    "path, scopes, expected",
    [
        ("/text/7", ["read:data:7"], 200),
        ("/text/8", ["read:data:7"], 403),
        ("/int/7", ["read:data:7"], 200),
        ("/int/07", ["read:data:7", "read:data:07", "read:data:*"], 403),
        ("/float/1.5", ["read:data:1.5"], 200),
        ("/float/1.50", ["read:data:1.5", "read:data:1.50"], 403),
        ("/uuid/0f8fad5b-d9cb-469f-a165-70867728950e", ["read:data:0f8fad5b-d9cb-469f-a165-70867728950e"], 200),
        ("/uuid/0F8FAD5B-d9cb-469f-a165-70867728950e", ["read:data:*"], 403),
        ("/path/a", ["read:data:a"], 200),
        ("/path/a/b", ["read:data:*"], 403),
        ("/upper/AB", ["read:data:AB"], 200),
        ("/upper/ab", ["read:data:AB", "read:data:ab"], 403),
        ("/prefixed/7", ["read:data:customer-7"], 200),
        ("/prefixed/*", ["read:data:*"], 403),
        ("/none", ["read:data:*"], 403),
        ("/class/7", ["read:data:7"], 200),
        ("/class/8", ["read:data:7"], 403),
        ("/tenants/3/data/7", ["read:data:7", "read:tenants:3"], 200),
        ("/tenants/3/data/7", ["read:data:7", "read:tenants:4"], 403),
        ("/tenants/03/data/7", ["read:data:7", "read:tenants:3"], 403),
        ("/tenants/3/data/07", ["read:data:7", "read:tenants:3"], 403),
        ("/router/int/7", ["read:data:7"], 200),
        ("/router/int/07", ["read:data:7"], 403),
        ("/sub/int/7", ["read:data:7"], 200),
        ("/sub/int/07", ["read:data:7"], 403),
    ],
)
def test_a_template_is_judged_on_text_and_value(
    client: TestClient, path: str, scopes: list[str], expected: int
) -> None:
    assert status(client, path, *scopes) == expected


def test_post_of_a_class_is_open_to_any_agent(client: TestClient) -> None:
    assert status(client, "/class/7", "a:b:c", method="POST") == 200
    assert client.post("/class/7").status_code == 401


def test_head_is_guarded_as_get(client: TestClient) -> None:
    assert client.head("/text/7").status_code == 401
    assert client.head("/text/7", headers=auth("read:data:8")).status_code == 403
    assert client.head("/text/7", headers=auth("read:data:7")).status_code == 200


def test_without_guard_the_endpoint_never_runs() -> None:
    client = TestClient(Starlette(routes=[Route("/text/{xid}", one)]))
    with pytest.raises(ConfigurationError, match="GuardMiddleware"):
        client.get("/text/7", headers=auth("read:data:7"))


def test_a_decorator_on_the_wrong_thing_fails() -> None:
    with pytest.raises(ConfigurationError, match="Endpoint"):
        requires_scope("a:b:c")(Endpoint)
    guarded = requires_scope("a:b:c")(lambda: None)
    with pytest.raises(ConfigurationError, match="request"):
        guarded()


def test_no_agent_on_a_request_that_no_guard_saw() -> None:
    assert current_agent(Request({"type": "http", "headers": []})) is None


def test_debug_mode_shows_no_token(guard: Guard) -> None:
    async def boom(request: Request) -> None:
        raise RuntimeError("boom")

    app = Starlette(debug=True, routes=[Route("/boom", boom)])
    app.add_middleware(GuardMiddleware, guard=guard)
    headers = {**auth("a:b:c"), "Accept": "text/html"}
    page = TestClient(app, raise_server_exceptions=False).get("/boom", headers=headers)
    assert page.status_code == 500
    signature = headers["Authorization"].rsplit(".", 1)[1]
    assert signature[:16] not in page.text
