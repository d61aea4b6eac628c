"""One rule in shadow mode among others that enforce: it lets its own refusals through, and nothing past the others.

What it has not enforced takes the agent away, however the handler asks for it (threats 1).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, Security, WebSocket
from fastapi.testclient import TestClient
from flask import Flask
from flask.views import MethodView
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Mount, Route
from werkzeug.test import Client

from agentwrit_guard import Guard, all_of
from agentwrit_guard.asgi import GuardMiddleware as ASGIGuard
from agentwrit_guard.contrib import fastapi as guard_fastapi
from agentwrit_guard.contrib import flask as guard_flask
from agentwrit_guard.contrib import starlette as guard_starlette
from agentwrit_guard.contrib.fastapi import AgentSecurity, CurrentAgent, OptionalAgent, agent_security, optional_agent
from agentwrit_guard.core.decisions import DecisionEvent
from agentwrit_guard.wsgi import GuardMiddleware as WSGIGuard
from tests.kit.clock import MovableClock
from tests.kit.stub import StubBroker, invalid
from tests.kit.tokens import AGENT, token

LAST_DAY = "2027-01-31"
END = 1_801_440_000
SHADOW: dict[str, Any] = {"enforce": False, "until": LAST_DAY}
HELD, LACKED, ELSE = "read:customers:7291", "write:customers:7291", "write:orders:1"
AUTH = {"Authorization": f"Bearer {token()}"}
LATE = {"Authorization": f"Bearer {token(iat=END - 10, nbf=END - 10, exp=END + 300)}"}


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request waits longer than any broker of these tests takes."""
    monkeypatch.setattr("agentwrit_guard.asgiverdict.SHADOW_WAIT", 20.0)
    monkeypatch.setattr("agentwrit_guard.environ.SHADOW_WAIT", 20.0)


@pytest.fixture
def events() -> list[DecisionEvent]:
    return []


@pytest.fixture
def make_guard(broker: StubBroker, clock: MovableClock, events: list[DecisionEvent]) -> Iterator[Callable[..., Guard]]:
    made: list[Guard] = []

    def make(**settings: Any) -> Guard:
        made.append(Guard(broker.url, clock=clock.clock, on_decision=events.append, **settings))
        return made[-1]

    yield make
    for guard in made:
        guard.close()


@pytest.fixture
def guard(make_guard: Callable[..., Guard]) -> Guard:
    """One that enforces."""
    return make_guard()


def refusals(events: list[DecisionEvent]) -> list[tuple[str, bool]]:
    return [(event.reason, event.enforced) for event in events if event.outcome == "denied"]


def seen(request: Any, *agents: Any) -> list[str | None]:
    """The agent as an ASGI handler may find it, in every way there is."""
    state = getattr(request.state, "agent", None)
    found = [guard_starlette.current_agent(request), state, *agents]
    return [agent.agent_id if agent else None for agent in found]


# --- every framework, one rule

Build = Callable[[Guard, bool, dict[str, Any]], tuple[Any, list[str]]]


def starlette_app(guard: Guard, middleware: bool, rule: dict[str, Any], *, sync: bool = False) -> tuple[Any, list[str]]:
    ran: list[str] = []
    declared = guard_starlette.requires_scope(LACKED, guard=None if middleware else guard, **rule)

    @declared
    async def asynchronous(request: Request) -> JSONResponse:
        ran.append("x")
        return JSONResponse(seen(request))

    @declared
    def synchronous(request: Request) -> JSONResponse:
        ran.append("x")
        return JSONResponse(seen(request))

    app: Any = Starlette(routes=[Route("/x", synchronous if sync else asynchronous)])
    return TestClient(ASGIGuard(app, guard) if middleware else app), ran


def starlette_sync(guard: Guard, middleware: bool, rule: dict[str, Any]) -> tuple[Any, list[str]]:
    return starlette_app(guard, middleware, rule, sync=True)


def fastapi_app(guard: Guard, middleware: bool, rule: dict[str, Any], *, kind: str = "async") -> tuple[Any, list[str]]:
    ran: list[str] = []
    app = FastAPI()
    declared = guard_fastapi.requires_scope(LACKED, guard=None if middleware else guard, **rule)
    optional = Security(guard_fastapi.OptionalAgentSecurity(guard))

    @declared
    async def asynchronous(request: Request, other: Any = optional) -> Any:
        ran.append("x")
        return seen(request, other)

    @declared
    def synchronous(request: Request, other: Any = optional) -> Any:
        ran.append("x")
        return seen(request, other)

    app.get("/x")(asynchronous if kind == "async" else synchronous)
    return TestClient(ASGIGuard(app, guard) if middleware else app), ran


def fastapi_sync(guard: Guard, middleware: bool, rule: dict[str, Any]) -> tuple[Any, list[str]]:
    return fastapi_app(guard, middleware, rule, kind="sync")


def flask_app(guard: Guard, middleware: bool, rule: dict[str, Any]) -> tuple[Any, list[str]]:
    ran: list[str] = []
    app = Flask("x")

    @app.get("/x")
    @guard_flask.requires_scope(LACKED, guard=None if middleware else guard, **rule)
    def view() -> str:
        ran.append("x")
        agent = guard_flask.current_agent
        return json.dumps([agent.agent_id if agent else None])

    if middleware:
        guard_flask.FlaskGuard(app, guard=guard)
    return Client(app), ran


BUILDS: dict[str, Build] = {
    "starlette": starlette_app,
    "starlette sync": starlette_sync,
    "fastapi": fastapi_app,
    "fastapi sync": fastapi_sync,
    "flask": flask_app,
}
builds = pytest.mark.parametrize("build", BUILDS)
middlewares = pytest.mark.parametrize("middleware", [True, False], ids=["middleware", "alone"])


@builds
@middlewares
def test_its_refusal_lets_the_handler_run_without_an_agent(
    guard: Guard, events: list[DecisionEvent], build: str, middleware: bool
) -> None:
    client, ran = BUILDS[build](guard, middleware, SHADOW)
    answer = client.get("/x", headers=AUTH)
    assert (answer.status_code, ran) == (200, ["x"])
    assert set(json.loads(answer.text)) == {None}
    assert set(refusals(events)) == {("insufficient_scope", False)}
    refused = [event for event in events if event.outcome == "denied"]
    assert {(event.phase, event.status, event.route, event.agent_id) for event in refused} == {
        ("requirement", 403, "/x", AGENT)
    }


@builds
@middlewares
def test_whom_it_allows_has_its_agent_as_ever(
    guard: Guard, events: list[DecisionEvent], build: str, middleware: bool
) -> None:
    client, ran = BUILDS[build](guard, middleware, SHADOW)
    holder = {"Authorization": f"Bearer {token(scope=[LACKED])}"}
    answer = client.get("/x", headers=holder)
    assert (answer.status_code, ran) == (200, ["x"])
    assert set(json.loads(answer.text)) == {AGENT}
    assert all(event.outcome == "allowed" and event.enforced for event in events)


@builds
def test_the_middleware_still_wants_an_agent(
    guard: Guard, broker: StubBroker, events: list[DecisionEvent], build: str
) -> None:
    client, ran = BUILDS[build](guard, True, SHADOW)
    assert client.get("/x").status_code == 401
    broker.answer = invalid
    assert client.get("/x", headers=AUTH).status_code == 401
    assert ran == []
    assert refusals(events) == [("no_credentials", True), ("rejected_by_broker", True)]


@builds
def test_alone_it_lets_everybody_through(guard: Guard, events: list[DecisionEvent], build: str) -> None:
    client, ran = BUILDS[build](guard, False, SHADOW)
    answer = client.get("/x")
    assert (answer.status_code, ran) == (200, ["x"])
    assert set(json.loads(answer.text)) == {None}
    assert set(refusals(events)) == {("no_credentials", False)}


@builds
@middlewares
def test_after_its_day_it_enforces(
    guard: Guard, clock: MovableClock, events: list[DecisionEvent], build: str, middleware: bool
) -> None:
    client, ran = BUILDS[build](guard, middleware, SHADOW)
    clock.wall = END - 1
    assert client.get("/x", headers=LATE).status_code == 200
    clock.wall = END
    events.clear()
    assert client.get("/x", headers=LATE).status_code == 403
    assert ran == ["x"]
    assert refusals(events) == [("insufficient_scope", True)]


@builds
@middlewares
def test_of_two_shadows_the_longer_counts(
    make_guard: Callable[..., Guard], clock: MovableClock, build: str, middleware: bool
) -> None:
    guard = make_guard(enforce=False, until="2027-01-20")
    client, ran = BUILDS[build](guard, middleware, SHADOW)
    clock.wall = END - 1
    assert client.get("/x", headers=LATE).status_code == 200
    assert client.get("/x").status_code == (401 if middleware else 200)
    clock.wall = END
    assert client.get("/x", headers=LATE).status_code == 403
    assert len(ran) == (1 if middleware else 2)


# --- stacked decorators, both orders


def stacked(framework: str, guard: Guard, outer: Any, inner: Any, middleware: bool) -> tuple[Any, list[str]]:
    ran: list[str] = []
    own = None if middleware else guard

    def rule(of: Any, scope: str, options: dict[str, Any]) -> Any:
        return of.requires_scope(scope, guard=own, **options)

    if framework == "flask":
        app = Flask("x")

        def view() -> str:
            ran.append("x")
            return json.dumps(guard_flask.current_agent.agent_id if guard_flask.current_agent else None)

        app.add_url_rule("/x", "x", rule(guard_flask, *outer)(rule(guard_flask, *inner)(view)))
        if middleware:
            guard_flask.FlaskGuard(app, guard=guard)
        return Client(app), ran

    async def endpoint(request: Request) -> JSONResponse:
        ran.append("x")
        first, *others = seen(request)
        assert all(other == first for other in others)
        return JSONResponse(first)

    both = rule(guard_starlette, *outer)(rule(guard_starlette, *inner)(endpoint))
    made: Any = Starlette(routes=[Route("/x", both)])
    return TestClient(ASGIGuard(made, guard) if middleware else made), ran


frameworks = pytest.mark.parametrize("framework", ["starlette", "flask"])


@frameworks
@middlewares
@pytest.mark.parametrize("shadow_first", [True, False])
@pytest.mark.parametrize("also_lacked", [LACKED, HELD])
def test_a_rule_that_enforces_is_not_passed_beside_one_in_shadow(
    guard: Guard, events: list[DecisionEvent], framework: str, middleware: bool, shadow_first: bool, also_lacked: str
) -> None:
    rules = [(also_lacked, SHADOW), (ELSE, {})]
    client, ran = stacked(framework, guard, *(rules if shadow_first else rules[::-1]), middleware)
    for headers, status in ((AUTH, 403), ({}, 401), ({"Authorization": "Bearer x"}, 401)):
        assert client.get("/x", headers=headers).status_code == status
    assert ran == []
    assert {reason for reason, enforced in refusals(events) if enforced} >= {"insufficient_scope", "no_credentials"}


@frameworks
@middlewares
@pytest.mark.parametrize("shadow_first", [True, False])
@pytest.mark.parametrize("other", [{}, SHADOW], ids=["enforcing", "shadow"])
def test_what_one_rule_would_have_refused_another_does_not_prove(
    guard: Guard, framework: str, middleware: bool, shadow_first: bool, other: dict[str, Any]
) -> None:
    """The agent that was taken away stays away, though it holds what the other rule asks."""
    rules = [(LACKED, SHADOW), (HELD, other)]
    client, ran = stacked(framework, guard, *(rules if shadow_first else rules[::-1]), middleware)
    answer = client.get("/x", headers=AUTH)
    assert (answer.status_code, json.loads(answer.text), ran) == (200, None, ["x"])


@frameworks
@middlewares
@pytest.mark.parametrize("headers", [AUTH, {}, {"Authorization": "Bearer x"}], ids=["good", "none", "malformed"])
def test_every_pair_of_rules(
    make_guard: Callable[..., Guard], framework: str, middleware: bool, headers: dict[str, str]
) -> None:
    """The handler runs where no rule that enforces refuses, and has its agent where none refuses at all."""
    rules = list(itertools.product((HELD, LACKED), ({}, SHADOW)))
    for settings, outer, inner in itertools.product(({}, SHADOW), rules, rules):
        client, ran = stacked(framework, make_guard(**settings), outer, inner, middleware)
        good = headers is AUTH
        refusing = [shadow for scope, shadow in (outer, inner) if not good or scope == LACKED]
        if middleware and not good:
            refusing.append({})
        runs = bool(settings) or all(refusing)
        answer = client.get("/x", headers=headers)
        assert (answer.status_code == 200, len(ran)) == (runs, runs), (settings, outer, inner)
        assert not runs or json.loads(answer.text) == (None if refusing else AGENT), (settings, outer, inner)


# --- FastAPI's dependencies


def fastapi_client(guard: Guard, app: FastAPI, middleware: bool = True) -> TestClient:
    if middleware:
        app.add_middleware(ASGIGuard, guard=guard)
    return TestClient(app)


@pytest.mark.parametrize("max_age", [None, 0])
def test_current_agent_of_a_handler_is_none(guard: Guard, max_age: float | None) -> None:
    """Also where the rule asked the broker anew, and so knows the agent by another object."""
    app, found = FastAPI(), []

    @app.get("/x")
    @guard_fastapi.requires_scope(LACKED, max_age=max_age, **SHADOW)
    async def handler(
        request: Request,
        agent: CurrentAgent,
        optional: OptionalAgent,
        scoped: Any = Security(agent_security, scopes=[HELD]),
    ) -> None:
        found.append((*seen(request), agent, optional, scoped))

    assert fastapi_client(guard, app).get("/x", headers=AUTH).status_code == 200
    assert found == [(None, None, None, None, None)]


@pytest.mark.parametrize("where", ["route", "router", "app", "argument"])
@pytest.mark.parametrize("lacked", [True, False])
def test_security_with_scopes_enforces_beside_a_rule_in_shadow(
    guard: Guard, events: list[DecisionEvent], where: str, lacked: bool
) -> None:
    scoped = Security(agent_security, scopes=[ELSE if lacked else HELD])
    ran: list[str] = []
    app = FastAPI(dependencies=[scoped] if where == "app" else None)
    router = APIRouter(dependencies=[scoped] if where == "router" else None)

    @guard_fastapi.requires_scope(LACKED, **SHADOW)
    async def handler(request: Request) -> Any:
        ran.append("x")
        return seen(request)

    @guard_fastapi.requires_scope(LACKED, **SHADOW)
    async def with_argument(request: Request, agent: Any = scoped) -> Any:
        ran.append("x")
        return seen(request, agent)

    router.add_api_route(
        "/x",
        with_argument if where == "argument" else handler,
        dependencies=[scoped] if where == "route" else None,
    )
    app.include_router(router)
    answer = fastapi_client(guard, app).get("/x", headers=AUTH)
    if lacked:
        assert (answer.status_code, ran) == (403, [])
        assert ("insufficient_scope", True) in refusals(events)
    else:
        assert (answer.status_code, ran) == (200, ["x"])
        assert set(answer.json()) == {None}


@pytest.mark.parametrize("first", ["rule", "security"])
@pytest.mark.parametrize("public", [True, False])
def test_security_of_the_same_text_as_a_rule_in_shadow_is_judged_by_itself(
    guard: Guard, first: str, public: bool
) -> None:
    """FastAPI keeps what a dependency gave, by its scopes, for others with the same ones."""
    needs = [dependency(SHADOW, LACKED, None), Security(agent_security, scopes=[LACKED])]
    app, ran = FastAPI(), []

    @app.get("/x", dependencies=needs if first == "rule" else needs[::-1])
    async def handler() -> None:
        ran.append("x")

    app.add_middleware(ASGIGuard, guard=guard, public=["/x"] if public else [])
    client = TestClient(app)
    assert client.get("/x").status_code == 401
    assert client.get("/x", headers=AUTH).status_code == 403
    assert ran == []
    held = {"Authorization": f"Bearer {token(scope=[LACKED])}"}
    assert (client.get("/x", headers=held).status_code, ran) == (200, ["x"])


def dependency(rule: dict[str, Any], scope: str, guard: Guard | None) -> Any:
    """A dependency that is under a rule of its own."""

    @guard_fastapi.requires_scope(scope, guard=guard, **rule)
    async def depends() -> None:
        pass

    return Depends(depends)


@middlewares
@pytest.mark.parametrize("place", ["argument", "route"])
def test_a_dependency_in_shadow_opens_nothing_of_its_handler(
    guard: Guard, events: list[DecisionEvent], middleware: bool, place: str
) -> None:
    own, ran = None if middleware else guard, []
    depends = dependency(SHADOW, LACKED, own)
    app = FastAPI()

    @guard_fastapi.requires_scope(ELSE, guard=own)
    async def plain() -> None:
        ran.append("x")

    @guard_fastapi.requires_scope(ELSE, guard=own)
    async def with_argument(_: Any = depends) -> None:
        ran.append("x")

    if place == "argument":
        app.get("/x")(with_argument)
    else:
        app.get("/x", dependencies=[depends])(plain)
    client = fastapi_client(guard, app, middleware)
    assert client.get("/x", headers=AUTH).status_code == 403
    assert client.get("/x").status_code == 401
    assert ran == []
    assert {reason for reason, enforced in refusals(events) if enforced} == {"insufficient_scope", "no_credentials"}


@middlewares
@pytest.mark.parametrize("decorated", [True, False])
def test_what_a_dependency_would_have_refused_its_handler_does_not_get(
    guard: Guard, middleware: bool, decorated: bool
) -> None:
    own = None if middleware else guard
    app, found = FastAPI(), []

    async def handler(
        request: Request,
        agent: Any = Security(AgentSecurity(own)),
        optional: Any = Security(guard_fastapi.OptionalAgentSecurity(own)),
    ) -> None:
        found.extend(seen(request, agent, optional))

    rule = guard_fastapi.requires_scope(HELD, guard=own) if decorated else lambda handler: handler
    app.get("/x", dependencies=[dependency(SHADOW, LACKED, own)])(rule(handler))
    assert fastapi_client(guard, app, middleware).get("/x", headers=AUTH).status_code == 200
    assert found == [None] * 4


@middlewares
def test_scopes_that_are_given_to_a_dependency_in_shadow_enforce(guard: Guard, middleware: bool) -> None:
    own = None if middleware else guard
    app, ran = FastAPI(), []
    for path, scope in (("/held", HELD), ("/lacked", ELSE)):
        depends = dependency(SHADOW, LACKED, own).dependency
        app.add_api_route(path, lambda path=path: ran.append(path), dependencies=[Security(depends, scopes=[scope])])
    client = fastapi_client(guard, app, middleware)
    assert client.get("/lacked", headers=AUTH).status_code == 403
    assert client.get("/held").status_code == 401
    assert client.get("/held", headers=AUTH).status_code == 200
    assert ran == ["/held"]


@pytest.mark.parametrize("lacked", [True, False])
@pytest.mark.parametrize("asynchronous", [True, False])
@pytest.mark.parametrize("rule", [SHADOW, {}], ids=["shadow", "enforcing"])
@middlewares
def test_generators(guard: Guard, lacked: bool, asynchronous: bool, rule: dict[str, Any], middleware: bool) -> None:
    ran: list[Any] = []
    app = FastAPI()
    own = None if middleware else guard
    given = Security(AgentSecurity(own))
    declared = guard_fastapi.requires_scope(LACKED if lacked else HELD, guard=own, **rule)

    if asynchronous:

        @app.get("/x")
        @declared
        async def items(request: Request, agent: Any = given) -> AsyncIterator[int]:
            ran.extend(seen(request, agent))
            yield 1

    else:

        @app.get("/x")
        @declared
        def sync_items(request: Request, agent: Any = given) -> Iterator[int]:
            ran.extend(seen(request, agent))
            yield 1

    client = fastapi_client(guard, app, middleware)
    answer = client.get("/x", headers=AUTH)
    if lacked and not rule:
        assert (answer.status_code, ran) == (403, [])
        assert client.get("/x").status_code == 401
    else:
        assert answer.status_code == 200
        assert ran == [None if lacked else AGENT] * 3


def test_a_streamed_answer(guard: Guard) -> None:
    found: list[Any] = []

    @guard_starlette.requires_scope(LACKED, **SHADOW)
    async def endpoint(request: Request) -> StreamingResponse:
        async def chunks() -> AsyncIterator[bytes]:
            found.extend(seen(request))
            yield b"x"

        return StreamingResponse(chunks())

    client = TestClient(ASGIGuard(Starlette(routes=[Route("/x", endpoint)]), guard))
    assert client.get("/x", headers=AUTH).text == "x"
    assert found == [None, None]


@pytest.mark.parametrize("rule", [SHADOW, {}], ids=["shadow", "enforcing"])
def test_websockets(guard: Guard, rule: dict[str, Any]) -> None:
    from starlette.testclient import WebSocketDenialResponse

    app = FastAPI()

    @app.websocket("/ws")
    @guard_fastapi.requires_scope(LACKED, **rule)
    async def handler(websocket: WebSocket, agent: CurrentAgent) -> None:
        await websocket.accept()
        await websocket.send_json(seen(websocket, agent))
        await websocket.close()

    client = fastapi_client(guard, app)
    if rule:
        with client.websocket_connect("/ws", headers=AUTH) as websocket:
            assert websocket.receive_json() == [None, None, None]
    for headers in ({}, *(() if rule else (AUTH,))):
        with pytest.raises(WebSocketDenialResponse), client.websocket_connect("/ws", headers=headers):
            pass


# --- overrides


@pytest.mark.parametrize("rule", [SHADOW, {}], ids=["shadow", "enforcing"])
@pytest.mark.parametrize("overridden", [agent_security, optional_agent])
@pytest.mark.parametrize("ttl", [5, 0])
def test_an_override_opens_no_rule_that_enforces(
    make_guard: Callable[..., Guard], ttl: float, rule: dict[str, Any], overridden: Any
) -> None:
    """It gives an agent that holds less than the rule asks, after another rule was not enforced."""
    guard = make_guard(cache_ttl=ttl)
    app, ran = FastAPI(), []
    principal = guard.check([AUTH["Authorization"].encode()])

    @app.get("/x", dependencies=[dependency(SHADOW, LACKED, guard)])
    @guard_fastapi.requires_scope(ELSE, **rule)
    async def handler() -> None:
        ran.append("x")

    app.dependency_overrides[overridden] = lambda: principal.principal  # type: ignore[union-attr]
    client = fastapi_client(guard, app)
    assert client.get("/x", headers=AUTH).status_code == (200 if rule else 403)
    assert client.get("/x").status_code == 401
    assert ran == (["x"] if rule else [])


# --- more than one guard


@pytest.mark.parametrize("shadow_outside", [True, False])
def test_a_guard_in_shadow_opens_nothing_of_another(
    make_guard: Callable[..., Guard], broker: StubBroker, events: list[DecisionEvent], shadow_outside: bool
) -> None:
    enforcing, shadowed = make_guard(), make_guard(**SHADOW)
    outer, inner = (shadowed, enforcing) if shadow_outside else (enforcing, shadowed)

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("it ran")

    def wsgi(environ: Any, start_response: Any) -> Any:
        raise AssertionError("it ran")

    for client in (
        TestClient(ASGIGuard(ASGIGuard(asgi, inner), outer)),
        Client(WSGIGuard(WSGIGuard(wsgi, inner), outer)),
    ):
        assert client.get("/x").status_code == 401
        assert client.get("/x", headers={"Authorization": "Bearer x"}).status_code == 401
    assert {(reason, True) for reason, _ in refusals(events)} <= set(refusals(events))


@pytest.mark.parametrize("framework", ["starlette", "fastapi", "flask"])
def test_a_rule_of_a_guard_that_enforces_below_a_middleware_in_shadow(
    make_guard: Callable[..., Guard], framework: str
) -> None:
    enforcing, shadowed = make_guard(), make_guard(**SHADOW)
    client, ran = BUILDS[framework](enforcing, False, {})
    if framework == "flask":
        client = Client(WSGIGuard(client.application, shadowed))
    else:
        client = TestClient(ASGIGuard(client.app, shadowed))
    assert client.get("/x").status_code == 401
    assert client.get("/x", headers=AUTH).status_code == 403
    assert ran == []


@pytest.mark.parametrize("framework", ["starlette", "fastapi", "flask"])
def test_a_rule_of_a_guard_in_shadow_below_a_middleware_that_enforces(
    make_guard: Callable[..., Guard], framework: str
) -> None:
    enforcing, shadowed = make_guard(), make_guard(**SHADOW)
    client, ran = BUILDS[framework](shadowed, False, {})
    if framework == "flask":
        client = Client(WSGIGuard(client.application, enforcing))
    else:
        client = TestClient(ASGIGuard(client.app, enforcing))
    assert client.get("/x").status_code == 401
    assert ran == []
    assert client.get("/x", headers=AUTH).status_code == 200
    assert ran == ["x"]


def test_an_app_that_is_mounted_under_a_guard_in_shadow_keeps_its_own(make_guard: Callable[..., Guard]) -> None:
    enforcing, shadowed = make_guard(), make_guard(**SHADOW)
    ran: list[str] = []

    async def endpoint(request: Request) -> JSONResponse:
        ran.append(request.url.path)
        return JSONResponse(seen(request))

    inside = ASGIGuard(Starlette(routes=[Route("/x", endpoint)]), enforcing)
    app = Starlette(routes=[Route("/x", endpoint), Mount("/inside", inside)])
    client = TestClient(ASGIGuard(app, shadowed))
    assert client.get("/inside/x").status_code == 401
    assert client.get("/x").json() == [None, None]
    assert client.get("/inside/x", headers=AUTH).json() == [AGENT, AGENT]
    assert ran == ["/x", "/inside/x"]


# --- a guard in shadow: FastAPI's dependencies and Flask's views


@middlewares
@pytest.mark.parametrize("headers", [{}, AUTH, {"Authorization": "Bearer x"}], ids=["none", "good", "malformed"])
def test_dependencies_of_a_guard_in_shadow(
    make_guard: Callable[..., Guard], middleware: bool, headers: dict[str, str]
) -> None:
    guard = make_guard(**SHADOW)
    own = None if middleware else guard
    app, found = FastAPI(), []

    @app.get("/scoped")
    async def scoped(request: Request, agent: Any = Security(AgentSecurity(own), scopes=[LACKED])) -> None:
        found.append(seen(request, agent))

    @app.get("/current")
    async def current(request: Request, agent: Any = Security(AgentSecurity(own))) -> None:
        found.append(seen(request, agent))

    @app.get("/optional")
    async def optional(request: Request, agent: Any = Security(guard_fastapi.OptionalAgentSecurity(own))) -> None:
        found.append(seen(request, agent))

    client = fastapi_client(guard, app, middleware)
    for path in ("/scoped", "/current", "/optional"):
        assert client.get(path, headers=headers).status_code == 200
    proven = AGENT if headers == AUTH else None
    assert found == [[None] * 3, [proven] * 3, [proven] * 3]


def test_methods_and_async_views_of_flask(guard: Guard) -> None:
    app, found = Flask("x"), []
    rule = guard_flask.requires_scope(all_of(LACKED), **SHADOW)

    class Thing(MethodView):
        @rule
        def get(self) -> str:
            found.append(bool(guard_flask.current_agent))
            return "x"

    @app.get("/async")
    @rule
    async def asynchronous() -> str:
        found.append(bool(guard_flask.current_agent))
        return "x"

    app.add_url_rule("/thing", view_func=Thing.as_view("thing"))
    guard_flask.FlaskGuard(app, guard=guard)
    for path in ("/thing", "/async"):
        assert Client(app).get(path, headers=AUTH).status_code == 200
    assert found == [False, False]
