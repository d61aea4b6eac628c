"""FastAPI: signature, OpenAPI, overrides, routers, converted values, optional agents, app error handlers."""

# No `from __future__ import annotations`: handlers here are local, and FastAPI looks names up in the module.

import enum
import inspect
import uuid
from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Body, Depends, FastAPI, HTTPException, Path, Request, Security
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient
from pydantic import BaseModel

from agentwrit_guard import Guard, Principal
from agentwrit_guard.contrib.fastapi import (
    AgentSecurity,
    CurrentAgent,
    GuardMiddleware,
    OptionalAgent,
    agent_security,
    requires_any_scope,
    requires_scope,
)
from agentwrit_guard.contrib.starlette import requires_scope as starlette_rule
from agentwrit_guard.core.claims import parse_claims
from agentwrit_guard.errors import ConfigurationError
from tests.kit.stub import StubBroker, invalid
from tests.kit.tokens import claims, token


def auth(*scopes: str, **changes: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(scope=list(scopes), **changes)}"}


@pytest.fixture
def app(guard: Guard) -> FastAPI:
    made = FastAPI()
    made.add_middleware(GuardMiddleware, guard=guard)
    return made


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, raise_server_exceptions=False) as made:
        yield made


def status(client: TestClient, path: str, *scopes: str, method: str = "GET", **more: Any) -> int:
    return client.request(method, path, headers=auth(*scopes), **more).status_code


def test_the_handlers_signature_is_kept() -> None:
    def handler(customer_id: int, q: str = "x", **rest: int) -> str:
        """Text."""
        return q

    guarded = requires_scope("read:customers:{customer_id}")(handler)
    names = list(inspect.signature(guarded).parameters)
    assert names[:2] == ["customer_id", "q"]
    assert names[-1] == "rest"
    assert (guarded.__name__, guarded.__doc__) == ("handler", "Text.")
    assert not inspect.iscoroutinefunction(guarded)


def test_openapi_shows_scheme_and_scopes(app: FastAPI, client: TestClient) -> None:
    router = APIRouter(prefix="/v1", dependencies=[Security(agent_security, scopes=["read:api:v1"])])

    @router.get("/customers/{customer_id}")
    @requires_scope("read:customers:{customer_id}")
    async def customer(customer_id: int, q: str = "") -> None: ...

    app.include_router(router)
    schema = app.openapi()
    operation = schema["paths"]["/v1/customers/{customer_id}"]["get"]
    assert schema["components"]["securitySchemes"] == {
        "AgentWrit": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    }
    (security,) = operation["security"]
    assert sorted(security["AgentWrit"]) == ["read:api:v1", "read:customers:{customer_id}"]
    assert [parameter["name"] for parameter in operation["parameters"]] == ["customer_id", "q"]
    assert "requestBody" not in operation


def test_router_and_decorator_are_both_required(app: FastAPI, client: TestClient, broker: StubBroker) -> None:
    router = APIRouter(prefix="/v1", dependencies=[Security(agent_security, scopes=["read:api:v1"])])

    @router.get("/customers/{customer_id}")
    @requires_scope("read:customers:{customer_id}")
    async def customer(customer_id: int, agent: CurrentAgent) -> str:
        return agent.agent_id

    app.include_router(router)
    assert status(client, "/v1/customers/7", "read:customers:7") == 403
    assert status(client, "/v1/customers/7", "read:api:v1") == 403
    assert status(client, "/v1/customers/7", "read:api:v1", "read:customers:7") == 200
    assert broker.calls == 3


def test_a_scope_in_the_dependency_reads_the_path(app: FastAPI, client: TestClient) -> None:
    @app.get("/data/{xid}")
    async def data(agent: Annotated[Principal, Security(agent_security, scopes=["read:data:{xid}"])]) -> str:
        return agent.agent_id

    assert status(client, "/data/7", "read:data:7") == 200
    assert status(client, "/data/8", "read:data:7") == 403
    assert status(client, "/data/*", "read:data:*") == 403


class Colour(str, enum.Enum):
    RED = "red"


def _handlers(app: FastAPI) -> None:
    @app.get("/int/{xid}")
    @requires_scope("read:data:{xid}")
    async def whole(xid: int) -> int:
        return xid

    @app.get("/uuid/{xid}")
    @requires_scope("read:data:{xid}")
    def unique(xid: uuid.UUID) -> str:
        return str(xid)

    @app.get("/colour/{xid}")
    @requires_scope("read:data:{xid}")
    def colour(xid: Colour) -> str:
        return xid

    @app.get("/alias/{xid}")
    @requires_scope("read:data:{xid}")
    async def alias(other: Annotated[int, Path(alias="xid")]) -> int:
        return other

    @app.get("/convertor/{xid:int}")
    @requires_scope("read:data:{xid}")
    async def convertor(xid: int) -> int:
        return xid

    @app.get("/unused/{xid:int}")
    @requires_scope("read:data:{xid}")
    async def unused() -> None: ...

    @app.get("/deep/{xid:path}")
    @requires_scope("read:data:{xid}")
    async def deep(xid: str) -> str:
        return xid


@pytest.mark.parametrize("prefix", ["", "/v1"])
@pytest.mark.parametrize("kind", ["int", "alias", "convertor", "unused"])
def test_s_13_only_the_canonical_integer_is_taken(app: FastAPI, client: TestClient, kind: str, prefix: str) -> None:
    router = APIRouter()
    _handlers(router)
    app.include_router(router, prefix=prefix)
    assert status(client, f"{prefix}/{kind}/7", "read:data:7") == 200
    assert status(client, f"{prefix}/{kind}/8", "read:data:7") == 403
    for odd in ("07", "+7", "7_0", "1_0", "%D9%A7", "7.0", "%207"):
        holder = ("read:data:7", "read:data:70", "read:data:10", f"read:data:{odd}")
        assert status(client, f"{prefix}/{kind}/{odd}", *holder) in (403, 404, 422), odd
        assert status(client, f"{prefix}/{kind}/{odd}", "read:data:*") in (403, 404, 422), odd


def test_s_13_other_converted_values(app: FastAPI, client: TestClient) -> None:
    _handlers(app)
    known = "0f8fad5b-d9cb-469f-a165-70867728950e"
    assert status(client, f"/uuid/{known}", f"read:data:{known}") == 200
    assert status(client, f"/uuid/{known.upper()}", f"read:data:{known}") == 403
    assert status(client, f"/uuid/{known.replace('-', '')}", f"read:data:{known}") == 403
    assert status(client, "/colour/red", "read:data:red") == 200


@pytest.mark.parametrize(
    "odd", ["*", "%2a", "a%3Ab", "..%2fx", "a/b", "%20", "a%20", "%00", "a%0d%0ab", "%ff", ".", "é"]
)
def test_s_08_to_s_10_values_that_are_no_identifier(app: FastAPI, client: TestClient, odd: str) -> None:
    _handlers(app)
    assert status(client, f"/deep/x{odd}" if odd == "." else f"/deep/{odd}", "read:data:*") in (
        (200,) if odd == "." else (403, 404)
    )


def test_s_11_a_variable_that_is_not_in_the_route(app: FastAPI, client: TestClient) -> None:
    @app.get("/query")
    @requires_scope("read:data:{xid}")
    async def query(xid: str) -> str:
        return xid

    @app.post("/body")
    @requires_scope("read:data:{xid}")
    async def body(xid: Annotated[str, Body()]) -> str:
        return xid

    assert status(client, "/query?xid=7", "read:data:7", "read:data:*") == 403
    assert status(client, "/body", "read:data:7", "read:data:*", method="POST", json="7") == 403


def test_any_of_charset_max_depth_and_delegated(app: FastAPI, client: TestClient) -> None:
    @app.get("/any/{xid}")
    @requires_any_scope("read:data:{xid}", "read:orders:{xid}", charset=r"[a-z:]+")
    def any_(xid: str) -> str:
        return xid

    assert status(client, "/any/a:b", "read:orders:a:b") == 200
    assert status(client, "/any/a:b", "read:orders:a") == 403
    assert status(client, "/any/7", "read:data:*") == 403


def test_generators_are_judged_before_they_start(app: FastAPI, client: TestClient) -> None:
    ran: list[str] = []

    @app.get("/items/{xid}")
    @requires_scope("read:data:{xid}")
    async def items(xid: int) -> Any:
        ran.append("async")
        yield {"xid": xid}

    @app.get("/sync/{xid}")
    @requires_scope("read:data:{xid}")
    def sync_items(xid: int) -> Any:
        ran.append("sync")
        yield {"xid": xid}

    for path in ("/items", "/sync"):
        assert status(client, f"{path}/8", "read:data:7") == 403
        assert ran == []
        assert status(client, f"{path}/007", "read:data:007") != 200
        assert ran == []
        assert status(client, f"{path}/7", "read:data:7") == 200
        assert ran.pop()


def test_the_body_is_not_looked_at_before_the_agent(guard: Guard) -> None:
    app = FastAPI()

    class Order(BaseModel):
        amount: int

    @app.post("/orders")
    @requires_scope("write:orders:new", guard=guard)
    async def order(order: Order) -> int:
        return order.amount

    client = TestClient(app)
    assert client.post("/orders", json={"amount": "x"}).status_code == 401
    assert client.post("/orders", json={"amount": 1}, headers=auth("write:orders:new")).status_code == 200
    assert client.post("/orders", json={"amount": 1}, headers=auth("write:orders:old")).status_code == 403


def _principal(*scopes: str) -> Principal:
    parsed = parse_claims(claims(scope=list(scopes)))
    assert parsed is not None
    return Principal(parsed, 0.0, "test")


def test_dependency_overrides_need_no_broker() -> None:
    app = FastAPI()

    @app.get("/customers/{customer_id}")
    @requires_scope("read:customers:{customer_id}")
    async def customer(customer_id: int, agent: CurrentAgent) -> str:
        return agent.agent_id

    app.dependency_overrides[agent_security] = lambda: _principal("read:customers:7")
    client = TestClient(app)
    assert client.get("/customers/7").status_code == 200
    refused = client.get("/customers/8")
    assert refused.status_code == 403
    assert refused.json()["missing_scopes"] == ["read:customers:8"]


def test_without_middleware_or_guard_the_handler_never_runs() -> None:
    app = FastAPI()
    ran: list[int] = []

    @app.get("/x")
    @requires_scope("read:x:1")
    def handler() -> None:
        ran.append(1)

    with pytest.raises(ConfigurationError, match="GuardMiddleware"):
        TestClient(app).get("/x", headers=auth("read:x:1"))
    assert TestClient(app, raise_server_exceptions=False).get("/x", headers=auth("read:x:1")).status_code == 500
    assert ran == []


def test_r_15_error_handlers_of_the_app_cannot_turn_a_refusal_into_a_pass(app: FastAPI, client: TestClient) -> None:
    async def swallow(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"ok": True})

    for kind in (HTTPException, 401, 403, Exception):
        app.add_exception_handler(kind, swallow)

    @app.get("/data/{xid}")
    async def data(agent: Annotated[Principal, Security(agent_security, scopes=["read:data:{xid}"])]) -> str:
        return agent.agent_id

    refused = client.get("/data/8", headers=auth("read:data:7"))
    assert refused.status_code == 403
    assert refused.json()["error_code"] == "insufficient_scope"


def test_a_mounted_app_answers_as_the_outer_one(app: FastAPI, client: TestClient) -> None:
    inner = FastAPI()
    _handlers(inner)
    app.mount("/inner", inner)
    assert status(client, "/inner/int/7", "read:data:7") == 200
    assert status(client, "/inner/int/8", "read:data:7") == 403
    assert status(client, "/inner/convertor/07", "read:data:7", "read:data:07") == 403
    assert client.get("/inner/int/7").status_code == 401


def test_agent_or_logged_in_user(guard: Guard, broker: StubBroker) -> None:
    app = FastAPI()
    app.add_middleware(GuardMiddleware, guard=guard, others="pass")

    def caller(request: Request, agent: OptionalAgent) -> str:
        if agent is not None:
            agent.require("read:profile:me")
            return agent.agent_id
        if request.cookies.get("session") != "alice":
            raise HTTPException(401, "log in")
        return "alice"

    @app.get("/profile")
    def profile(who: Annotated[str, Depends(caller)]) -> str:
        return who

    client = TestClient(app)
    assert client.get("/profile").status_code == 401
    alice = {"Cookie": "session=alice"}
    assert client.get("/profile", headers=alice).json() == "alice"
    assert client.get("/profile", headers={**alice, "Authorization": "Basic eDp5"}).json() == "alice"
    assert "spiffe" in client.get("/profile", headers=auth("read:profile:me")).json()
    assert client.get("/profile", headers=auth("read:profile:you")).status_code == 403
    broker.answer = invalid
    assert client.get("/profile", headers={**alice, **auth("read:profile:me", jti="c" * 32)}).status_code == 401


def test_an_optional_agent_without_middleware(guard: Guard, broker: StubBroker) -> None:
    from agentwrit_guard.contrib.fastapi import OptionalAgentSecurity

    app = FastAPI()
    security = OptionalAgentSecurity(guard)

    @app.get("/who")
    def who(agent: Annotated[Principal | None, Security(security)]) -> str | None:
        return agent.agent_id if agent else None

    client = TestClient(app)
    assert client.get("/who").json() is None
    assert "spiffe" in client.get("/who", headers=auth("a:b:c")).json()
    broker.answer = invalid
    refused = client.get("/who", headers=auth("a:b:c", jti="d" * 32))
    assert (refused.status_code, refused.headers["content-type"]) == (401, "application/problem+json")


def test_requirements_are_checked_at_import() -> None:
    for bad in ((), ("",), ("read",), ("*:data:1",), ("read:*:1",), ("read:data:{a}{b}",), ("admin:revoke:*",)):
        with pytest.raises(ValueError):
            requires_scope(*bad)
    with pytest.raises(ConfigurationError, match="Handler"):

        @requires_scope("read:x:1")
        class Handler:
            pass


def test_two_guards_keep_their_agents_apart(guard: Guard, broker: StubBroker) -> None:
    with StubBroker() as strict:
        strict.answer = invalid
        other = Guard(strict.url, clock=guard._clock)
        app = FastAPI()
        app.add_middleware(GuardMiddleware, guard=guard)

        @app.get("/x")
        async def x(agent: Annotated[Principal, Security(AgentSecurity(other))]) -> str:
            return agent.agent_id

        assert TestClient(app).get("/x", headers=auth("a:b:c")).status_code == 401
        assert (broker.calls, strict.calls) == (1, 1)
        other.close()


def test_a_max_age_is_not_lost_to_an_equal_scope_elsewhere(
    app: FastAPI, client: TestClient, broker: StubBroker
) -> None:
    @app.get("/pay", dependencies=[Security(agent_security, scopes=["write:pay:all"])])
    @requires_scope("write:pay:all", max_age=0)
    async def pay() -> None: ...

    assert status(client, "/pay", "write:pay:all") == 200
    broker.answer = invalid
    assert status(client, "/pay", "write:pay:all") == 401


def normalise(customer_id: str) -> str:
    return customer_id.lower()


def number(xid: int) -> int:
    return xid


def test_s_13_what_dependencies_make_of_a_parameter_counts(app: FastAPI, client: TestClient) -> None:
    ran: list[Any] = []

    @app.get("/plain/{xid}")
    async def plain(
        xid: int, agent: Annotated[Principal, Security(agent_security, scopes=["read:data:{xid}"])]
    ) -> None:
        ran.append(xid)

    @app.get("/c/{customer_id}")
    @requires_scope("read:customers:{customer_id}")
    async def customer(customer_id: Annotated[str, Depends(normalise)]) -> None:
        ran.append(customer_id)

    @app.get("/sub/{xid}")
    @requires_scope("read:data:{xid}")
    async def sub(found: Annotated[int, Depends(number)]) -> None:
        ran.append(found)

    for path in ("/plain", "/sub"):
        for odd in ("07", "1_0", "+7"):
            assert status(client, f"{path}/{odd}", f"read:data:{odd}", "read:data:*") in (403, 422), (path, odd)
    assert status(client, "/c/ABC", "read:customers:ABC", "read:customers:abc") == 403
    assert ran == []
    assert status(client, "/plain/7", "read:data:7") == 200
    assert status(client, "/sub/7", "read:data:7") == 200
    assert status(client, "/c/abc", "read:customers:abc") == 200
    assert status(client, "/plain/x", "read:data:x") == 422
    assert ran == [7, 7, "abc"]


def test_the_text_of_a_path_parameter_below_a_prefix(app: FastAPI, client: TestClient) -> None:
    router = APIRouter()

    @router.get("/{p:path}")
    @requires_scope("read:files:{p}", charset=r"[a-z/]+")
    async def file(p: str) -> str:
        return p

    app.include_router(router, prefix="/api")
    assert status(client, "/api/a/b", "read:files:a/b") == 200
    assert status(client, "/api/a/b", "read:files:api/a/b") == 403


def test_two_decorators_on_one_handler_fail_at_import() -> None:
    with pytest.raises(ConfigurationError, match="twice"):

        @requires_scope("a:b:c")
        @requires_scope("a:b:d")
        def handler() -> None: ...


class Endpoint:
    async def __call__(self) -> str:
        return "ok"


def test_a_callable_object_may_be_async(app: FastAPI, client: TestClient) -> None:
    app.add_api_route("/object", requires_scope("a:b:c")(Endpoint()))
    assert status(client, "/object", "a:b:c") == 200
    assert status(client, "/object", "a:b:d") == 403


@pytest.mark.parametrize("kind", ["async", "sync", "async generator", "generator"])
@pytest.mark.parametrize("place", ["argument", "route", "router", "app"])
@pytest.mark.parametrize("whole", [True, False])
def test_a_dependency_that_requires_a_scope_stops_the_handler(kind: str, place: str, whole: bool, guard: Guard) -> None:
    """What a dependency returns is a value to FastAPI, be it a refusal: the handler would run with it."""
    ran = []
    rule = requires_scope("write:orders:1", guard=None if whole else guard)

    async def asynchronous() -> str:
        return "checked"

    def synchronous() -> str:
        return "checked"

    async def asynchronous_items() -> Any:
        yield "checked"

    def synchronous_items() -> Any:
        yield "checked"

    functions: dict[str, Any] = {
        "async": asynchronous, "sync": synchronous,
        "async generator": asynchronous_items, "generator": synchronous_items,
    }  # fmt: skip
    needs: Any = Depends(rule(functions[kind]))
    app = FastAPI(dependencies=[needs] if place == "app" else [])
    router = APIRouter(dependencies=[needs] if place == "router" else [])
    if place == "argument":

        @router.get("/orders")
        async def with_argument(found: Annotated[str, needs]) -> str:
            ran.append(found)
            return found
    else:

        @router.get("/orders", dependencies=[needs] if place == "route" else [])
        async def without_argument() -> str:
            ran.append("checked")
            return "checked"

    app.include_router(router)
    if whole:
        app.add_middleware(GuardMiddleware, guard=guard)
    with TestClient(app, raise_server_exceptions=False) as client:
        assert status(client, "/orders", "read:orders:1") == 403
        assert client.get("/orders").status_code == 401
        assert ran == []
        assert status(client, "/orders", "write:orders:1") == 200
        assert ran == ["checked"]


@pytest.mark.parametrize("first", ["rule", "security"])
def test_one_of_two_scopes_is_not_both_of_the_same_text(first: str, app: FastAPI, client: TestClient) -> None:
    both = ["read:orders:1", "write:orders:1"]

    @requires_any_scope(*both)
    async def either() -> None: ...

    needs = [Depends(either), Security(agent_security, scopes=both)]

    @app.get("/orders", dependencies=needs if first == "rule" else needs[::-1])
    async def orders() -> None: ...

    assert status(client, "/orders", both[0]) == 403
    assert status(client, "/orders", *both) == 200


@pytest.mark.parametrize("sync", [True, False])
@pytest.mark.parametrize("whole", [True, False])
def test_starlettes_rule_on_a_dependency_stops_the_handler(sync: bool, whole: bool, guard: Guard) -> None:
    ran = []
    rule = starlette_rule("write:orders:1", guard=None if whole else guard)

    def synchronous(request: Request) -> None: ...

    async def asynchronous(request: Request) -> None: ...

    app = FastAPI(dependencies=[Depends(rule(synchronous if sync else asynchronous))])
    if whole:
        app.add_middleware(GuardMiddleware, guard=guard)

    @app.get("/orders")
    async def orders() -> None:
        ran.append("orders")

    with TestClient(app, raise_server_exceptions=False) as client:
        assert client.get("/orders").status_code == 401
        assert status(client, "/orders", "read:orders:1") == 403
        assert ran == []
        assert status(client, "/orders", "write:orders:1") == 200


@pytest.mark.parametrize("kind", [403, HTTPException, Exception])
def test_r_15_without_a_middleware_no_error_handler_sees_a_refusal(kind: Any, guard: Guard) -> None:
    async def swallow(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({})

    app = FastAPI()
    app.add_exception_handler(kind, swallow)

    @app.get("/orders")
    @requires_scope("write:orders:1", guard=guard)
    async def orders() -> None: ...

    with TestClient(app, raise_server_exceptions=False) as client:
        assert status(client, "/orders", "read:orders:1") == 403
