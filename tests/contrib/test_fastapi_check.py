"""Scopes given to `Security` are looked at when the app starts, wherever in it they stand."""

# No `from __future__ import annotations`: handlers here are local, and FastAPI looks names up in the module.

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, Security, WebSocket
from fastapi.security import OAuth2PasswordBearer
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Mount, Route

from agentwrit_guard import Guard, Principal
from agentwrit_guard.contrib.fastapi import (
    AgentSecurity,
    CurrentAgent,
    GuardMiddleware,
    OptionalAgent,
    agent_security,
    optional_agent,
    requires_any_scope,
    requires_scope,
)
from agentwrit_guard.errors import ConfigurationError

GOOD = "read:data:{xid}"
Place = Callable[[FastAPI, list[str]], str]


def plain(agent: CurrentAgent) -> str:
    return agent.agent_id


def on_a_handler(app: FastAPI, scopes: list[str]) -> str:
    @app.get("/data/{xid}")
    def data(xid: str, agent: Annotated[Principal, Security(agent_security, scopes=scopes)]) -> str:
        return xid

    return "/data/{xid}"


def on_a_route(app: FastAPI, scopes: list[str]) -> str:
    app.get("/data/{xid}", dependencies=[Security(AgentSecurity(), scopes=scopes)])(plain)
    return "/data/{xid}"


def on_a_websocket(app: FastAPI, scopes: list[str]) -> str:
    @app.websocket("/ws/{xid}")
    async def talk(socket: WebSocket, agent: Annotated[Principal, Security(agent_security, scopes=scopes)]) -> None:
        await socket.accept()

    return "/ws/{xid}"


def on_a_router_in_a_router(app: FastAPI, scopes: list[str]) -> str:
    inner = APIRouter(prefix="/data", dependencies=[Security(agent_security, scopes=scopes)])
    inner.get("/{xid}")(plain)
    outer = APIRouter(prefix="/v1")
    outer.include_router(inner)
    app.include_router(outer, prefix="/api")
    return "/api/v1/data/{xid}"


def where_a_router_is_included(app: FastAPI, scopes: list[str]) -> str:
    router = APIRouter()
    router.get("/data/{xid}")(plain)
    app.include_router(router, prefix="/api", dependencies=[Security(agent_security, scopes=scopes)])
    return "/api/data/{xid}"


def above_a_dependency(app: FastAPI, scopes: list[str]) -> str:
    """FastAPI hands scopes down to what the dependency depends on."""

    def who(agent: CurrentAgent) -> str:
        return agent.agent_id

    def sure(name: Annotated[str, Depends(who)]) -> str:
        return name

    app.get("/deep/{xid}", dependencies=[Security(sure, scopes=scopes)])(plain)
    return "/deep/{xid}"


def in_a_mounted_app(app: FastAPI, scopes: list[str]) -> str:
    inner = FastAPI()
    path = on_a_handler(inner, scopes)
    app.mount("/sub", Starlette(routes=[Mount("/again", inner)]))
    return "/sub/again" + path


def in_a_guarded_mount(app: FastAPI, scopes: list[str]) -> str:
    inner = FastAPI()
    path = on_a_handler(inner, scopes)
    guard = Guard("http://127.0.0.1:1")
    app.mount("/sub", GuardMiddleware(GuardMiddleware(inner, guard), guard))
    return "/sub" + path


def under_a_host(app: FastAPI, scopes: list[str]) -> str:
    inner = FastAPI()
    path = on_a_handler(inner, scopes)
    app.router.routes.append(Host("api.example.com", inner))
    return path


def in_a_mount_of_a_router(app: FastAPI, scopes: list[str]) -> str:
    inner = FastAPI()
    path = on_a_handler(inner, scopes)
    router = APIRouter()
    router.mount("/sub", inner)
    app.include_router(router, prefix="/api")
    # The first FastAPIs that mount within routers do not tell where.
    return path


def on_the_app(app: FastAPI, scopes: list[str]) -> str:
    made = FastAPI(dependencies=[Security(agent_security, scopes=scopes)])
    made.get("/data/{xid}")(plain)
    app.mount("/all", made)
    return "/all/data/{xid}"


PLACES = (
    on_a_handler, on_a_route, on_a_websocket, on_a_router_in_a_router, where_a_router_is_included, above_a_dependency,
    in_a_mounted_app, in_a_guarded_mount, under_a_host, in_a_mount_of_a_router, on_the_app,
)  # fmt: skip


@pytest.fixture
def app() -> FastAPI:
    """With everything that a check must not stumble over."""
    made = FastAPI()
    made.get("/who")(plain)
    made.get("/maybe")(lambda agent=None: None)
    made.get("/one/{xid}")(requires_scope(GOOD)(lambda xid: xid))
    made.get("/any/{xid}")(requires_any_scope(GOOD, "read:all:1", max_age=0)(lambda xid: xid))
    made.get("/human", dependencies=[Security(OAuth2PasswordBearer("token"), scopes=["me"])])(lambda: None)
    made.mount("/plain", Starlette(routes=[Route("/x", lambda request: PlainTextResponse(""))]))
    made.mount("/asgi", PlainTextResponse(""))

    @made.get("/optional")
    def optional(agent: OptionalAgent) -> None: ...

    return made


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
@pytest.mark.parametrize("scope", ["read:data", "", "read:data:1 ", "admin:data:1", "read:*:1", "read:data:{a}{b}"])
def test_s_02_a_malformed_scope_is_found_wherever_it_stands(app: FastAPI, place: Place, scope: str) -> None:
    path = place(app, [GOOD, scope])
    with pytest.raises(ConfigurationError) as caught:
        AgentSecurity.check(app)
    route, _, why = str(caught.value).partition(": ")
    assert route == f"route {path}" or (place is in_a_mount_of_a_router and route.endswith(path))
    assert why.startswith(f"required scope {scope!r} ")


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_scopes_that_can_be_meant_are_no_mistake(app: FastAPI, place: Place) -> None:
    AgentSecurity.check(app)
    place(app, [GOOD, "write:data:*"])
    AgentSecurity.check(app)


def test_one_text_in_place_of_a_list_is_found(app: FastAPI) -> None:
    on_a_handler(app, GOOD)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="required scope 'r' is not"):
        AgentSecurity.check(app)


def test_the_app_does_not_start(app: FastAPI) -> None:
    """In the app's own lifespan, so that a server ends; without the check it starts, and the route is a 500."""

    @contextlib.asynccontextmanager
    async def checked(app: FastAPI) -> AsyncIterator[None]:
        AgentSecurity.check(app)
        yield

    for lifespan in (None, checked):
        made: Any = FastAPI(lifespan=lifespan)
        on_a_handler(made, ["read:data"])
        if lifespan is None:
            with TestClient(made, raise_server_exceptions=False) as client:
                assert client.get("/data/1").status_code == 500
        else:
            with pytest.raises(ConfigurationError, match="route /data/"), TestClient(made):
                pass


def test_a_guarded_app_can_be_checked_from_outside(app: FastAPI) -> None:
    on_a_handler(app, ["read:data"])
    with pytest.raises(ConfigurationError, match="route /data/"):
        AgentSecurity.check(GuardMiddleware(app, Guard("http://127.0.0.1:1")))


@pytest.mark.parametrize("app", [None, 7, PlainTextResponse("")])
def test_what_has_no_routes_cannot_be_checked(app: Any) -> None:
    with pytest.raises(ConfigurationError, match="wants a FastAPI app"):
        AgentSecurity.check(app)


def optional_app(*scopes: str) -> tuple[FastAPI, list[str]]:
    app, ran = FastAPI(), []

    @app.get("/orders")
    def orders(agent: Annotated[Principal | None, Security(optional_agent, scopes=list(scopes))]) -> str:
        ran.append("orders")
        return "everybody"

    app.add_middleware(GuardMiddleware, guard=Guard("http://127.0.0.1:1"), others="pass")
    return app, ran


def test_nobody_is_refused_for_a_scope_of_an_optional_agent_so_there_may_be_none() -> None:
    app, ran = optional_app("read:orders:1")
    with pytest.raises(ConfigurationError, match=r"route /orders: scope 'read:orders:1' is given to Optional"):
        AgentSecurity.check(app)
    assert TestClient(app, raise_server_exceptions=False).get("/orders").status_code == 500
    assert ran == []


def test_scopes_that_are_not_an_agents_are_for_others_than_the_optional_agent() -> None:
    app, ran = optional_app("me", "items")
    AgentSecurity.check(app)
    assert TestClient(app).get("/orders").status_code == 200
    assert ran == ["orders"]
