"""`as_agent`: which client it gives, whose requests carry which agent, and for how long."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, WebSocket
from flask import Flask
from flask.testing import FlaskClient
from starlette.applications import Starlette
from starlette.testclient import TestClient, WebSocketDenialResponse

from agentwrit_guard import Allowed, Clock, Guard, wsgi
from agentwrit_guard import testrun as testrun_module
from agentwrit_guard.asgi import GuardMiddleware
from agentwrit_guard.contrib import fastapi as guard_fastapi
from agentwrit_guard.contrib import flask as guard_flask
from agentwrit_guard.errors import ConfigurationError
from agentwrit_guard.testing import AsAgent, StoppedClock, assert_denied, fake_principal
from tests.kit.drivers import Request
from tests.kit.fronts import FRONTS
from tests.testing.suite import Suite

NOBODY = "http://127.0.0.1:9"
READER = ["read:customers:7291"]


def flask_app() -> Flask:
    app = Flask("customers")
    guard_flask.FlaskGuard(app, broker_url=NOBODY)

    @app.get("/customers/<customer_id>")
    @guard_flask.requires_scope("read:customers:{customer_id}", max_age=0)
    def read(customer_id: str) -> dict[str, str]:
        return {"agent": guard_flask.current_agent.agent_id}

    return app


@pytest.fixture
def app() -> FastAPI:
    made = FastAPI()
    made.add_middleware(GuardMiddleware, guard=Guard(NOBODY))

    @made.get("/customers/{customer_id}")
    @guard_fastapi.requires_scope("read:customers:{customer_id}", max_age=0)
    async def read(customer_id: str, agent: guard_fastapi.CurrentAgent) -> dict[str, str]:
        return {"agent": agent.agent_id}

    @made.get("/direct")
    @guard_fastapi.requires_scope("read:customers:7291", delegated=False)
    async def direct() -> None: ...

    @made.websocket("/ws")
    @guard_fastapi.requires_scope("read:customers:7291")
    async def websocket(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close()

    return made


KINDS: dict[str, tuple[Any, type]] = {
    "flask": (flask_app, FlaskClient),
    "wsgi": (lambda: FRONTS["wsgi"](Guard(NOBODY)).app, httpx.Client),
    "asgi": (lambda: FRONTS["asgi"](Guard(NOBODY)).app, TestClient),
    "starlette": (lambda: FRONTS["starlette"](Guard(NOBODY)).app, TestClient),
    "fastapi": (lambda: FRONTS["fastapi"](Guard(NOBODY)).app, TestClient),
    "flask in a middleware": (lambda: wsgi.GuardMiddleware(flask_app(), Guard(NOBODY)), httpx.Client),
    "a function": (lambda: _wsgi_function(Guard(NOBODY)), httpx.Client),
}


def _wsgi_function(guard: Guard) -> Any:
    inner = FRONTS["wsgi"](guard).app

    def application(environ: Any, start_response: Any) -> Any:
        return inner(environ, start_response)

    return application


@pytest.mark.parametrize("make, kind", KINDS.values(), ids=KINDS)
def test_each_kind_of_app_has_its_client(as_agent: AsAgent, make: Any, kind: type) -> None:
    client = as_agent(READER, app=make())
    assert isinstance(client, kind)
    assert client.get("/customers/7291").status_code == 200
    assert_denied(client.get("/customers/1"), 403, missing=["read:customers:1"])
    # A request's own header stays.
    assert_denied(client.get("/customers/7291", headers={"Authorization": "Bearer a b"}), 400)


def test_the_fixture_app_is_the_app(as_agent: AsAgent) -> None:
    client = as_agent(READER)
    assert client.get("/customers/7291").json()["agent"].startswith("spiffe://agentwrit.local/agent/orch/task/")
    with client.websocket_connect("/ws"):
        pass
    with pytest.raises(WebSocketDenialResponse) as refused, as_agent().websocket_connect("/ws"):
        pass
    assert_denied(refused.value, 403, missing=READER)


def test_two_clients_are_two_agents(as_agent: AsAgent) -> None:
    first, second = as_agent(READER), as_agent(["read:customers:1"])
    assert_denied(first.get("/customers/1"), 403)
    assert_denied(second.get("/customers/7291"), 403)
    mine, other = (client.get(path).json() for client, path in ((first, "/customers/7291"), (second, "/customers/1")))
    assert mine != other


def test_it_takes_what_fake_principal_takes(as_agent: AsAgent) -> None:
    who = "spiffe://agentwrit.local/agent/a/b/c"
    assert as_agent(READER, agent_id=who).get("/customers/7291").json() == {"agent": who}
    assert_denied(as_agent(READER, expires_in=0).get("/customers/7291"), 401)
    heir = as_agent(READER, delegated_by=fake_principal(READER))
    assert heir.get("/customers/7291").status_code == 200
    assert_denied(heir.get("/direct"), 403, missing=[])
    assert as_agent(READER).get("/direct").status_code == 200
    with pytest.raises(TypeError, match="scopes"):
        as_agent(scopes=READER)


def test_it_expires_by_the_clock(as_agent: AsAgent, agentwrit_clock: StoppedClock) -> None:
    client = as_agent(READER, expires_in=60)
    agentwrit_clock.move(58)
    assert client.get("/customers/7291").status_code == 200
    agentwrit_clock.move(2)
    assert_denied(client.get("/customers/7291"), 401)


def test_headers_are_for_any_client(as_agent: AsAgent, app: FastAPI) -> None:
    headers = as_agent.headers(READER)
    assert list(headers) == ["Authorization"]
    with TestClient(app) as client:
        assert client.get("/customers/7291", headers=headers).status_code == 200
        assert_denied(client.get("/customers/7291"), 401)


def test_it_is_judged_where_others_pass(as_agent: AsAgent) -> None:
    """Its token is one of our kind: a bad one never falls through to the app's own login."""
    app = FRONTS["starlette"](Guard(NOBODY), others="pass").app
    assert as_agent(READER, app=app).get("/whoami").json() is not None
    assert_denied(as_agent(READER, app=app, expires_in=0).get("/whoami"), 401)
    assert TestClient(app).get("/whoami").json() is None


def test_guards_that_are_made_later_know_it(as_agent: AsAgent) -> None:
    authorization = [as_agent.headers(READER)["Authorization"].encode()]
    for guard in (Guard(NOBODY), Guard.from_env(broker_url="https://broker.example", clock=Clock())):
        assert isinstance(guard.check(authorization), Allowed)


def test_afterwards_it_is_a_token_like_any_other(suite: Suite) -> None:
    suite.write(
        test_it="""
            import pytest
            from agentwrit_guard import Allowed, Guard, Lookup
            from agentwrit_guard.devbroker import DevBroker

            @pytest.fixture(scope="module")
            def broker():
                with DevBroker() as broker:
                    yield broker

            @pytest.fixture(scope="module")
            def guards(broker):
                guards = [Guard(broker.url), Guard("http://127.0.0.1:9")]
                yield guards
                for guard in guards:
                    guard.close()

            made = []

            def test_while_it_lasts(guards, as_agent, agentwrit_clock):
                made.append(as_agent.headers(["read:a:1"])["Authorization"].encode())
                guards.append(Guard("http://127.0.0.1:9"))
                for guard in guards:
                    assert isinstance(guard.check(made), Allowed)

            def test_afterwards(guards):
                for guard, status in zip([*guards, Guard("http://127.0.0.1:9")], (401, 503, 503, 503)):
                    assert isinstance(guard.decide(made), Lookup)
                    assert guard.check(made).status == status

            def test_another_ones_do_not_know_it_either(guards, as_agent):
                assert guards[1].check(made).status == 503
                assert isinstance(guards[1].check([as_agent.headers()["Authorization"].encode()]), Allowed)
        """
    )
    outcome = suite.run()
    assert outcome.counts == {"passed": 3}, outcome.output


def test_outside_a_test_run_it_makes_nobody(as_agent: AsAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testrun_module, "active", lambda: False)
    with pytest.raises(ConfigurationError, match="test run only"):
        as_agent.headers(READER)


@pytest.mark.parametrize("app", [object(), lambda one: None, 7], ids=["object", "one argument", "number"])
def test_what_is_no_app(as_agent: AsAgent, app: Any) -> None:
    with pytest.raises(ConfigurationError, match="ASGI or WSGI app"):
        as_agent(READER, app=app)


def test_without_an_app_it_says_what_to_do(suite: Suite) -> None:
    suite.write(
        test_it="""
            import pytest

            def test_it(as_agent):
                as_agent(["read:a:1"])
        """
    )
    outcome = suite.run()
    assert outcome.counts == {"failed": 1}
    assert "app=..." in outcome.output
    assert "a fixture named app" in outcome.output


def test_a_fixture_that_the_app_lacks_is_named(suite: Suite) -> None:
    suite.write(
        test_it="""
            import pytest

            @pytest.fixture
            def app(database):
                return None

            def test_it(as_agent):
                as_agent(["read:a:1"])
        """
    )
    outcome = suite.run()
    assert "fixture 'database' not found" in outcome.output
    assert "as_agent has no app" not in outcome.output


def test_a_client_may_be_used_in_a_with(as_agent: AsAgent) -> None:
    told: list[str] = []

    @asynccontextmanager
    async def lifespan(app: Any) -> Any:
        told.append("up")
        yield
        told.append("down")

    with as_agent(app=GuardMiddleware(Starlette(lifespan=lifespan), Guard(NOBODY))) as client:
        assert client.get("/").status_code == 404
        assert told == ["up"]
    assert told == ["up", "down"]


def test_other_tokens_are_looked_at_as_ever(as_agent: AsAgent) -> None:
    as_agent.headers(READER)
    front = FRONTS["starlette"](Guard(NOBODY))
    for value in (b"Bearer x", b"Bearer a b", b""):
        assert front.request(Request("/me", headers=[("Authorization", value)])).status in (400, 401)
