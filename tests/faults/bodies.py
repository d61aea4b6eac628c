"""Whole answers of status 200 that are none of the contract's: bodies, types, sizes, verdicts (B-09 to B-13)."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any, Final

from agentwrit_guard.core.decisions import Reason
from tests.faults.acts import Said, answers, pours, says
from tests.faults.broker import FaultBroker
from tests.faults.fault import Fault
from tests.faults.timing import CHUNKED, LINE
from tests.kit.stub import valid
from tests.kit.tokens import REMOVED
from tests.link.raw import answer


def json_body(name: str, body: Said, word: str = "body", **more: Any) -> Fault:
    def said(broker: FaultBroker, asked: bytes) -> bytes:
        return answer(body if isinstance(body, bytes) else body(broker, asked))

    return Fault(name, answers(said), (word,), **more)


def changed(change: Callable[[bytes], bytes]) -> Said:
    """The answer of an honest broker, changed."""
    return lambda _, asked: change(valid(asked)[2].strip())


def typed(name: str, *lines: bytes) -> Fault:
    """A yes in every respect but its content type."""

    def said(_: FaultBroker, asked: bytes) -> bytes:
        body = valid(asked)[2]
        return LINE + b"".join(line + b"\r\n" for line in lines) + b"Content-Length: %d\r\n\r\n" % len(body) + body

    return Fault(f"B-10 {name}", answers(said), ("content_type",))


def coded(name: str, said: bytes, word: str = "encoding", **more: Any) -> Fault:
    return Fault(f"B-11 {name}", answers(said), (word,), **more)


def poured(name: str, first: bytes, rest: bytes, *words: str, calls: int = 1) -> Fault:
    return Fault(f"B-11 {name}", pours(first, rest), words, calls=calls, pours=True)


def verdict(name: str, **members: Any) -> Fault:
    """An honest answer with members changed, or taken out by REMOVED."""

    def said(_: FaultBroker, asked: bytes) -> bytes:
        honest: dict[str, Any] = {**json.loads(valid(asked)[2]), **members}
        return json.dumps({member: value for member, value in honest.items() if value is not REMOVED}).encode()

    return json_body(name, said)


BOMB: Final = gzip.compress(b" " * 50_000_000)
BODIES: Final = [
    json_body("B-09 empty body", b""),
    json_body("B-09 blank body", b" \r\n"),
    json_body("B-09 HTML", b"<!doctype html><title>broker-says</title>"),
    json_body("B-09 text", b"valid"),
    json_body("B-09 null", b"null"),
    json_body("B-09 true", b"true"),
    json_body("B-09 []", b"[]"),
    json_body("B-09 a list around the answer", changed(lambda body: b"[" + body + b"]")),
    json_body("B-09 a string around the answer", changed(lambda body: json.dumps(body.decode()).encode())),
    json_body("B-09 truncated JSON", changed(lambda body: body[:-1])),
    json_body("B-09 trailing garbage", changed(lambda body: body + b" x")),
    json_body("B-09 two objects", changed(lambda body: body + b'\n{"valid":true}')),
    json_body("B-09 a NUL behind it", changed(lambda body: body + b"\x00")),
    json_body("B-09 invalid UTF-8", b'{"valid":false,"error":"\xff"}'),
    json_body("B-09 overlong UTF-8", b'{"valid":false,"error":"\xc0\xaf"}'),
    json_body("B-09 a BOM", changed(lambda body: b"\xef\xbb\xbf" + body)),
    json_body("B-09 UTF-16", changed(lambda body: body.decode().encode("utf-16"))),
    json_body("B-09 UTF-16 without a BOM", changed(lambda body: body.decode().encode("utf-16-le"))),
    json_body("B-09 half a surrogate pair", b'{"valid":false,"error":"\\ud800"}'),
    json_body("B-09 duplicate keys, false first", changed(lambda body: b'{"valid":false,' + body[1:])),
    json_body("B-09 duplicate keys, true first", b'{"valid":true,"claims":{},"valid":false}'),
    json_body("B-09 duplicate keys, one spelt in escapes", b'{"valid":false,"\\u0076alid":true,"claims":{}}'),
    json_body("B-09 duplicate claims", changed(lambda body: b'{"claims":{},' + body[1:])),
    json_body("B-09 duplicate keys within the claims",
              changed(lambda body: body.replace(b'"sub":', b'"sub":"x","sub":'))),
    json_body("B-09 nesting bomb of lists", b'{"valid":false,"x":' + b"[" * 60_000),
    json_body("B-09 nesting bomb of objects", b'{"a":' * 12_000),
    json_body("B-09 nested one deeper than 16", b'{"valid":false,"x":' + b"[" * 16 + b"]" * 16 + b"}"),
    json_body("B-09 NaN", b'{"valid":false,"x":NaN}'),
    json_body("B-09 Infinity", b'{"valid":false,"x":-Infinity}'),
    json_body("B-09 a number of 5,000 digits", b'{"valid":false,"x":' + b"9" * 5000 + b"}"),
    json_body("B-09 single quotes", b"{'valid':false}"),
    json_body("B-09 a comment", b'{"valid":false}//'),
    json_body("B-09 a trailing comma", b'{"valid":false,}'),
    json_body("B-09 a raw line break in a string", b'{"valid":false,"error":"a\nb"}'),
    json_body("B-09 an XSSI prefix", changed(lambda body: b")]}'\n" + body)),
    typed("text/html", b"Content-Type: text/html"),
    typed("missing"),
    typed("empty", b"Content-Type: "),
    typed("text/json", b"Content-Type: text/json"),
    typed("application/problem+json", b"Content-Type: application/problem+json"),
    typed("application/json-seq", b"Content-Type: application/json-seq"),
    typed("charset latin-1", b"Content-Type: application/json; charset=iso-8859-1"),
    typed("charset utf-16", b"Content-Type: application/json;charset=utf-16"),
    typed("twice, and they differ", b"Content-Type: application/json", b"Content-Type: text/html"),
    typed("twice in one", b"Content-Type: text/html, application/json"),
    coded("gzip bomb", answer(BOMB, b"Content-Encoding: gzip")),
    coded("deflate", answer(BOMB, b"Content-Encoding: deflate")),
    coded("br", answer(b"{}", b"Content-Encoding: br")),
    coded("two encodings", answer(b"{}", b"Content-Encoding: identity, gzip")),
    coded("encoding twice", answer(b"{}", b"Content-Encoding: identity", b"Content-Encoding: gzip")),
    coded("gzip bomb that is called JSON", answer(BOMB[:60_000]), "body"),
    Fault("B-11 gzip bomb as a transfer encoding",
          says(CHUNKED.replace(b"chunked", b"gzip, chunked") + b"%x\r\n" % len(BOMB) + BOMB + b"\r\n0\r\n\r\n"),
          ("reset",), calls=2),
    coded("64 KiB + 1", answer(b'{"valid":false}' + b" " * (65_537 - 15)), "too_large"),
    coded("64 KiB + 1, in chunks",
          CHUNKED + b'f\r\n{"valid":false}\r\nfff2\r\n' + b" " * 0xFFF2 + b"\r\n0\r\n\r\n", "too_large"),
    poured("10 MB", answer(b"", length=10_000_000), b" ", "too_large"),
    poured("endless body", LINE + b"Content-Type: application/json\r\n\r\n", b" ", "too_large"),
    poured("endless chunks", CHUNKED, b"1000\r\n" + b" " * 0x1000 + b"\r\n", "too_large"),
    poured("endless small chunks", CHUNKED, b"1\r\n \r\n", "too_large"),
    poured("endless header", LINE + b"X-A: ", b"a", "reset", calls=2),
    poured("endless headers", LINE, b"X-A: aaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n", "reset", calls=2),
    poured("endless gzip", LINE + b"Content-Encoding: gzip\r\n\r\n", BOMB[:4096], "encoding"),
    *(verdict(f"B-12 valid {json.dumps(value)}", valid=value) for value in
      ("true", "false", "", 1, 0, 1.0, {}, [], [True], None)),
    verdict("B-12 valid missing", valid=REMOVED),
    verdict("B-12 Valid: true", valid=REMOVED, Valid=True),
    verdict("B-12 VALID: false", valid=REMOVED, VALID=False),
    verdict("B-12 active: true", valid=REMOVED, active=True),
    verdict("B-13 claims missing", claims=REMOVED),
    verdict("B-13 claims under another name", claims=REMOVED, Claims={"sub": "x"}),
    json_body("B-13 claims {}", b'{"valid":true,"claims":{}}', reason=Reason.CLAIMS_MISMATCH),
    *(verdict(f"B-13 claims {json.dumps(value)}", claims=value) for value in (None, "sub", [], [{}], 1, True)),
]  # fmt: skip
