"""Whatever a broker, a proxy or the network does, what comes out is an AgentWritError that says what happened."""

from __future__ import annotations

import gzip
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from agentwrit_guard.errors import (
    AgentWritError,
    BrokerUnavailable,
    ProblemResponseError,
    RateLimitError,
)
from tests.client.play import Kind, done, entered
from tests.link.raw import RawServer, answer, drips, says

pytestmark = pytest.mark.anyio

Call = Callable[[Any], Awaitable[object]]
CALLS: dict[str, Call] = {
    "create_agent": lambda app: done(app.create_agent("o", "t", ["read:data:1"])),
    "health": lambda app: done(app.health()),
    "validate": lambda app: done(app.validate("a.b.c")),
}
HTML = b"<html><body>Sorry</body></html>"


def http(status: bytes, body: bytes, *headers: bytes) -> bytes:
    lines = [b"HTTP/1.1 " + status, *headers, b"Content-Length: %d" % len(body)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


FAULTS: dict[str, tuple[Any, str]] = {
    "html with 200": (says(http(b"200 OK", HTML, b"Content-Type: text/html")), "content type"),
    "no media type": (says(http(b"200 OK", b"{}")), "content type"),
    "json that is cut": (says(answer(b'{"status": "o')), "JSON"),
    "json that is a list": (says(answer(b"[1]")), "JSON object"),
    "nothing": (says(answer(b"")), "JSON"),
    "no members": (says(answer(b"{}")), "/v1/|valid"),
    "members of other types": (says(answer(b'{"access_token": 7, "status": 7, "valid": "yes"}')), "/v1/|valid"),
    "redirect": (
        says(http(b"302 Found", b"", b"Location: http://127.0.0.1:9/")),
        "302.*is the path of broker_url right",
    ),
    "gzip": (says(answer(gzip.compress(b"{}"), b"Content-Encoding: gzip")), "encod"),
    "too much": (says(answer(b'{"a":"' + b"x" * 70_000 + b'"}')), "over 65536 bytes"),
    "not http": (says(b"SSH-2.0-OpenSSH_9.2\r\n"), "broke off"),
    "hangs up at once": (says(), "broke off"),
    "hangs up in the body": (says(answer(b"{", length=500)), "broke off"),
    "hangs": (says(then_hang=True), "did not answer in time"),
    "hangs in the body": (says(answer(b"{", length=500), then_hang=True), "did not answer in time"),
    "drips": (drips(answer(b"", length=500_000), b" "), "did not answer in time"),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("fault", FAULTS)
async def test_unusable_answers(kind: Kind, fault: str, call: str) -> None:
    behaviour, text = FAULTS[fault]
    with RawServer(behaviour) as server:
        async with entered(kind.app(server.url, "id", "s3cr3t-s3cr3t", timeout=0.3)) as app:
            with pytest.raises(BrokerUnavailable, match=f"(?i){text}") as caught:
                await CALLS[call](app)
    assert_clean(caught.value)


REFUSALS: dict[str, tuple[bytes, str]] = {
    "html with 502": (http(b"502 Bad Gateway", HTML, b"Content-Type: text/html"), "502 Bad Gateway"),
    "empty 500": (http(b"500 Internal Server Error", b""), "500 Internal Server Error"),
    "problem in name only": (
        http(b"503 Service Unavailable", b"[", b"Content-Type: application/problem+json"),
        "503 Service Unavailable",
    ),
    "unknown status": (http(b"599 Odd", b"x"), "599 Unknown Status"),
    "404 of another server": (
        http(b"404 Not Found", HTML, b"Content-Type: text/html"),
        "404 Not Found: .*is the path of broker_url right",
    ),
}


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_refusals_of_something_in_between(kind: Kind, refusal: str) -> None:
    said, text = REFUSALS[refusal]
    with RawServer(says(said)) as server:
        async with entered(kind.app(server.url, "id", "s3cr3t-s3cr3t")) as app:
            for call in ("create_agent", "health"):
                with pytest.raises(ProblemResponseError, match=text) as caught:
                    await CALLS[call](app)
                assert caught.value.problem.type == "about:blank"
                assert_clean(caught.value)
            with pytest.raises(BrokerUnavailable) as unknown:
                await CALLS["validate"](app)
            assert_clean(unknown.value)


@pytest.mark.parametrize(("header", "seconds"), [((), None), ((b"Retry-After: 7",), 7.0), ((b"Retry-After: x",), None)])
async def test_limit_with_and_without_retry_after(kind: Kind, header: tuple[bytes, ...], seconds: float | None) -> None:
    with RawServer(says(http(b"429 Too Many Requests", b"slow down", *header))) as server:
        async with entered(kind.app(server.url, "id", "s3cr3t-s3cr3t")) as app:
            with pytest.raises(RateLimitError, match="429 Too Many Requests") as caught:
                await CALLS["create_agent"](app)
    assert caught.value.retry_after == seconds
    assert_clean(caught.value)


async def test_nobody_listens(kind: Kind) -> None:
    with RawServer(says()) as server:
        pass
    async with entered(kind.app(server.url, "id", "s3cr3t-s3cr3t")) as app:
        for call in CALLS.values():
            with pytest.raises(BrokerUnavailable, match=f"127.0.0.1:{server.port}") as caught:
                await call(app)
            assert_clean(caught.value)


def assert_clean(error: AgentWritError) -> None:
    """No error of the HTTP library behind it, and no secret in it."""
    assert error.__cause__ is None
    assert error.__context__ is None or error.__suppress_context__
    assert "s3cr3t" not in f"{error!r} {error} {vars(error)}"
