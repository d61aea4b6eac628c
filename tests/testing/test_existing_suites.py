"""Adding the guard to an app must not break its tests: shown on suites that know nothing of agents."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.testing.suite import Suite

URL = "http://127.0.0.1:9"


@dataclass(frozen=True)
class Api:
    """An app, its suite of four tests, the lines that add the guard, and the conftest that keeps the suite going."""

    app: str
    guard: str
    tests: str
    conftest: str


FASTAPI = Api(
    app="""
        from fastapi import Depends, FastAPI, HTTPException
        from fastapi.security import HTTPBasic, HTTPBasicCredentials

        app = FastAPI()
        basic = HTTPBasic()
        notes = {}

        @app.get("/health")
        def health():
            return "ok"

        @app.get("/notes/{note_id}")
        async def read_note(note_id: str):
            if note_id not in notes:
                raise HTTPException(404)
            return notes[note_id]

        @app.put("/notes/{note_id}")
        def write_note(note_id: str, text: str, user: HTTPBasicCredentials = Depends(basic)):
            notes[note_id] = f"{user.username}: {text}"
            return notes[note_id]
    """,
    guard="""
        from agentwrit_guard import Guard
        from agentwrit_guard.contrib.fastapi import GuardMiddleware

        guard = Guard.from_env()
        app.add_middleware(GuardMiddleware, guard=guard, public=["/health"])
    """,
    tests="""
        import pytest
        from fastapi.testclient import TestClient
        from app import app, notes

        @pytest.fixture
        def client():
            notes.clear()
            with TestClient(app) as client:
                yield client

        def test_unknown(client):
            assert client.get("/notes/1").status_code == 404

        def test_write_and_read(client):
            assert client.put("/notes/1?text=a", auth=("ann", "x")).json() == "ann: a"
            assert client.get("/notes/1").json() == "ann: a"

        def test_login(client):
            assert client.put("/notes/1?text=a", auth=("ann", "x")).status_code == 200

        def test_validation(client):
            assert client.put("/notes/1", auth=("ann", "x")).status_code == 422

        def test_health(client):
            assert client.get("/health").json() == "ok"
    """,
    conftest="""
        import pytest
        from agentwrit_guard.testing import fake_principal
        from app import guard

        @pytest.fixture(autouse=True)
        def any_agent():
            with guard.override(fake_principal(["read:notes:*", "write:notes:*"])):
                yield
    """,
)

FLASK = Api(
    app="""
        from flask import Flask, abort, request

        app = Flask(__name__)
        notes = {}

        @app.get("/health")
        def health():
            return "ok"

        @app.get("/notes/<note_id>")
        def read_note(note_id):
            return notes.get(note_id) or abort(404)

        @app.put("/notes/<note_id>")
        def write_note(note_id):
            user = request.authorization.username if request.authorization else abort(401)
            notes[note_id] = f"{user}: {request.args['text']}"
            return notes[note_id]
    """,
    guard="""
        from agentwrit_guard.contrib.flask import FlaskGuard

        FlaskGuard(app, public=["/health"])
    """,
    tests="""
        import pytest
        from app import app, notes

        @pytest.fixture
        def client():
            notes.clear()
            return app.test_client()

        def test_unknown(client):
            assert client.get("/notes/1").status_code == 404

        def test_write_and_read(client):
            assert client.put("/notes/1?text=a", auth=("ann", "x")).text == "ann: a"
            assert client.get("/notes/1").text == "ann: a"

        def test_login(client):
            assert client.put("/notes/1?text=a", auth=("ann", "x")).status_code == 200

        def test_bad_request(client):
            assert client.put("/notes/1", auth=("ann", "x")).status_code == 400

        def test_health(client):
            assert client.get("/health").text == "ok"
    """,
    conftest="""
        import pytest
        from agentwrit_guard.testing import fake_principal
        from app import app

        @pytest.fixture(autouse=True)
        def any_agent():
            with app.extensions["agentwrit_guard"].override(fake_principal(["read:notes:*", "write:notes:*"])):
                yield
    """,
)

APIS = pytest.mark.parametrize("api", [FASTAPI, FLASK], ids=["fastapi", "flask"])


@APIS
def test_the_suite_passes_before(api: Api, suite: Suite) -> None:
    suite.write(app=api.app, test_app=api.tests)
    assert suite.run().counts == {"passed": 5}


@APIS
def test_the_guard_is_on_and_breaks_it(api: Api, suite: Suite) -> None:
    suite.write(app=api.app + api.guard, test_app=api.tests)
    outcome = suite.run(AGENTWRIT_BROKER_URL=URL)
    assert outcome.counts == {"passed": 1, "failed": 4}
    assert "assert 401 == 404" in outcome.output


@APIS
def test_the_suite_passes_unchanged_with_one_fixture_and_one_line(api: Api, suite: Suite) -> None:
    suite.write(
        app=api.app + api.guard,
        test_app=api.tests,
        conftest=api.conftest,
        pytest__ini=f"[pytest]\nagentwrit_broker_url = {URL}\n",
    )
    outcome = suite.run()
    assert outcome.counts == {"passed": 5}, outcome.output


@APIS
def test_with_the_plugin_off_nobody_is_let_in(api: Api, suite: Suite) -> None:
    suite.write(app=api.app + api.guard, test_app=api.tests, conftest=api.conftest)
    outcome = suite.run("-p", "no:agentwrit_guard", AGENTWRIT_BROKER_URL=URL)
    assert outcome.counts == {"error": 5}
    assert "it works in a test run only" in outcome.output
