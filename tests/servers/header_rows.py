"""The rows of threats H about the Authorization header itself, as far as servers differ in what they hand over."""

from __future__ import annotations

from collections.abc import Callable

from tests.servers.rows import (
    DAPHNE,
    GUNICORN,
    HTTPTOOLS,
    HYPERCORN,
    NONE,
    PASS,
    REQUEST,
    SERVER,
    TOKEN,
    WERKZEUG,
    Outcomes,
    Row,
    fixed,
    value,
)
from tests.servers.wire import request

# Not a character of any token, or of any header.
CONTROLS = (0x00, 0x01, 0x07, 0x1B, 0x7F)
BLANKS = (0xA0, 0x0B, 0x0C, 0x1C, 0x1D, 0x1E, 0x85)


def two(first: str, second: str, *, both: bool = True) -> Callable[[str], bytes]:
    """Two Authorization headers under these names, the second with a bad token unless both are good."""
    return lambda token: request(
        "/me", (first, b"Bearer " + token.encode()), (second, b"Bearer " + (token.encode() if both else b"x.y.z"))
    )


def header_line(line: Callable[[bytes], bytes]) -> Callable[[str], bytes]:
    """A request with one line of its header written by hand."""
    return lambda token: (
        b"GET /me HTTP/1.1\r\nHost: 127.0.0.1\r\n" + line(token.encode()) + b"\r\nConnection: close\r\n\r\n"
    )


# gunicorn ends a header at 8190 bytes by itself (--limit-request-field_size).
SHORT_HEADERS: dict[str, Outcomes] = {GUNICORN: SERVER}
# daphne ends a connection at 16 KiB of one header; hypercorn at 16 KiB of a header section that has not come whole.
LONG_HEADERS: dict[str, Outcomes] = {**SHORT_HEADERS, DAPHNE: SERVER, HYPERCORN: REQUEST | SERVER}

ROWS = [
    Row("H-02 empty", value(lambda token: b""), NONE),
    Row("H-02 blanks", value(lambda token: b"    "), NONE),
    Row("H-02 tab", value(lambda token: b"\t"), NONE),
    Row("H-03 scheme alone", value(lambda token: b"Bearer"), REQUEST),
    Row("H-03 scheme and a blank", value(lambda token: b"Bearer "), REQUEST),
    Row("H-04 other scheme", value(lambda token: b"DPoP " + token), NONE),
    Row("H-05 as it should be", value(lambda token: b"Bearer " + token), PASS, good=True),
    Row("H-05 lower case", value(lambda token: b"bearer " + token), PASS, good=True),
    Row("H-05 upper case", value(lambda token: b"BEARER " + token), PASS, good=True),
    Row("H-05 name in lower case", value(lambda token: b"Bearer " + token, "authorization"), PASS, good=True),
    Row("H-06 twice the same", two("Authorization", "Authorization"), REQUEST),
    Row("H-06 good then bad", two("Authorization", "Authorization", both=False), REQUEST),
    Row("H-06 two casings", two("Authorization", "AUTHORIZATION"), REQUEST),
    Row("H-06 lower case then bad", two("authorization", "Authorization", both=False), REQUEST),
    Row("H-07 joined", value(lambda token: b"Bearer " + token + b", Bearer " + token), REQUEST),
    Row("H-07 comma", value(lambda token: b"Bearer " + token + b",x"), REQUEST),
    Row("H-07 comma in another scheme", value(lambda token: b'Digest a="b",c="d"'), REQUEST),
    Row("H-08 two blanks", value(lambda token: b"Bearer  " + token), PASS, good=True),
    Row("H-08 tab", value(lambda token: b"Bearer\t" + token), REQUEST),
    Row("H-08 two tokens", value(lambda token: b"Bearer " + token + b" " + token), REQUEST),
    Row("H-09 blank after", value(lambda token: b"Bearer " + token + b" "), PASS, good=True),
    Row("H-09 tab after", value(lambda token: b"Bearer " + token + b"\t"), PASS, good=True),
    *(
        Row(f"H-10 blank {byte:02x} {place}", value(make), REQUEST | SERVER)
        for byte in BLANKS
        for place, make in {
            "after": lambda token, byte=byte: b"Bearer " + token + bytes([byte]),
            "between": lambda token, byte=byte: b"Bearer" + bytes([byte]) + token,
            "before": lambda token, byte=byte: bytes([byte]) + b"Bearer " + token,
            "inside": lambda token, byte=byte: b"Bearer " + token[:20] + bytes([byte]) + token[20:],
        }.items()
    ),
    *(
        Row(f"H-11 byte {byte:02x}", value(lambda token, byte=byte: b"Bearer " + token + bytes([byte])), REQUEST)
        for byte in (0x80, 0x9F, 0xC3, 0xFF)
    ),
    *(
        Row(
            f"H-12 byte {byte:02x}",
            value(lambda token, byte=byte: b"Bearer " + token + bytes([byte])),
            REQUEST | SERVER,
        )
        for byte in CONTROLS
    ),
    Row(
        "H-13 bare LF after",
        header_line(lambda token: b"Authorization: Bearer " + token + b"\nX-A: b"),
        PASS | NONE | REQUEST | SERVER,
        good=True,
    ),
    Row("H-13 bare LF inside", header_line(lambda token: b"Authorization: Bearer\n" + token), NONE | REQUEST | SERVER),
    Row(
        "H-13 bare CR after",
        header_line(lambda token: b"Authorization: Bearer " + token + b"\rX-A: b"),
        REQUEST | SERVER,
        # To werkzeug a bare CR ends a line as any other line end does.
        at={WERKZEUG: PASS},
        good=True,
    ),
    Row(
        "H-13 folded",
        header_line(lambda token: b"Authorization: Bearer\r\n " + token),
        PASS | REQUEST | SERVER,
        good=True,
    ),
    Row(
        "H-13 folded at once",
        header_line(lambda token: b"Authorization:\r\n Bearer " + token),
        PASS | REQUEST | SERVER,
        good=True,
    ),
    Row(
        "H-13 folded into the token",
        header_line(lambda token: b"Authorization: Bearer " + token[:20] + b"\r\n " + token[20:]),
        REQUEST | SERVER,
    ),
    Row(
        "H-13 folded from another header",
        header_line(lambda token: b"X-A: b\r\n Authorization: Bearer " + token),
        NONE | SERVER,
    ),
    Row(
        "H-14 blank before the colon",
        header_line(lambda token: b"Authorization : Bearer " + token),
        PASS | NONE | SERVER,
        good=True,
    ),
    Row("H-15 8192 bytes", value(lambda token: b"Bearer " + b"a" * 8192), TOKEN, at=SHORT_HEADERS),
    Row("H-15 8193 bytes", value(lambda token: b"Bearer " + b"a" * 8193), REQUEST, at=SHORT_HEADERS),
    Row("H-15 60 KB", value(lambda token: b"Bearer " + b"a" * 60_000), REQUEST, at=LONG_HEADERS),
    Row("H-15 1 MB", value(lambda token: b"Bearer " + b"a" * 1_000_000), SERVER, at={HTTPTOOLS: REQUEST}),
    Row("H-12 nothing but a name", fixed(b"GET /me HTTP/1.1\r\nHost: a\r\nAuthorization\r\n\r\n"), NONE | SERVER),
]
