"""Flask: settings, views of every kind, converted values, error handlers of the app."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from flask import Blueprint, Flask, g
from flask.views import MethodView

from agentwrit_guard import Guard
from agentwrit_guard.contrib.flask import FlaskGuard, current_agent, requires_any_scope, requires_scope
from agentwrit_guard.errors import ConfigurationError
from tests.contrib.test_fastapi import auth
from tests.kit.stub import StubBroker
from tests.kit.tokens import AGENT


@pytest.fixture
def app(guard: Guard) -> Flask:
    made = Flask("guarded")
    FlaskGuard(made, guard=guard)
    return made


def status(app: Flask, path: str, *scopes: str, method: str = "GET") -> int:
    return app.test_client().open(path, method=method, headers=auth(*scopes)).status_code


@pytest.mark.parametrize(
    "rule, path, scopes, expected",
    [
        ("/d/<xid>", "/d/7", ["read:data:7"], 200),
        ("/d/<xid>", "/d/8", ["read:data:7"], 403),
        ("/d/<xid>", "/d/%2a", ["read:data:*"], 403),
        ("/d/<xid>", "/d/a%3Ab", ["read:data:*"], 403),
        ("/d/<xid>/", "/d/7/", ["read:data:7"], 200),
        ("/d/<int:xid>", "/d/7", ["read:data:7"], 200),
        ("/d/<int:xid>", "/d/07", ["read:data:7", "read:data:07"], 403),
        ("/d/<int:xid>", "/d/%D9%A7", ["read:data:7", "read:data:*"], 403),
        ("/d/<int(fixed_digits=3):xid>", "/d/007", ["read:data:7", "read:data:007"], 403),
        ("/d/<int(signed=True):xid>", "/d/-7", ["read:data:-7"], 200),
        ("/d/<float:xid>", "/d/1.50", ["read:data:1.5", "read:data:1.50"], 403),
        ("/d/<uuid:xid>", "/d/0F8FAD5B-D9CB-469F-A165-70867728950E", ["read:data:*"], 403),
        ("/d/<path:xid>", "/d/a/b", ["read:data:*"], 403),
        ("/d/<path:xid>", "/d/a", ["read:data:a"], 200),
        ("/d/<any(a, b):xid>", "/d/a", ["read:data:a"], 200),
        ("/<int:other>/<int:xid>", "/7/007", ["read:data:7"], 403),
        ("/<int:other>/<int:xid>", "/007/7", ["read:data:7"], 200),
        ("/d/c-<int:xid>.json", "/d/c-7.json", ["read:data:7"], 200),
        ("/d/c-<int:xid>.json", "/d/c-07.json", ["read:data:7", "read:data:07"], 403),
        ("/d/<other>-<xid>", "/d/x-y-z", ["read:data:z"], 200),
        ("/d/<other>-<xid>", "/d/x-y-z", ["read:data:y-z"], 403),
        ("/<path:other>/<int:xid>", "/a/b/7", ["read:data:7"], 200),
        ("/<path:other>/<int:xid>", "/a/b/07", ["read:data:7"], 403),
    ],
)
def test_a_template_is_judged_on_text_and_value(
    app: Flask, rule: str, path: str, scopes: list[str], expected: int
) -> None:
    @app.get(rule)
    @requires_scope("read:data:{xid}")
    def view(xid: Any, other: Any = None) -> str:
        return "ok"

    assert status(app, path, *scopes) == expected


def test_a_variable_that_is_not_in_the_rule(app: Flask) -> None:
    @app.get("/q")
    @requires_scope("read:data:{xid}")
    def view() -> str:
        return "ok"

    assert status(app, "/q?xid=7", "read:data:7", "read:data:*") == 403


def test_views_of_every_kind(app: Flask, broker: StubBroker) -> None:
    class Orders(MethodView):
        decorators: ClassVar[list[Any]] = [requires_scope("read:api:v1")]

        @requires_scope("read:orders:{xid}")
        def get(self, xid: int) -> str:
            assert current_agent.agent_id == AGENT
            return "ok"

    blueprint = Blueprint("v1", "v1", url_prefix="/v1")

    @blueprint.get("/any/<xid>")
    @requires_any_scope("read:orders:{xid}", "read:data:{xid}")
    def either(xid: str) -> str:
        return "ok"

    app.add_url_rule("/orders/<int:xid>", view_func=Orders.as_view("orders"))
    app.register_blueprint(blueprint)
    assert status(app, "/orders/7", "read:api:v1", "read:orders:7") == 200
    assert status(app, "/orders/7", "read:orders:7") == 403
    assert status(app, "/orders/7", "read:api:v1") == 403
    assert status(app, "/v1/any/7", "read:data:7") == 200
    assert status(app, "/v1/any/7", "read:data:8") == 403
    assert app.test_client().head("/orders/7").status_code == 401
    assert app.test_client().options("/orders/7").status_code == 401


def test_async_views(app: Flask) -> None:
    pytest.importorskip("asgiref", reason="Flask needs asgiref for async views")

    @app.get("/d/<xid>")
    @requires_scope("read:data:{xid}")
    async def view(xid: str) -> str:
        return xid

    assert status(app, "/d/7", "read:data:7") == 200
    assert status(app, "/d/8", "read:data:7") == 403


@pytest.mark.parametrize("overridden", ["class", "instance"])
def test_views_run_as_the_app_runs_views(guard: Guard, overridden: str) -> None:
    class Traced(Flask):
        def ensure_sync(self, func: Any) -> Any:
            ran.append(func.__name__)
            return super().ensure_sync(func)

    def traced(func: Any) -> Any:
        ran.append(func.__name__)
        return func

    ran: list[str] = []
    app = (Traced if overridden == "class" else Flask)("guarded")
    if overridden == "instance":
        app.ensure_sync = traced  # type: ignore[method-assign]
    FlaskGuard(app, guard=guard)

    @requires_scope("read:data:7")
    def inner() -> str:
        return "inner"

    @app.get("/")
    def outer() -> str:
        ran.clear()
        return inner()

    assert status(app, "/", "read:data:7") == 200
    assert ran == ["inner"]


def test_there_is_no_agent_where_none_was_judged(guard: Guard) -> None:
    app = Flask("guarded")
    FlaskGuard(app, guard=guard, public=["/open"])

    @app.get("/open")
    def view() -> str:
        return "agent" if current_agent else "nobody"

    assert app.test_client().get("/open").text == "nobody"
    assert not current_agent
    with app.test_request_context("/open"):
        assert not current_agent


def test_r_15_the_app_cannot_turn_a_refusal_into_a_pass(app: Flask) -> None:
    @app.errorhandler(Exception)
    def swallow(error: Exception) -> str:
        return "fine"

    @app.after_request
    def mend(response: Any) -> Any:
        response.status_code = 200
        response.headers.pop("WWW-Authenticate", None)
        return response

    @app.get("/d/<xid>")
    @requires_scope("read:data:{xid}")
    def view(xid: str) -> str:
        return "ok"

    @app.get("/require")
    def require() -> str:
        current_agent.require("read:data:9")
        return "ok"

    refused = app.test_client().get("/d/8", headers=auth("read:data:7"))
    assert refused.status_code == 403
    assert 'scope="read:data:8"' in refused.headers["WWW-Authenticate"]
    assert app.test_client().get("/require", headers=auth("read:data:7")).status_code == 403


def test_r_16_nothing_of_the_app_comes_before_the_guard(app: Flask) -> None:
    @app.before_request
    def early() -> str:
        return "early"

    assert app.test_client().get("/x").status_code == 401
    assert app.test_client().get("/static/x").status_code == 401


def test_settings_come_from_keywords_config_and_environment(
    monkeypatch: pytest.MonkeyPatch, broker: StubBroker
) -> None:
    monkeypatch.setenv("AGENTWRIT_BROKER_URL", broker.url)
    monkeypatch.setenv("AGENTWRIT_CACHE_TTL", "7")
    monkeypatch.setenv("AGENTWRIT_TIMEOUT", "3")
    app = Flask("x")
    app.config.update(AGENTWRIT_TIMEOUT=4, AGENTWRIT_REALM="configured", AGENTWRIT_PUBLIC=["/open"])
    FlaskGuard(app, realm="keyword")

    @app.get("/open")
    def view() -> str:
        return "ok"

    guard: Guard = app.extensions["agentwrit_guard"]
    assert (guard.settings.cache_ttl, guard.settings.timeout, guard.settings.realm) == (7.0, 4, "keyword")
    assert app.test_client().get("/open").status_code == 200
    assert app.test_client().get("/closed").status_code == 401


def test_wrong_settings_fail_at_start_up(monkeypatch: pytest.MonkeyPatch, guard: Guard) -> None:
    monkeypatch.delenv("AGENTWRIT_BROKER_URL", raising=False)
    with pytest.raises(ConfigurationError, match="broker_url"):
        FlaskGuard(Flask("x"))
    with pytest.raises(ConfigurationError, match="cache_ttl"):
        FlaskGuard(Flask("x"), broker_url="http://127.0.0.1:1", cache_ttl=61)
    with pytest.raises(ConfigurationError, match="cache_ttl"):
        FlaskGuard(Flask("x"), guard=guard, cache_ttl=1)
    with pytest.raises(ConfigurationError, match="View"):

        @requires_scope("a:b:c")
        class View(MethodView):
            pass


def test_one_extension_serves_several_apps(guard: Guard) -> None:
    extension = FlaskGuard(guard=guard)
    apps = [Flask("a"), Flask("b")]
    for app in apps:
        extension.init_app(app)
        assert app.test_client().get("/x").status_code == 401


def test_without_extension_the_view_never_runs() -> None:
    app = Flask("x")
    app.testing = True

    @app.get("/x")
    @requires_scope("a:b:c")
    def view() -> str:
        raise AssertionError("ran")

    with pytest.raises(ConfigurationError, match="guard"):
        app.test_client().get("/x", headers=auth("a:b:c"))


def test_flask_globals_are_left_alone(app: Flask) -> None:
    @app.get("/g")
    def view() -> str:
        return repr(sorted(g))

    assert app.test_client().get("/g", headers=auth("a:b:c")).text == "[]"


def test_a_slash_at_the_end_that_the_rule_forgives(app: Flask) -> None:
    app.url_map.strict_slashes = False

    @app.get("/d/<int:xid>")
    @requires_scope("read:data:{xid}")
    def view(xid: int) -> str:
        return "ok"

    assert status(app, "/d/7/", "read:data:7") == 200
    assert status(app, "/d/07/", "read:data:7") == 403


def test_values_that_the_app_takes_out_before_the_view(app: Flask) -> None:
    @app.url_value_preprocessor
    def pull(endpoint: str | None, values: dict[str, Any] | None) -> None:
        if values:
            values.pop("lang", None)

    @app.get("/<lang>/<int:xid>")
    @requires_scope("read:data:{xid}")
    def view(xid: int) -> str:
        return "ok"

    assert status(app, "/en/7", "read:data:7") == 200
    assert status(app, "/en/07", "read:data:7") == 403


def test_a_default_of_the_rule_is_no_text_of_the_path(app: Flask) -> None:
    @app.route("/d", defaults={"xid": 7})
    @requires_scope("read:data:{xid}")
    def view(xid: int) -> str:
        return "ok"

    assert status(app, "/d", "read:data:7") == 403


@pytest.mark.parametrize("place", ["helper", "url_value_preprocessor", "before_request"])
@pytest.mark.parametrize("whole", [True, False])
def test_a_refusal_stops_the_view_wherever_the_rule_stands(guard: Guard, place: str, whole: bool) -> None:
    """What a function returns that is no view goes nowhere."""
    app, ran = Flask("x"), []

    @requires_scope("write:orders:1", guard=None if whole else guard)
    def needs(*_: object) -> None: ...

    if place != "helper":
        getattr(app, place)(needs)

    @app.get("/orders")
    def orders() -> str:
        if place == "helper":
            needs()
        ran.append("orders")
        return "orders"

    @app.errorhandler(Exception)
    def swallow(error: Exception) -> str:
        return "swallowed"

    if whole:
        FlaskGuard(app, guard=guard)
    assert (status(app, "/orders", "read:orders:1"), ran) == (403, [])
    assert (status(app, "/orders", "write:orders:1"), ran) == (200, ["orders"])
