"""Which requests are judged: public, protect, others, preflights, websockets, and what stands around them."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Any

import fastapi
import flask
import pytest

from agentwrit_guard import Guard
from agentwrit_guard.asgi import GuardMiddleware as ASGIGuard
from agentwrit_guard.contrib.flask import FlaskGuard
from agentwrit_guard.errors import ConfigurationError
from agentwrit_guard.wsgi import GuardMiddleware as WSGIGuard
from tests.fronts.expect import expect
from tests.fronts.test_table import GOOD, bearer, get, raw
from tests.kit.drivers import Request
from tests.kit.fronts import FRONTS, WHOLE, Front
from tests.kit.stub import StubBroker, invalid
from tests.kit.tokens import b64, compact, header, sign, token

Make = Callable[..., Front]
PREFLIGHT = [("Origin", b"https://app.example"), ("Access-Control-Request-Method", b"GET")]


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize(
    "method, path", [("GET", "/health"), ("HEAD", "/health"), ("POST", "/hooks"), ("GET", "/public/a")]
)
def test_public_needs_no_agent(make_front: Make, broker: StubBroker, name: str, method: str, path: str) -> None:
    front = make_front(name)
    answer = front.request(Request(path, method))
    if (name, method) == ("fastapi", "HEAD"):
        assert answer.status == 405  # FastAPI's GET routes do not answer HEAD: the app's answer, not the guard's
    else:
        assert (answer.status, broker.calls, len(front.ran)) == (200, 0, 1)


def test_public_reads_no_credentials_not_even_those_that_no_server_hands_on() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b"healthy"]

    guard = Guard("http://127.0.0.1:9")
    guarded = WSGIGuard(app, guard, public=["/health"])
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/health", "HTTP_AUTHORIZATION": "Bearer \u20ac"}
    assert list(guarded(environ, lambda *_: None)) == [b"healthy"]
    guard.close()


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize(
    "method, path",
    [
        ("POST", "/health"),
        ("GET", "/hooks"),
        ("PUT", "/hooks"),
        ("GET", "/public"),
        ("POST", "/public/a"),
        ("GET", "/publica"),
        ("GET", "/health/"),
        ("GET", "//health"),
        ("GET", "/health%00"),
        ("GET", "/HEALTH"),
        ("GET", "/public/../me"),
        ("GET", "/public/%2e%2e/me"),
        ("GET", "/public/./a"),
        ("GET", "/public//me"),
        ("GET", "/public/a%5C..%5Cme"),
        ("GET", "/public/%00"),
        ("GET", "/public/%ff"),
        ("GET", "/public/%EF%BF%BD"),
        ("GET", "/public/.."),
        ("GET", "/nothing-here"),
        ("GETX", "/health"),
    ],
)
def test_what_is_not_plainly_public_is_judged(
    make_front: Make, broker: StubBroker, name: str, method: str, path: str
) -> None:
    expect(make_front(name), broker, Request(path, method), 401, error="unauthorized")


@pytest.mark.parametrize("name", WHOLE)
def test_r_14_an_unknown_path_is_404_only_for_an_agent(make_front: Make, broker: StubBroker, name: str) -> None:
    front = make_front(name)
    expect(front, broker, get(path="/nothing-here"), 401, error="unauthorized")
    assert front.request(get(bearer(), path="/nothing-here")).status == 404


OVERRIDES = ["X-HTTP-Method-Override", "x-http-method", "X-Method-Override"]


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("override", OVERRIDES)
def test_r_04_an_override_of_the_method_is_not_public(
    make_front: Make, broker: StubBroker, name: str, override: str
) -> None:
    """An app further in may run the handler of another method than the guard has judged."""
    front = make_front(name, allow_preflight=True)
    header = (override, b"DELETE")
    expect(front, broker, get(path="/health"), 200)
    expect(front, broker, get(header, path="/health"), 401, error="unauthorized")
    expect(front, broker, Request("/health", "HEAD", headers=[header]), 401, error="unauthorized")
    preflight = [("Origin", b"https://a.example"), ("Access-Control-Request-Method", b"DELETE")]
    expect(front, broker, Request("/me", "OPTIONS", headers=[*preflight, header]), 401, error="unauthorized")
    expect(front, broker, get(bearer(), header, path="/health"), 200, calls=1)


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("query", ["_method=DELETE", "a=1&_method=PUT", "%5fmethod=PUT", "_METHOD", "a;_method=x"])
def test_r_04_an_override_in_the_query_is_not_public(
    make_front: Make, broker: StubBroker, name: str, query: str
) -> None:
    front = make_front(name)
    expect(front, broker, Request("/health", query=query), 401, error="unauthorized")
    expect(front, broker, Request("/health", query="method=1&my_method=2&_methods=3"), 200)


@pytest.mark.parametrize("name", WHOLE)
def test_r_04_an_override_reaches_only_what_is_protected(make_front: Make, broker: StubBroker, name: str) -> None:
    front = make_front(name, public=(), protect=["POST /hooks", "DELETE /customers/"])
    header = ("X-HTTP-Method-Override", b"DELETE")
    expect(front, broker, get(path="/hooks"), 200)
    expect(front, broker, get(header, path="/hooks"), 401, error="unauthorized")
    expect(front, broker, get(header, path="/customers/7291"), 401, error="unauthorized")
    expect(front, broker, get(header, path="/health"), 200)


@pytest.mark.parametrize("name", WHOLE)
def test_protect_narrows_the_guard(make_front: Make, broker: StubBroker, name: str) -> None:
    front = make_front(name, public=(), protect=["/customers/", "POST /hooks"])
    assert front.request(get(path="/health")).status == 200
    assert front.request(get(path="/hooks")).status == 200
    expect(front, broker, Request("/hooks", "POST"), 401, error="unauthorized")
    for path in ("/customers/7291", "/customers", "//customers/7291", "/x/../customers/7291", "/customers/", "/a//b"):
        expect(front, broker, get(path=path), 401, error="unauthorized")
    expect(front, broker, Request("/hooks/", "POST"), 401, error="unauthorized")
    expect(front, broker, Request("/customers/7291", "DELETE"), 401, error="unauthorized")
    expect(front, broker, get(bearer(), path="/customers/7291"), 200, calls=1)


HUMAN = sign(
    compact(header(alg="RS256", kid="their-key")), compact({"sub": "auth0|42", "iss": "https://login.example"})
)


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize(
    "headers",
    [
        [],
        [raw(b"")],
        [raw(b"Basic eDp5")],
        [raw(b'Digest username="x", realm="y"')],
        [raw(b"Negotiate " + b"a" * 20_000)],
        [bearer("opaque-session-token")],
        [bearer(HUMAN)],
        [bearer("a.b.c")],
    ],
    ids=["none", "empty", "basic", "digest", "long negotiate", "opaque", "another issuer's JWT", "not JSON"],
)
def test_others_pass_goes_on_without_a_principal(make_front: Make, broker: StubBroker, name: str, headers: Any) -> None:
    front = make_front(name, others="pass")
    answer = expect(front, broker, get(*headers, path="/health"), 200)
    assert answer.body in (b"null", b"null\n")


FORGED_ALG = sign(compact(header(alg="none")), compact({"sub": "spiffe://agentwrit.local/agent/o/t/1"}))


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize(
    "headers, status",
    [
        ([bearer()], 401),
        ([bearer(GOOD[:-4] + "AAAA")], 401),
        ([bearer(GOOD.rsplit(".", 1)[0])], 401),
        ([bearer(FORGED_ALG)], 401),
        ([bearer(token(sub="admin"))], 401),
        ([bearer(b64(compact(header())) + ".!!!!." + "a" * 86)], 401),
        ([bearer(), bearer()], 400),
        ([raw(b"Basic x, Bearer " + GOOD.encode())], 400),
        ([raw(b"Bearer")], 400),
        ([bearer(GOOD + "\0")], 400),
    ],
    ids=["revoked", "tail", "no signature", "alg none", "admin", "bad payload", "twice", "hidden", "empty", "NUL"],
)
def test_others_pass_judges_every_token_of_our_kind(
    make_front: Make, broker: StubBroker, name: str, headers: Any, status: int
) -> None:
    broker.answer = invalid
    front = make_front(name, public=(), others="pass")
    answer = front.request(get(*headers, path="/health"))
    assert (answer.status, front.ran) == (status, [])


@pytest.mark.parametrize("name", [name for name in WHOLE if name not in ("asgi", "wsgi")])
@pytest.mark.parametrize("headers", [[], [raw(b"Basic eDp5")], [bearer("opaque")]], ids=["none", "basic", "opaque"])
def test_a_handler_that_requires_a_scope_refuses_everyone_without_one(
    make_front: Make, broker: StubBroker, name: str, headers: Any
) -> None:
    front = make_front(name, others="pass")
    error = "invalid_token" if headers and b"opaque" in headers[0][1] else "unauthorized"
    expect(front, broker, get(*headers, path="/customers/7291"), 401, error=error)
    expect(front, broker, get(bearer(), path="/customers/7291"), 200, calls=1)


@pytest.mark.parametrize("name", WHOLE)
def test_r_02_preflights_pass_only_when_allowed(make_front: Make, broker: StubBroker, name: str) -> None:
    preflight = Request("/me", "OPTIONS", PREFLIGHT)
    expect(make_front(name), broker, preflight, 401, error="unauthorized")
    open_front = make_front(name, allow_preflight=True)
    assert open_front.request(preflight).status in (200, 405)
    for part in PREFLIGHT:
        expect(open_front, broker, Request("/me", "OPTIONS", [part]), 401, error="unauthorized")
    expect(open_front, broker, Request("/me", "GET", PREFLIGHT), 401, error="unauthorized")


WEBSOCKETS = [name for name in FRONTS if name not in ("wsgi", "flask", "flask-alone")]


@pytest.mark.parametrize("name", WEBSOCKETS)
def test_r_12_a_websocket_is_refused_before_accept(make_front: Make, broker: StubBroker, name: str) -> None:
    front = make_front(name)
    expect(front, broker, Request("/ws", websocket=True), 401, error="unauthorized")
    expect(front, broker, Request("/ws", websocket=True, headers=[bearer("junk")]), 401)
    expect(front, broker, Request("/ws", websocket=True, headers=[bearer()]), 101, calls=1, ran=True)


@pytest.mark.parametrize("name", WEBSOCKETS)
def test_r_12_a_server_without_denial_responses_gets_close_1008(make_front: Make, name: str) -> None:
    front = make_front(name)
    answer = front.request(Request("/ws", websocket=True, denial_responses=False))
    assert (answer.close_code, front.ran) == (1008, [])


@pytest.mark.parametrize("name", [name for name in WEBSOCKETS if name != "asgi"])
def test_a_websocket_without_the_scope_is_refused(make_front: Make, broker: StubBroker, name: str) -> None:
    front = make_front(name)
    poor = Request("/ws", websocket=True, headers=[bearer(token(scope=["a:b:c"]))])
    expect(front, broker, poor, 403, scope="read:customers:7291", calls=1)
    closed = front.request(Request("/ws", websocket=True, headers=poor.headers, denial_responses=False))
    assert (closed.close_code, front.ran) == (1008, [])


@pytest.mark.parametrize("name", WHOLE)
def test_r_16_installed_twice_is_harmless(make_front: Make, broker: StubBroker, name: str) -> None:
    front = make_front(name)
    again = ASGIGuard if front.websockets else WSGIGuard
    front.app = again(front.app if name != "flask" else front.app.wsgi_app, front.guard, public=["/health"])
    expect(front, broker, get(bearer(), path="/customers/7291"), 200, calls=1)
    expect(front, broker, get(path="/health"), 200)
    expect(front, broker, get(path="/me"), 401, error="unauthorized")


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("given, kept", [(b"abc.DEF-1_2", True), (b"x" * 129, False), (b"a b", False), (b"", False)])
def test_the_callers_request_id_is_kept_only_if_harmless(make_front: Make, name: str, given: bytes, kept: bool) -> None:
    answer = make_front(name).request(Request(headers=[("X-Request-ID", given)]))
    assert (answer.header("x-request-id") == given.decode()) is kept


@pytest.mark.parametrize("middleware", [ASGIGuard, WSGIGuard, FlaskGuard])
@pytest.mark.parametrize(
    "options, named",
    [
        ({"public": "/health"}, "public"),
        ({"public": ["health"]}, "health"),
        ({"public": ["/a/../b"]}, "/a/../b"),
        ({"public": ["/a?b"]}, "/a?b"),
        ({"public": ["/items/{id}"]}, "/items/{id}"),
        ({"public": ["/*"]}, "/*"),
        ({"public": ["/"]}, "'/'"),
        ({"public": ["POST /"]}, "'/'"),
        ({"public": ["get /x"]}, "get /x"),
        ({"public": [None]}, "None"),
        ({"protect": []}, "protect"),
        ({"protect": ["agents"]}, "agents"),
        ({"others": "allow"}, "others"),
        ({"allow_preflight": "yes"}, "allow_preflight"),
    ],
)
def test_a_wrong_option_fails_at_start_up(middleware: Any, options: dict[str, Any], named: str) -> None:
    guard = Guard("http://127.0.0.1:9")
    app = {FlaskGuard: flask.Flask("x"), ASGIGuard: _asgi_app, WSGIGuard: _wsgi_app}[middleware]
    with pytest.raises(ConfigurationError, match=re.escape(named)):
        middleware(app, guard=guard, **options)


async def _asgi_app(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("never called")


def _wsgi_app(environ: Any, start_response: Any) -> list[bytes]:
    raise AssertionError("never called")


def test_each_middleware_refuses_the_other_kind_of_app() -> None:
    guard = Guard("http://127.0.0.1:9")
    for wrong in (flask.Flask("x"), _wsgi_app, None):
        with pytest.raises(ConfigurationError):
            ASGIGuard(wrong, guard)
    for wrong in (fastapi.FastAPI(), _asgi_app, None):
        with pytest.raises(ConfigurationError):
            WSGIGuard(wrong, guard)
    for middleware, app in ((ASGIGuard, _asgi_app), (WSGIGuard, _wsgi_app)):
        with pytest.raises(ConfigurationError, match="guard"):
            middleware(app, "http://127.0.0.1:9")


def test_basic_is_not_read_as_a_token(make_front: Make, broker: StubBroker) -> None:
    encoded = base64.b64encode(f"x:{GOOD}".encode())
    expect(make_front("asgi"), broker, get(raw(b"Basic " + encoded)), 401, error="unauthorized")
