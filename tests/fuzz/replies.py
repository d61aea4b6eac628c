"""Mutations of what the broker says: faults, status, headers, body as text (threats B)."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from tests.fuzz.case import FAULTS, JSON_ANSWER, Reply
from tests.fuzz.draft import Draft

_STATUSES: Final = (
    200, 200, 201, 202, 204, 206, 301, 302, 307, 308, 400, 401, 403, 404, 405, 413, 429, 500, 502, 503, 504, 299, 599,
)  # fmt: skip
_TYPES: Final = (
    "application/json", "Application/JSON", "application/json;", "application/json; charset=utf-8",
    'application/json;charset="UTF-8"', "application/json ; charset=utf-8", "text/html", "application/jsonp",
    "application/problem+json", "", "json", "application/json, text/html", "application/json; charset=latin-1",
    "application/json; charset=utf-16", "text/json", "application/json; boundary=x", "*/*",
)  # fmt: skip
_BODIES: Final = (
    b"", b"null", b"[]", b"true", b"<html>valid</html>", b"{}", b'{"valid":true}', b'{"valid":false}',
    b'{"valid":null,"claims":{}}', b'{"valid":true,"claims":null}', b'{"valid":true,"claims":{}}',
    b'{"valid":true,"claims":[]}', b'{"valid":true,"claims":"x"}', b'{"Valid":false}', b'{"valid":false,"valid":true}',
    b'{"valid":' * 3000, b'{"valid":0}', b'{"valid":"false"}', b'{"valid":false,"n":NaN}', b'{"valid":false}{}',
    b'\xef\xbb\xbf{"valid":false}', b'{"valid":false,"x":"\xff"}', b'{"valid":false,"x":"\\ud800"}',
    b' \n{"valid" : false}\r\n\t', b'{"valid":false,}', b'[{"valid":false}]',
    b'{"valid":false,"claims":{"sub":"admin"}}', b'{"valid":false,"error":"<b>"}', b'{"valid":False}',
    b"{'valid':false}", b'{"valid":false,"n":' + b"1" * 65 + b"}",
    b'{"valid":false,"n":' + b"[" * 15 + b"]" * 15 + b"}", b'{"valid":false,"n":' + b"[" * 16 + b"]" * 16 + b"}",
)  # fmt: skip


def fault(draft: Draft, rng: random.Random) -> None:
    """No answer; once more after a reset; a second fault."""
    first = rng.choice(FAULTS)
    draft.replies = [first, *rng.choice(([], draft.replies, ["reset"], ["timeout"]))]


def liar(draft: Draft, rng: random.Random) -> None:
    """Who stands in the broker's place and calls anything valid (T5)."""
    draft.replies = [(200, JSON_ANSWER, b'{"valid":true,"claims":' + draft.text + b"}")]


def status(draft: Draft, rng: random.Random) -> None:
    change_reply(draft, lambda reply: (rng.choice(_STATUSES), reply[1], reply[2]))


def content_type(draft: Draft, rng: random.Random) -> None:
    kinds = rng.choices(_TYPES, k=rng.choice((0, 1, 1, 1, 1, 2)))
    change_reply(draft, lambda reply: (reply[0], tuple(("Content-Type", kind) for kind in kinds), reply[2]))


def encoding(draft: Draft, rng: random.Random) -> None:
    value = rng.choice(("gzip", "br", "identity", "deflate", "zstd", "x", "", "identity, gzip"))
    change_reply(draft, lambda reply: (reply[0], (*reply[1], ("Content-Encoding", value)), reply[2]))


def more_headers(draft: Draft, rng: random.Random) -> None:
    """What changes nothing."""
    new = rng.choice(
        (
            ("Retry-After", "3600"),
            ("X-Request-Id", "x"),
            ("Cache-Control", "max-age=60"),
            ("Set-Cookie", "a=b"),
            ("Date", "x"),
        )
    )
    change_reply(draft, lambda reply: (reply[0], (*reply[1], new), reply[2]))


def body(draft: Draft, rng: random.Random) -> None:
    change_reply(draft, lambda reply: (reply[0], reply[1], rng.choice(_BODIES)))


def body_bytes(draft: Draft, rng: random.Random) -> None:
    """One byte changed, more or less of it, something behind it."""

    def changed(reply: Reply) -> Reply:
        data = bytearray(reply[2])
        place = rng.randrange(len(data) + 1)
        what = rng.randrange(5)
        if what == 0:
            data[place : place + 1] = bytes([rng.randrange(256)])
        elif what == 1:
            data = data[:place]
        elif what == 2:
            data += rng.choice((b"x", b"{}", b" ", b"\n\n", b"\x00", b",", b"\x0b"))
        elif what == 3:
            data = data.replace(
                b"true",
                rng.choice((b"false", b'"true"', b"1", b"null", b"True", b"{}", b"TRUE", b'true,"valid":true')),
                1,
            )
        else:
            data[place:place] = rng.choice((b" ", b"\n", b"\x00", b"/", b'"', b"\xa0"))
        return reply[0], reply[1], bytes(data)

    change_reply(draft, changed)


def size(draft: Draft, rng: random.Random) -> None:
    """Blanks up to exactly 64 KiB, one byte less and one more; far more."""
    length = rng.choice((65_535, 65_536, 65_537, 200_000))
    change_reply(draft, lambda reply: (reply[0], reply[1], reply[2].ljust(length)))


def change_reply(draft: Draft, change: Callable[[Reply], Reply]) -> None:
    draft.replies = [reply if isinstance(reply, str) else change(reply) for reply in draft.replies]


MUTATIONS: Final = (fault, liar, status, content_type, encoding, more_headers, body, body, body_bytes, body_bytes, size)
