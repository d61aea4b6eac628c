"""One table of requests across all fronts: status, challenge, body, broker calls, and whether the handler ran."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.fronts.expect import expect
from tests.kit.clock import MovableClock
from tests.kit.drivers import Request
from tests.kit.fronts import FRONTS, WHOLE, Front
from tests.kit.stub import Answer, StubBroker, invalid, json_answer, valid
from tests.kit.tokens import NOW, OTHER, delegated, record, token

GOOD = token()


def bearer(text: str = GOOD, scheme: str = "Bearer") -> tuple[str, bytes]:
    return "Authorization", f"{scheme} {text}".encode("latin-1")


def raw(value: bytes) -> tuple[str, bytes]:
    return "Authorization", value


def answers(status: int, **headers: str) -> Callable[[bytes], Answer]:
    return lambda _: (status, {"Content-Type": "application/json", **headers}, b"{}")


@dataclass(frozen=True)
class Row:
    id: str
    request: Request
    status: int
    error: str | None = None
    scope: str | None = None
    calls: int = 0
    broker: Callable[[bytes], Answer] = valid
    options: dict[str, Any] = field(default_factory=dict)
    paths: tuple[str, ...] = ("/me", "/customers/7291")


def get(*headers: tuple[str, bytes], **changes: Any) -> Request:
    return Request(headers=list(headers), **changes)


NONE = "unauthorized"
ROWS = [
    Row("H-01 no credentials", get(), 401, NONE),
    Row("H-02 empty", get(raw(b"")), 401, NONE),
    Row("H-02 blanks", get(raw(b"  ")), 401, NONE),
    Row("H-03 scheme alone", get(raw(b"Bearer")), 400),
    Row("H-03 scheme and a blank", get(raw(b"Bearer ")), 400),
    Row("H-04 another scheme", get(raw(b"Basic eDp5")), 401, NONE),
    Row("H-04 DPoP", get(bearer(scheme="DPoP")), 401, NONE),
    Row("H-04 nearly ours", get(bearer(scheme="Bear")), 401, NONE),
    Row("H-05 lower case", get(bearer(scheme="bearer")), 200, calls=1),
    Row("H-05 upper case", get(bearer(scheme="BEARER")), 200, calls=1),
    Row("H-06 twice the same", get(bearer(), bearer()), 400),
    Row("H-06 good then bad", get(bearer(), bearer("x")), 400),
    Row("H-06 two casings", get(bearer(), ("AUTHORIZATION", f"Bearer {GOOD}".encode())), 400),
    Row("H-07 comma", get(bearer(f"{GOOD}, Bearer {GOOD}")), 400),
    Row("H-07 comma in another scheme", get(raw(b'Digest a="b",c="d"')), 400),
    Row("H-08 two blanks", get(bearer(scheme="Bearer ")), 200, calls=1),
    Row("H-08 tab", get(raw(b"Bearer\t" + GOOD.encode())), 400),
    Row("H-08 two tokens", get(bearer(f"{GOOD} {GOOD}")), 400),
    Row("H-08 blank before", get(bearer(scheme=" Bearer")), 400),
    Row("H-09 blank after", get(bearer(f"{GOOD} ")), 200, calls=1),
    Row("H-09 tab after", get(bearer(f"{GOOD}\t")), 200, calls=1),
    *(Row(f"H-10 Python's blank {ord(c):02x}", get(bearer(f"{GOOD}{c}")), 400) for c in "\xa0\x0b\x0c\x1c\x85"),
    Row("H-11 high byte", get(bearer(f"{GOOD}\xff")), 400),
    Row("H-12 NUL", get(bearer(f"{GOOD}\0")), 400),
    Row("H-13 line feed", get(bearer(f"{GOOD}\n")), 400),
    Row("H-13 folded", get(raw(b"Bearer\r\n " + GOOD.encode())), 400),
    Row("H-15 8192 bytes", get(bearer("a" * 8192)), 401),
    Row("H-15 8193 bytes", get(bearer("a" * 8193)), 400),
    Row("H-15 a megabyte", get(bearer("a" * 1_000_000)), 400),
    Row("H-16 query alone", get(query=f"access_token={GOOD}"), 401, NONE),
    Row("H-16 query and header", get(bearer(), query="a=b&access_token=x"), 400),
    Row("H-16 escaped name and header", get(bearer(), query="%61ccess_token=x"), 400),
    Row("H-16 other query", get(bearer(), query="token=x&q=%2A"), 200, calls=1),
    Row("H-16 another header", get(("X-Access-Token", GOOD.encode()), ("Cookie", b"access_token=x")), 401, NONE),
    Row("H-17 look-alike", get(("Authorization_", f"Bearer {GOOD}".encode())), 401, NONE),
    Row("malformed garbage", get(bearer("garbage")), 401),
    Row("malformed algorithm none", get(bearer(token(head={"alg": "none"}))), 401),
    Row("invalid by the broker", get(bearer()), 401, calls=1, broker=invalid),
    Row("invalid expired", get(bearer(token(exp=NOW + 1, iat=NOW))), 401),
    Row("invalid lifetime", get(bearer(token(exp=NOW + 3601))), 401),
    Row("invalid admin", get(bearer(token(sub="admin"))), 401),
    Row("invalid app", get(bearer(token(sub="app:app-x-7bfdbf"))), 401),
    Row("invalid audience", get(bearer()), 401, options={"guard_audience": "https://api.example"}),
    Row("invalid issuer", get(bearer()), 401, options={"guard_issuer": "https://broker.example"}),
    Row("invalid chain", get(bearer(token(delegated(record(scope=("read:other:*",)))))), 401),
    Row("delegated", get(bearer(token(delegated(record())))), 200, calls=1),
    Row("scope other id", get(bearer(), path="/customers/7292"), 403, scope="read:customers:7292", calls=1),
    Row("scope other case", get(bearer(token(scope=["READ:customers:7291"]))), 403, calls=1,
        scope="read:customers:7291", paths=("/customers/7291",)),
    Row("broker fault 500", get(bearer()), 503, calls=1, broker=answers(500)),
    Row("broker fault 404", get(bearer()), 503, calls=1, broker=answers(404)),
    Row("broker fault 401", get(bearer()), 503, calls=1, broker=answers(401)),
    Row("broker fault 429", get(bearer()), 503, calls=1, broker=answers(429, **{"Retry-After": "3600"})),
    Row("broker fault redirect", get(bearer()), 503, calls=1, broker=answers(307, Location="/v1/token/validate")),
    Row("broker fault html", get(bearer()), 503, calls=1, broker=lambda _: (200, {"Content-Type": "text/html"}, b"x")),
    Row("broker fault truthy", get(bearer()), 503, calls=1, broker=lambda _: json_answer({"valid": "true"})),
    Row("broker fault other claims", get(bearer()), 503, calls=1,
        broker=lambda _: valid(b'{"token":"x.%s.x"}' % token(sub=OTHER).split(".")[1].encode())),
    Row("broker down", get(bearer()), 503, options={"guard_url": "http://127.0.0.1:9"}),
    Row("HEAD without credentials", get(method="HEAD"), 401, NONE, paths=("/me",)),
]  # fmt: skip

CASES = [
    pytest.param(name, row, path, id=f"{name}-{row.id}-{path}")
    for row in ROWS
    for path in ((row.request.path,) if row.request.path != "/me" else row.paths)
    for name in FRONTS
]


@pytest.mark.parametrize("name, row, path", CASES)
def test_every_front_gives_the_same_answer(
    make_front: Callable[..., Front], broker: StubBroker, name: str, row: Row, path: str
) -> None:
    if row.request.method == "HEAD" and name.startswith("fastapi-"):
        expect_status = make_front(name, **row.options).request(_at(row.request, path)).status
        assert expect_status == 405  # FastAPI's GET routes do not answer HEAD, and no middleware comes first here
        return
    broker.answer = row.broker
    front = make_front(name, **row.options)
    expect(front, broker, _at(row.request, path), row.status, error=row.error, scope=row.scope, calls=row.calls)


def _at(request: Request, path: str) -> Request:
    return Request(path, request.method, request.headers, request.query)


@pytest.mark.parametrize("name", FRONTS)
def test_one_identity_is_judged_afresh_on_each_route(
    make_front: Callable[..., Front], broker: StubBroker, name: str
) -> None:
    front = make_front(name)
    expect(front, broker, get(bearer(), path="/customers/7291"), 200, calls=1)
    expect(front, broker, get(bearer(), path="/customers/8"), 403, scope="read:customers:8")
    expect(front, broker, get(bearer(), path="/customers/7291"), 200)


@pytest.mark.parametrize("name", FRONTS)
def test_a_revocation_is_seen_within_the_ttl(
    make_front: Callable[..., Front], broker: StubBroker, clock: MovableClock, name: str
) -> None:
    front = make_front(name)
    expect(front, broker, get(bearer()), 200, calls=1)
    broker.answer = invalid
    clock.move(4.9)
    expect(front, broker, get(bearer()), 200)
    clock.move(0.1)
    expect(front, broker, get(bearer()), 401, calls=1)
    expect(front, broker, get(bearer()), 401)


@pytest.mark.parametrize("name", FRONTS)
def test_an_outage_keeps_known_agents_until_their_ttl(
    make_front: Callable[..., Front], broker: StubBroker, clock: MovableClock, name: str
) -> None:
    front = make_front(name)
    expect(front, broker, get(bearer()), 200, calls=1)
    broker.answer = answers(500)
    expect(front, broker, get(bearer()), 200)
    expect(front, broker, get(bearer(token(jti="b" * 32))), 503, calls=1)
    clock.move(5)
    expect(front, broker, get(bearer()), 503, calls=1)
    broker.answer = valid
    expect(front, broker, get(bearer()), 200, calls=1)


@pytest.mark.parametrize("name", [name for name in FRONTS if name not in ("asgi", "wsgi", "fastapi-dependency")])
def test_max_age_zero_asks_the_broker_now(make_front: Callable[..., Front], broker: StubBroker, name: str) -> None:
    front = make_front(name)
    expect(front, broker, get(bearer()), 200, calls=1)
    expect(front, broker, get(bearer(), path="/fresh"), 200, calls=1)
    broker.answer = invalid
    expect(front, broker, get(bearer(), path="/fresh"), 401, calls=1)


@pytest.mark.parametrize("name", [name for name in FRONTS if name != "fastapi-dependency"])
def test_any_of_names_all_that_would_do(make_front: Callable[..., Front], broker: StubBroker, name: str) -> None:
    front = make_front(name)
    expect(front, broker, get(bearer(), path="/any"), 200, calls=1)
    poor = bearer(token(scope=["read:orders:2"]))
    expect(front, broker, get(poor, path="/any"), 403, calls=1, scope="read:customers:7291 read:orders:1")


@pytest.mark.parametrize("name", WHOLE)
def test_require_in_a_handler_is_a_403(make_front: Callable[..., Front], broker: StubBroker, name: str) -> None:
    front = make_front(name)
    holder = bearer(token(scope=["read:orders:7"]))
    expect(front, broker, get(holder, path="/orders", query="id=7"), 200, calls=1)
    expect(front, broker, get(holder, path="/orders", query="id=8"), 403, scope="read:orders:8")
    expect(front, broker, get(holder, path="/orders", query="id=*"), 403, scope="read:orders:*")


@pytest.mark.parametrize("name", WHOLE)
def test_the_handler_sees_its_own_agent(make_front: Callable[..., Front], broker: StubBroker, name: str) -> None:
    front = make_front(name)
    for agent in (OTHER, OTHER.replace("task-2", "task-3")):
        answer = expect(front, broker, get(bearer(token(sub=agent, scope=["a:b:c"])), path="/whoami"), 200, calls=1)
        assert agent.encode() in answer.body
