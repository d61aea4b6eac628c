"""Templates on the fronts that have routes (threats S): what a value may be, and where it may come from."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from flask import Flask
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from agentwrit_guard import Guard, all_of, any_of
from agentwrit_guard.asgi import GuardMiddleware as ASGIGuard
from agentwrit_guard.contrib import fastapi as guard_fastapi
from agentwrit_guard.contrib import flask as guard_flask
from agentwrit_guard.contrib import starlette as guard_starlette
from agentwrit_guard.errors import ConfigurationError
from agentwrit_guard.wsgi import GuardMiddleware as WSGIGuard
from tests.core.test_requirements import WRONG
from tests.fronts.expect import expect
from tests.fronts.test_table import bearer, get
from tests.kit import drivers
from tests.kit.drivers import Request
from tests.kit.fronts import FRONTS, Front
from tests.kit.stub import StubBroker
from tests.kit.tokens import token

Make = Callable[..., Front]
DECORATORS: dict[str, Any] = {"starlette": guard_starlette, "fastapi": guard_fastapi, "flask": guard_flask}
ROUTED = [name for name in FRONTS if name not in ("asgi", "wsgi")]
KINDS = [f"{name}{alone}" for name in DECORATORS for alone in ("", "-alone")]
# What the routes are called, what they have of a path, and what they require.
RULES: list[tuple[str, str, Any]] = [
    ("ints", "/{id:int}", "read:data:{id}"),
    ("lost", "/{other}", "read:data:{id}"),
    ("around", "/{id}", "read:data:customer-{id}"),
    ("wide", "/{id}", all_of("read:data:{id}", charset="[0-9:]+")),
    ("either", "/{id}", any_of("write:data:{id}", all_of("read:data:{id}", "list:data:{id}"))),
    ("star", "/{id}", "read:data:*"),
]


def _front(kind: str, guard: Guard) -> Front:
    """The routes of RULES for one framework, with a middleware or with guards on the decorators alone."""
    name, _, alone = kind.partition("-")
    front = Front(kind, guard, drivers.wsgi if name == "flask" else drivers.asgi, websockets=name != "flask")
    requires = {route: DECORATORS[name].requires_scope(rule, guard=guard if alone else None)
                for route, _, rule in RULES}  # fmt: skip
    made = {"starlette": _starlette, "fastapi": _fastapi, "flask": _flask}[name]
    app = made(front, requires)
    front.app = app if alone else (WSGIGuard if name == "flask" else ASGIGuard)(app, guard)
    return front


def _starlette(front: Front, requires: dict[str, Any]) -> Any:
    def handler(route: str) -> Any:
        async def endpoint(request: Any) -> Response:
            front.ran.append(route)
            return Response("ok")

        return requires[route](endpoint)

    return Starlette(routes=[Route(f"/{r}{path}", handler(r), methods=["GET", "POST"]) for r, path, _ in RULES])


def _fastapi(front: Front, requires: dict[str, Any]) -> Any:
    app = FastAPI()

    def number(route: str) -> Any:
        async def endpoint(id: int) -> None:  # noqa: A002
            front.ran.append(route)

        return endpoint

    def text(route: str) -> Any:
        async def endpoint(id: str = "7") -> None:  # noqa: A002
            front.ran.append(route)

        return endpoint

    for route, path, _ in RULES:
        handler = (number if route == "ints" else text)(route)
        app.add_api_route(f"/{route}{path.replace(':int', '')}", requires[route](handler), methods=["GET", "POST"])
    return app


def _flask(front: Front, requires: dict[str, Any]) -> Any:
    app = Flask("routes")

    def handler(route: str) -> Any:
        def view(**_: Any) -> str:
            front.ran.append(route)
            return "ok"

        return requires[route](view)

    for route, path, _ in RULES:
        rule = path.replace("{id:int}", "<int:id>").replace("{", "<").replace("}", ">")
        app.add_url_rule(f"/{route}{rule}", route, handler(route), methods=["GET", "POST"])
    return app


@pytest.fixture(scope="module")
def _one_broker() -> Iterator[StubBroker]:
    with StubBroker() as stub:
        yield stub


@pytest.fixture
def broker(_one_broker: StubBroker) -> StubBroker:
    """One for all of this file: to start and to stop one takes longer than a case."""
    return _one_broker


@pytest.fixture
def routed(make_front: Make) -> Callable[[str], Front]:
    return lambda kind: _front(kind, make_front("asgi").guard)


def holder(*scopes: str) -> tuple[str, bytes]:
    return bearer(token(scope=list(scopes)))


STAR = holder("read:data:*")
# Path, the scopes held, and the scope that the challenge names: None for bare, "" where it is let in.
JUDGED = [
    pytest.param("/star/7", ["read:data:7"], "read:data:*", id="S-04 a literal star needs a held one"),
    pytest.param("/star/7", ["read:data:*"], "", id="S-04 a held star"),
    pytest.param("/around/*", ["read:data:*"], None, id="S-08 a star"),
    pytest.param("/around/%2a", ["read:data:*"], None, id="S-08 an escaped star"),
    pytest.param("/around/a%3Ab", ["read:data:*"], None, id="S-09 a colon"),
    pytest.param("/wide/1%3A2", ["read:data:1:2"], "", id="S-09 a colon that the charset admits"),
    pytest.param("/wide/1%3A2", ["read:data:1"], "read:data:1:2", id="S-09 and it stays in the identifier"),
    *[
        pytest.param(f"/around/{text}", ["read:data:*"], None, id=f"S-10 {text}")
        for text in ("%2e%2e", "%20", "a%20", "%00", "a%0d%0ab", "%ff", "%EF%BF%BD", "x" * 257, "a%252fb", "%C3%A9")
    ],
    pytest.param("/lost/7", ["read:data:*"], None, id="S-11 not in the route"),
    pytest.param("/lost/7", ["read:data:{id}", "read:data:None", "read:data:7"], None, id="S-11 never the literal"),
    pytest.param("/around/7", ["read:data:customer-7"], "", id="S-11a text around a value"),
    pytest.param("/around/7", ["read:data:7"], "read:data:customer-7", id="S-11a which belongs to it"),
    pytest.param("/ints/7", ["read:data:7"], "", id="S-13 canonical"),
    pytest.param("/ints/07", ["read:data:*"], None, id="S-13 a leading zero"),
    pytest.param("/either/7", ["write:data:7"], "", id="S-15 one of two"),
    pytest.param("/either/7", ["read:data:7", "list:data:7"], "", id="S-15 all of the other"),
    pytest.param("/either/7", ["read:data:7"], "write:data:7 read:data:7 list:data:7", id="S-15 half of it"),
    pytest.param("/either/7", ["write:data:8", "read:data:8", "list:data:8"],
                 "write:data:7 read:data:7 list:data:7", id="S-15 of another id"),
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path, held, scope", JUDGED)
def test_a_value_is_judged_as_the_handler_gets_it(
    routed: Callable[[str], Front], broker: StubBroker, kind: str, path: str, held: list[str], scope: str | None
) -> None:
    status = 200 if scope == "" else 403
    expect(routed(kind), broker, get(holder(*held), path=path), status, scope=scope, calls=1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", ["+1", "1_0", "%D9%A1", "1.0", "0x1", "%201"])
def test_s_13_no_other_spelling_of_a_number_gets_in(
    routed: Callable[[str], Front], broker: StubBroker, kind: str, text: str
) -> None:
    """Some routers do not match it, and FastAPI may find it no number: whoever answers, the handler does not."""
    front = routed(kind)
    answer = front.request(get(STAR, path=f"/ints/{text}"))
    assert (answer.status in (403, 404, 422), front.ran) == (True, [])


# S-14: nothing takes a template's value from a query or a body, so what is repeated there has no say.
ELSEWHERE: list[dict[str, Any]] = [
    {"query": "customer_id=8"},
    {"query": "customer_id=7291&customer_id=8"},
    {"query": "customer_id=8&customer_id=7291"},
    {"query": "customer_id=*"},
    {"query": "customer_id[]=8&customer_id[]=7291&Customer_ID=8"},
    {"body": b'{"customer_id":"8","customer_id":"7291"}'},
    {"body": b"customer_id=8&customer_id=7291", "query": "customer_id=9"},
]


@pytest.mark.parametrize("name", ROUTED)
@pytest.mark.parametrize("elsewhere", ELSEWHERE, ids=[json.dumps({k: str(v) for k, v in e.items()}) for e in ELSEWHERE])
def test_s_14_only_the_path_gives_a_template_its_value(
    make_front: Make, broker: StubBroker, name: str, elsewhere: dict[str, Any]
) -> None:
    front = make_front(name)
    expect(front, broker, get(bearer(), path="/customers/7291", **elsewhere), 200, calls=1)
    expect(front, broker, get(bearer(), path="/customers/9", **elsewhere), 403, scope="read:customers:9")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("elsewhere", [{"query": "id=7"}, {"query": "id=7&id=7"}, {"body": b'{"id":"7","id":"7"}'}],
                         ids=["query", "query twice", "JSON twice"])  # fmt: skip
def test_s_11_s_14_a_value_that_the_route_lacks_is_nowhere_else(
    routed: Callable[[str], Front], broker: StubBroker, kind: str, elsewhere: dict[str, Any]
) -> None:
    headers = [STAR, ("Content-Type", b"application/json")]
    expect(routed(kind), broker, Request("/lost/x", "POST", headers, **elsewhere), 403, calls=1)


@pytest.mark.parametrize("name", DECORATORS)
@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_requirement_is_a_start_up_error_on_every_decorator(name: str, text: Any) -> None:
    for declare in (DECORATORS[name].requires_scope, DECORATORS[name].requires_any_scope):
        with pytest.raises(ConfigurationError):
            declare(text)
        with pytest.raises(ConfigurationError):
            declare()
