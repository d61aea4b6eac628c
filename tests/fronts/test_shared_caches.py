"""An HTTP cache in front of the API gives nobody what was another's (threats C-28)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask

from agentwrit_guard import Guard
from agentwrit_guard.asgi import GuardMiddleware as ASGIGuard
from agentwrit_guard.contrib.flask import FlaskGuard
from agentwrit_guard.errors import ConfigurationError
from agentwrit_guard.wsgi import GuardMiddleware as WSGIGuard
from tests.fronts.test_table import bearer, get
from tests.kit import drivers
from tests.kit.clock import MovableClock
from tests.kit.drivers import Answer
from tests.kit.fronts import WHOLE, Front
from tests.kit.stub import StubBroker
from tests.kit.tokens import token

Headers = list[tuple[str, str]]
PRIVATE = ("Cache-Control", "private")
VARY = ("Vary", "Authorization")


@pytest.fixture
def guard(broker: StubBroker, clock: MovableClock) -> Iterator[Guard]:
    guard = Guard(broker.url, clock=clock.clock)
    yield guard
    guard.close()


def asgi(guard: Guard, said: Headers, **options: Any) -> tuple[Any, Any]:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        # Once and no more, as some frameworks give them.
        headers = ((name.lower().encode(), value.encode()) for name, value in said)
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    return ASGIGuard(app, guard, **options), drivers.asgi


def wsgi(guard: Guard, said: Headers, **options: Any) -> tuple[Any, Any]:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", said)
        return [b""]

    return WSGIGuard(app, guard, **options), drivers.wsgi


def flask(guard: Guard, said: Headers, **options: Any) -> tuple[Any, Any]:
    app = Flask("cached")
    app.config.update({f"AGENTWRIT_{name.upper()}": value for name, value in options.items()})
    FlaskGuard(app, guard=guard)
    app.add_url_rule("/me", view_func=lambda: ("", 200, said))
    return app, drivers.wsgi


MAKERS: list[Callable[..., tuple[Any, Any]]] = [asgi, wsgi, flask]
CASES = [
    ([], [VARY, PRIVATE]),
    ([("vary", "Accept")], [("vary", "Accept"), VARY, PRIVATE]),
    ([("VARY", "Accept, authorization")], [("VARY", "Accept, authorization"), PRIVATE]),
    ([("Vary", "Accept"), ("Vary", "Authorization")], [("Vary", "Accept"), VARY, PRIVATE]),
    ([("Vary", "*")], [("Vary", "*"), PRIVATE]),
    ([("Vary", "X-Authorization")], [("Vary", "X-Authorization"), VARY, PRIVATE]),
    ([("Cache-Control", "no-cache")], [("Cache-Control", "no-cache"), VARY]),
    ([("cache-control", "public, max-age=60")], [("cache-control", "public, max-age=60"), VARY]),
    ([VARY, PRIVATE], [VARY, PRIVATE]),
]


def caching(answer: Answer) -> Headers:
    return sorted((name.lower(), value) for name, value in answer.headers if name.lower() in ("vary", "cache-control"))


def lowered(headers: Headers) -> Headers:
    return sorted((name.lower(), value) for name, value in headers)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("said, wanted", CASES)
def test_c_28_what_an_answer_lacks_is_added(
    make: Callable[..., Any], said: Headers, wanted: Headers, guard: Guard
) -> None:
    app, send = make(guard, said, private_answers=True)
    answer = send(app, guard, get(bearer()))
    assert answer.status == 200
    assert caching(answer) == lowered(wanted)


@pytest.mark.parametrize("make", MAKERS)
def test_c_28_nothing_is_added_unasked_nor_for_nobody(make: Callable[..., Any], guard: Guard) -> None:
    app, send = make(guard, [])
    assert caching(send(app, guard, get(bearer()))) == []
    app, send = make(guard, [], private_answers=True, public=["/me"])
    assert caching(send(app, guard, get())) == []


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("private_answers", [True, False])
def test_c_28_refusals_are_never_stored(
    name: str, private_answers: bool, make_front: Callable[..., Front], broker: StubBroker
) -> None:
    front = make_front(name, private_answers=private_answers)
    answers = [front.request(get()), front.request(get(bearer(), path="/customers/1"))]
    broker.answer = lambda _: (500, {}, b"")
    answers.append(front.request(get(bearer(token(jti="another")))))
    assert [answer.status for answer in answers] == [401, 403, 503]
    assert [answer.header("cache-control") for answer in answers] == ["no-store"] * 3


@pytest.mark.parametrize("middleware", [ASGIGuard, WSGIGuard])
def test_c_28_the_option_is_a_switch(middleware: Any, guard: Guard) -> None:
    async def asgi_app(scope: Any, receive: Any, send: Any) -> None: ...

    def wsgi_app(environ: Any, start_response: Any) -> Any: ...

    app = asgi_app if middleware is ASGIGuard else wsgi_app
    with pytest.raises(ConfigurationError, match="private_answers"):
        middleware(app, guard, private_answers="yes")


@pytest.mark.parametrize("name", ["starlette", "fastapi", "flask"])
def test_c_28_agents_that_a_rule_lets_in_on_a_public_path(name: str, make_front: Callable[..., Front]) -> None:
    front = make_front(name, private_answers=True, public=["/customers/"])
    answer = front.request(get(bearer(), path="/customers/7291"))
    assert answer.status == 200
    assert caching(answer) == lowered([VARY, PRIVATE])
