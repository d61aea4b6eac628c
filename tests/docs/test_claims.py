"""What the README says of statuses, caches and limits is what happens."""

from __future__ import annotations

import importlib.util
import logging
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fastapi import Body, FastAPI
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from agentwrit_guard import Allowed, Denied, Guard, all_of, wsgi
from agentwrit_guard.contrib.fastapi import GuardMiddleware, requires_scope
from agentwrit_guard.environ import Environ, StartResponse
from tests.docs import apps
from tests.docs.conftest import World
from tests.docs.pages import read, table
from tests.docs.test_examples import example
from tests.docs.web import Ask, get, running, talk
from tests.kit.clock import MovableClock

VALIDATE = "/v1/token/validate"


def bearer(headers: dict[str, str]) -> list[bytes]:
    return [headers["Authorization"].encode()]


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock(wall=time.time())


@pytest.fixture
def guard(world: World, clock: MovableClock) -> Iterator[Guard]:
    made = Guard(world.broker.url, clock=clock.clock)
    yield made
    made.close()


# The table "What callers get": a request for each row, and how often the broker is asked by it and by its repetition.


def _no_credentials(world: World) -> list[tuple[Ask, int, int]]:
    basic = get("/customers/7291", {"Authorization": "Basic YTpi"})
    return [(get("/customers/7291"), 0, 0), (basic, 0, 0)]


def _unreadable(world: World) -> list[tuple[Ask, int, int]]:
    token = world.clerk["Authorization"]
    twice = ("GET", "/customers/7291", {"headers": [("Authorization", token), ("Authorization", token)]})
    malformed = get("/customers/7291", {"Authorization": token + " more"})
    oversized = get("/customers/7291", {"Authorization": "Bearer " + "a" * 8193})
    query = get("/customers/7291?access_token=x", world.clerk)
    return [(malformed, 0, 0), (twice, 0, 0), (oversized, 0, 0), (query, 0, 0)]


def _wrong_by_its_text(world: World) -> list[tuple[Ask, int, int]]:
    long_lived = world.agent("read:customers:7291", ttl=3601)
    return [(get("/customers/7291", headers), 0, 0) for headers in (long_lived, {"Authorization": "Bearer a.b.c"})]


def _rejected(world: World) -> list[tuple[Ask, int, int]]:
    return [(get("/customers/7291", apps.spoilt(world.clerk)), 1, 0)]


def _without_scope(world: World) -> list[tuple[Ask, int, int]]:
    return [(get("/customers/7292", world.clerk), 1, 0)]


def _no_identifier(world: World) -> list[tuple[Ask, int, int]]:
    return [(get("/customers/*", world.agent("read:customers:*")), 1, 0)]


def _down(world: World) -> list[tuple[Ask, int, int]]:
    return [(get("/customers/7291", world.clerk), 1, 1)]


ROWS: dict[str, Callable[[World], list[tuple[Ask, int, int]]]] = {
    "no credentials, or another scheme": _no_credentials,
    "credentials malformed, repeated or oversized, or in header and query at once": _unreadable,
    "the token's own text is wrong: form, times, lifetime, issuer, audience, kind of principal, delegation chain, "
    "signature where keys are pinned": _wrong_by_its_text,
    "the broker said that the token is not valid": _rejected,
    "a required scope is not held": _without_scope,
    "a value of the path cannot be an identifier, the route wants no such delegation, or nothing held is of "
    "`resources`": _no_identifier,
    "the broker is down, slow, or gives no usable answer": _down,
}


def test_the_status_table_has_the_tested_rows() -> None:
    assert [row[0] for row in table("README.md", "What callers get")] == list(ROWS)


@pytest.mark.parametrize("row", table("README.md", "What callers get"), ids=lambda row: row[0][:40])
def test_status_table(row: list[str], world: World) -> None:
    case, status, header, _ = row
    asks = ROWS[case](world)
    with running(example("fastapi_app.py")) as names:
        for ask, first, again in asks:
            for calls in (first, again):
                before = world.broker.calls[VALIDATE]
                if status == "503":
                    with world.broker.fail(500):
                        (answer,) = talk(names["app"], ask)
                else:
                    (answer,) = talk(names["app"], ask)
                assert (str(answer.status_code), world.broker.calls[VALIDATE] - before) == (status, calls), ask
                assert answer.headers["content-type"] == "application/problem+json"
                assert answer.headers["cache-control"] == "no-store"
                assert answer.headers["x-request-id"]
                challenge = answer.headers.get("www-authenticate", "")
                assert ("retry-after" in answer.headers, challenge == "") == (status == "503", status == "503")
                for part in re.findall(r'error="\w+"', header):
                    assert part in challenge
                assert ("error=" in challenge) == ("error=" in header)
                assert ("scope=" in challenge) == ('scope="..."' in header)


def test_a_forged_token_dies_without_a_call_where_keys_are_pinned(world: World, tmp_path: Path) -> None:
    public = world.broker.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "broker.pem").write_bytes(public)
    guard = Guard(world.broker.url, pinned_keys=[str(tmp_path / "broker.pem")])
    before = world.broker.calls[VALIDATE]
    forged, own = guard.check(bearer(apps.spoilt(world.clerk))), guard.check(bearer(world.clerk))
    guard.close()
    assert isinstance(forged, Denied)
    assert forged.status == 401
    assert isinstance(own, Allowed)
    assert world.broker.calls[VALIDATE] - before == 1


def test_a_token_for_another_api_names_no_scope(world: World) -> None:
    guard = Guard(world.broker.url, resources=["invoices"])
    decision = guard.check(bearer(world.clerk))
    guard.close()
    assert isinstance(decision, Denied)
    assert (decision.status, decision.required) == (403, ())


def test_a_route_that_wants_no_delegation_names_no_scope(world: World) -> None:
    root = world.app.create_agent("orch-1", "task-1", ["read:customers:7291"])
    heir = world.app.create_agent("orch-1", "task-2", ["read:customers:7291"])
    passed_on = root.delegate(heir.agent_id, ["read:customers:7291"])
    guard = Guard(world.broker.url)
    decision = guard.check(bearer(passed_on.bearer_header), all_of("read:customers:7291", delegated=False))
    guard.close()
    assert isinstance(decision, Denied)
    assert (decision.status, decision.required) == (403, ())


# "What a revoke means for a cache".


def test_a_revocation_is_seen_after_the_ttl_and_not_before(world: World, guard: Guard, clock: MovableClock) -> None:
    agent = world.app.create_agent("orch-1", "task-1", ["write:customers:7291"])
    assert isinstance(guard.check(bearer(agent.bearer_header)), Allowed)
    headers = agent.bearer_header
    world.broker.revoke("agent", agent.agent_id)
    clock.move(4.99)
    assert isinstance(guard.check(bearer(headers)), Allowed)
    clock.move(0.01)
    decision = guard.check(bearer(headers))
    assert isinstance(decision, Denied)
    assert decision.status == 401


def test_without_a_ttl_a_revocation_is_seen_at_once(world: World) -> None:
    guard = Guard(world.broker.url, cache_ttl=0)
    agent = world.app.create_agent("orch-1", "task-1", ["write:customers:7291"])
    headers = agent.bearer_header
    assert isinstance(guard.check(bearer(headers)), Allowed)
    agent.release()
    assert isinstance(guard.check(bearer(headers)), Denied)
    guard.close()


def test_no_token_passes_at_its_exp(world: World, clock: MovableClock) -> None:
    guard = Guard(world.broker.url, cache_ttl=60, clock=clock.clock)
    agent = world.app.create_agent("orch-1", "task-1", ["write:customers:7291"], max_ttl=30)
    decision = guard.check(bearer(agent.bearer_header))
    assert isinstance(decision, Allowed)
    clock.move(decision.principal.expires_at - clock.wall - 0.01)
    assert isinstance(guard.check(bearer(agent.bearer_header)), Allowed)
    clock.move(0.01)
    assert isinstance(guard.check(bearer(agent.bearer_header)), Denied)
    guard.close()


def test_in_an_outage_known_tokens_go_on_until_the_ttl(world: World, guard: Guard, clock: MovableClock) -> None:
    assert isinstance(guard.check(bearer(world.clerk)), Allowed)
    with world.broker.outage():
        clock.move(4.9)
        assert isinstance(guard.check(bearer(world.clerk)), Allowed)
        for headers in (world.clerk, world.stranger):
            clock.move(0.2)
            decision = guard.check(bearer(headers))
            assert isinstance(decision, Denied)
            assert decision.status == 503
    assert isinstance(guard.check(bearer(world.stranger)), Allowed)


@pytest.mark.parametrize("level", ["chain", "task"])
def test_what_an_agent_delegated_outlives_its_revocation(level: str, world: World) -> None:
    guard = Guard(world.broker.url, cache_ttl=0)
    root = world.app.create_agent("orch-1", "task-7", ["read:customers:7291"])
    heir = world.app.create_agent("orch-1", "task-8", ["read:customers:1"])
    passed_on = root.delegate(heir.agent_id, ["read:customers:7291"])
    world.broker.revoke("agent", root.agent_id)
    assert isinstance(guard.check(bearer(root.bearer_header)), Denied)
    assert isinstance(guard.check(bearer(passed_on.bearer_header)), Allowed)
    world.broker.revoke(level, root.agent_id if level == "chain" else "task-7")
    assert isinstance(guard.check(bearer(passed_on.bearer_header)), Denied)
    guard.close()


# "Limits to know" and "Not there yet".


def test_an_undecorated_handler_is_open_to_any_agent(world: World) -> None:
    app = FastAPI()
    app.add_middleware(GuardMiddleware, guard=Guard.from_env())

    @app.get("/plain")
    async def plain() -> str:
        return "anybody's"

    assert [answer.status_code for answer in talk(app, get("/plain", world.stranger), get("/plain"))] == [200, 401]


@pytest.mark.parametrize("middleware", [True, False])
def test_without_a_middleware_the_body_is_read_first(middleware: bool, world: World) -> None:
    app, guard = FastAPI(), Guard.from_env()
    if middleware:
        app.add_middleware(GuardMiddleware, guard=guard)

    @app.post("/things")
    @requires_scope("write:things:1", guard=guard)
    async def things(thing: dict[str, int] = Body()) -> None:
        return None

    broken = ("POST", "/things", {"content": b"{", "headers": {"Content-Type": "application/json"}})
    assert talk(app, broken)[0].status_code == (401 if middleware else 422)


def test_each_unknown_token_costs_one_call(world: World, guard: Guard) -> None:
    token = world.clerk["Authorization"]
    before = world.broker.calls[VALIDATE]
    for number in range(20):
        assert isinstance(guard.check([f"{token[:-10]}{number:02}AAAAAAAA".encode()]), Denied)
    assert world.broker.calls[VALIDATE] - before == 20


@pytest.mark.parametrize("end", ["exp", "a deny", "a revocation"])
def test_r_18_an_open_websocket_ends_with_its_agent(world: World, guard: Guard, clock: MovableClock, end: str) -> None:
    """It is silent then: what is said too late is tried elsewhere."""
    app = FastAPI()
    app.add_middleware(GuardMiddleware, guard=guard)

    @app.websocket("/ws")
    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        async for text in websocket.iter_text():
            await websocket.send_text(text)

    agent = world.app.create_agent("orch-1", "task-1", ["read:customers:7291"])
    headers, agent_id = agent.bearer_header, agent.agent_id
    with TestClient(app) as client:
        with client.websocket_connect("/ws", headers=headers) as socket:
            socket.send_text("still here")
            assert socket.receive_text() == "still here"
            if end == "exp":
                clock.move(300)
            elif end == "a deny":
                guard.deny("agent", agent_id)
            else:
                agent.release()
                clock.move(35)
            with pytest.raises(WebSocketDisconnect) as caught:
                socket.receive_text()
            assert (caught.value.code, caught.value.reason) == (1008, "invalid_token")
        assert client.get("/", headers=headers).status_code == 401
    assert "at most 35 s after a revocation" in " ".join(read("README.md").split())


def test_a_wsgi_app_that_is_a_generator_serves_nothing_it_must_not(world: World, guard: Guard) -> None:
    """As the architecture page says: its first chunk is awaited, so that its refusal is a 403 like any other."""

    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        environ["agentwrit_guard"][guard].principal.require("read:secrets:1")
        start_response("200 OK", [])
        yield b"secret"

    (refused,) = talk(wsgi.GuardMiddleware(app, guard), get("/", world.clerk))
    assert refused.status_code == 403


def test_what_is_not_there_yet_is_not_there() -> None:
    """When this fails, something has come: take it from the README's list, and describe it."""
    modules = {
        "Policy files": "policy",
        "the route audit": "audit",
        "MCP": "contrib.mcp",
        "Django": "contrib.django",
        "Litestar": "contrib.litestar",
        "a forward-auth service": "forward",
    }
    section = " ".join(read("README.md").partition("## Not there yet")[2].split())
    for text, name in modules.items():
        assert text in section
        assert importlib.util.find_spec(f"agentwrit_guard.{name}") is None


# Logs.


def test_logs_explain_refusals_and_hold_no_token(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    late = world.agent("read:customers:7291", ttl=7200)
    with running(example("fastapi_app.py")) as names:
        talk(names["app"], get("/customers/7291", world.clerk), get("/customers/7291", late), get("/customers/7291"))
    events = [record for record in caplog.records if record.name == "agentwrit_guard.events"]
    assert [record.levelname for record in events] == ["WARNING"]
    # Reason, setting and fix.
    assert re.match(
        r"lifetime_exceeded: lifetime '?7200'? s is over max_token_lifetime 3600; mint shorter", events[0].getMessage()
    )
    decided = [record for record in caplog.records if record.name == "agentwrit_guard.decisions"]
    assert {record.levelname for record in decided} == {"INFO"}
    phases = [(event.outcome, event.phase) for event in (vars(record)["decision"] for record in decided)]
    assert set(phases) == {("allowed", "middleware"), ("allowed", "requirement"), ("denied", "middleware")}
    assert phases.count(("allowed", "middleware")) == 1
    assert phases.count(("denied", "middleware")) == 2
    for record in caplog.records:
        shown = f"{record.getMessage()} {record.__dict__}"
        for headers in (world.clerk, late):
            signature = headers["Authorization"].rpartition(".")[2]
            assert signature not in shown


def test_the_pieces_of_the_readme_are_in_step_with_each_other() -> None:
    """The default of `cache_ttl` stands in the text, in the block, and in the settings page."""
    assert "`cache_ttl`, 5 seconds by default" in read("README.md").replace("\n", " ")
    assert "| `cache_ttl` | `AGENTWRIT_CACHE_TTL` | `float` | `5.0` | 0 to 60 |" in read("docs/settings.md")
