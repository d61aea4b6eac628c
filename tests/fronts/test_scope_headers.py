"""Headers as servers may hand them over in an ASGI scope, and connections that are no requests (H-18 to H-20, R-13)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.fronts.altered import ASGI, alter, serve
from tests.fronts.expect import expect
from tests.fronts.test_table import GOOD, get
from tests.kit.fronts import Front
from tests.kit.stub import StubBroker
from tests.kit.tokens import token

Make = Callable[..., Front]
VALUE = b"Bearer " + GOOD.encode()
LOWER, TITLE, UPPER = ((name, VALUE) for name in (b"authorization", b"Authorization", b"AUTHORIZATION"))


def handed(front: Front, headers: object, **changes: Any) -> Front:
    return serve(alter(front, lambda scope: scope.update(headers=headers, **changes)))


@pytest.mark.parametrize("name", ASGI)
def test_h_18_names_are_compared_without_case(make_front: Make, broker: StubBroker, name: str) -> None:
    for header in (TITLE, UPPER):
        expect(handed(make_front(name), [header]), broker, get(), 200, calls=1)


@pytest.mark.parametrize("name", ASGI)
@pytest.mark.parametrize(
    "headers", [[LOWER, TITLE], [UPPER, LOWER], [LOWER, (b"aUTHORIZATION", b"Basic eDp5")], [TITLE, (b"x", b""), TITLE]]
)
def test_h_18_another_casing_is_a_duplicate(make_front: Make, broker: StubBroker, name: str, headers: Any) -> None:
    expect(handed(make_front(name), headers), broker, get(), 400)


MALFORMED = {
    "none": None,
    "number": 7,
    "text": f"Authorization: Bearer {GOOD}",
    "bytes": b"authorization: " + VALUE,
    "list of texts": ["authorization", VALUE.decode()],
    "triple": [(b"authorization", VALUE, b"")],
    "name alone": [(b"authorization",)],
    "list of nothing": [None],
    "value is none": [(b"authorization", None)],
    "value is a text": [(b"authorization", VALUE.decode())],
    "value is a list": [(b"authorization", [VALUE])],
    "name is none": [(None, VALUE)],
}


@pytest.mark.parametrize("name", ASGI)
@pytest.mark.parametrize("headers", MALFORMED.values(), ids=MALFORMED)
def test_h_19_malformed_headers_are_the_servers_fault(
    make_front: Make, broker: StubBroker, name: str, headers: Any
) -> None:
    expect(handed(make_front(name), headers), broker, get(), 500)


@pytest.mark.parametrize("name", ASGI)
@pytest.mark.parametrize(
    "headers",
    [[("authorization", VALUE.decode())], [["authorization", VALUE.decode()]], {"authorization": VALUE.decode()}],
    ids=["pairs of text", "lists of text", "mapping"],
)
def test_h_19_text_is_no_header(make_front: Make, broker: StubBroker, name: str, headers: Any) -> None:
    front = handed(make_front(name), headers)
    answer = front.request(get())
    assert (answer.status in (401, 500), broker.calls, front.ran) == (True, 0, [])


@pytest.mark.parametrize("name", ASGI)
def test_h_19_a_list_for_each_pair_is_read_like_a_tuple(make_front: Make, broker: StubBroker, name: str) -> None:
    """The ASGI specification lets a server do that, and some gateways do."""
    expect(handed(make_front(name), [list(LOWER)]), broker, get(), 200, calls=1)
    expect(handed(make_front(name), [list(LOWER), list(LOWER)]), broker, get(), 400)
    other = [b"authorization", b"Bearer " + token(sub="admin").encode()]
    expect(handed(make_front(name), [other]), broker, get(), 401)


HTTP2 = {
    "the authority is no credential": ([(b":authority", VALUE)], 401, "unauthorized"),
    "split between scheme and token": ([(b"authorization", b"Bearer"), (b"authorization", GOOD.encode())], 400, None),
    "split within the token": ([(b"authorization", VALUE[:40]), (b"authorization", VALUE[40:])], 400, None),
    "twice": ([(b":authority", b"api"), LOWER, LOWER], 400, None),
    "never indexed and again in capitals": ([LOWER, UPPER], 400, None),
    "once": ([(b":method", b"GET"), (b":path", b"/me"), (b":authority", b"evil.example"), LOWER], 200, None),
}


@pytest.mark.parametrize("name", ASGI)
@pytest.mark.parametrize("headers, status, error", HTTP2.values(), ids=HTTP2)
def test_h_20_http_2_has_the_same_rules(
    make_front: Make, broker: StubBroker, name: str, headers: Any, status: int, error: str | None
) -> None:
    front = handed(make_front(name), headers, http_version="2")
    expect(front, broker, get(), status, error=error, calls=int(status == 200))


@pytest.mark.parametrize("headers", [[], [LOWER]], ids=["without a token", "with a good one"])
@pytest.mark.parametrize("kind", ["telepathy", "HTTP", "http.disconnect", "", None])
def test_r_13_an_unknown_kind_of_connection_is_refused(
    make_front: Make, broker: StubBroker, kind: Any, headers: Any
) -> None:
    front = make_front("asgi")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        """Takes whatever it is given."""
        front.ran.append(kind)
        await send({"type": "http.response.start", "status": 200, "headers": []})

    front.app.app = app
    expect(handed(front, headers, type=kind), broker, get(), 500)


def test_r_13_lifespan_passes_unchanged(make_front: Make, broker: StubBroker) -> None:
    front = make_front("asgi")
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)
        for step in ("startup", "shutdown"):
            seen.append(await receive())
            await send({"type": f"lifespan.{step}.complete"})

    scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
    copy = {**scope, "state": {}}
    steps = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent: list[Any] = []

    async def live() -> None:
        incoming = iter(steps)

        async def receive() -> Any:
            return next(incoming)

        async def send(message: Any) -> None:
            sent.append(message)

        front.app.app = app
        await front.app(scope, receive, send)

    asyncio.run(live())
    assert seen[0] is scope
    assert scope == copy
    assert seen[1:] == steps
    assert sent == [{"type": "lifespan.startup.complete"}, {"type": "lifespan.shutdown.complete"}]
    assert broker.calls == 0
