"""The rows of threats H about credentials that are not in the Authorization header, or come after all headers."""

from __future__ import annotations

from collections.abc import Callable

from tests.servers.rows import HTTPTOOLS, NONE, PASS, REQUEST, SERVER, TOKEN, Outcomes, Row, value
from tests.servers.wire import bearer, request


def smuggled(body: Callable[[str], bytes], *headers: tuple[str, bytes]) -> Callable[[str], bytes]:
    """A POST without credentials, with something after the header section that has them."""
    return lambda token: request("/me", *headers, method="POST") + body(token)


def trailer(token: str) -> bytes:
    return b"2\r\n{}\r\n0\r\nAuthorization: Bearer " + token.encode() + b"\r\n\r\n"


CHUNKED = ("Transfer-Encoding", b"chunked")

# uvicorn with httptools adds trailers to the headers when they come in one packet with them, so that no app can tell
# them apart (a documented limit). What it hands over is judged as a header: one good token, or two credentials.
TRAILERS_COUNT: dict[str, Outcomes] = {HTTPTOOLS: NONE | PASS}

ROWS = [
    Row("H-16 query alone", lambda token: request(f"/me?access_token={token}"), NONE),
    Row("H-16 query beside the header", lambda token: request(f"/me?access_token={token}", bearer(token)), REQUEST),
    Row("H-16 escaped query beside the header", lambda token: request("/me?%61ccess_token=x", bearer(token)), REQUEST),
    Row("H-16 cookie", value(lambda token: b"access_token=" + token, "Cookie"), NONE),
    Row("H-16 other header", value(lambda token: token, "X-Access-Token"), NONE),
    Row("H-16 proxy's header", value(lambda token: b"Bearer " + token, "Proxy-Authorization"), NONE),
    Row("H-16 subprotocol", value(lambda token: b"bearer, " + token, "Sec-WebSocket-Protocol"), NONE),
    Row(
        "H-16 JSON body",
        lambda token: request(
            "/me",
            ("Content-Type", b"application/json"),
            method="POST",
            body=b'{"access_token":"%b"}' % token.encode(),
        ),
        NONE,
    ),
    Row(
        "H-16 form body",
        lambda token: request(
            "/me",
            ("Content-Type", b"application/x-www-form-urlencoded"),
            method="POST",
            body=b"access_token=" + token.encode(),
        ),
        NONE,
    ),
    *(
        Row(f"H-17 {name}", value(lambda token: b"Bearer " + token, name), NONE | SERVER)
        for name in ("Authorization_", "_Authorization", "HTTP_AUTHORIZATION", "HTTP-AUTHORIZATION", "X-Authorization")
    ),
    Row(
        "H-17 alias beside a bad one",
        lambda token: request(
            "/me", ("Authorization", b"Bearer x.y.z"), ("Authorization_", b"Bearer " + token.encode())
        ),
        TOKEN | SERVER,
    ),
    Row("H-21 trailer", smuggled(trailer, CHUNKED), NONE | SERVER, at=TRAILERS_COUNT, good=True),
    Row(
        "H-21 trailer, expected",
        smuggled(trailer, CHUNKED, ("Expect", b"100-continue")),
        NONE | SERVER,
        at=TRAILERS_COUNT,
        good=True,
    ),
    Row(
        "H-21 declared trailer",
        smuggled(trailer, CHUNKED, ("Trailer", b"Authorization")),
        NONE | SERVER,
        at=TRAILERS_COUNT,
        good=True,
    ),
    Row(
        "H-21 good, with a body to come",
        lambda token: (
            request("/me", bearer(token), CHUNKED, ("Expect", b"100-continue"), method="POST") + b"2\r\n{}\r\n0\r\n\r\n"
        ),
        PASS,
        good=True,
    ),
    Row(
        "H-21 bad trailer after a good header",
        lambda token: (
            request("/me", bearer(token), CHUNKED, method="POST")
            + b"2\r\n{}\r\n0\r\nAuthorization: Bearer x.y.z\r\n\r\n"
        ),
        PASS | SERVER,
        at={HTTPTOOLS: PASS | REQUEST},
        good=True,
    ),
]
