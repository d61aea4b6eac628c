"""Inputs that are made to cost time, each at any length: of a header's value, or of a query."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping

from bench.drills.tokens import HEAD, claims, encoded, packed

Make = Callable[[int], bytes]
"""The input of about so many bytes, and no more."""

_BEARER = b"Bearer "
_SIGNATURE = b"A" * 86


def _repeated(part: bytes, before: bytes = b"", after: bytes = b"") -> Make:
    return lambda length: before + part * ((length - len(before) - len(after)) // len(part)) + after


def _payload(fill: Callable[[int], str]) -> Make:
    """A token whose payload is a text of that many characters, so that the token has the length."""

    def make(length: int) -> bytes:
        room = (length - len(packed(HEAD)) - len(_SIGNATURE) - 2) * 3 // 4
        token = b".".join((packed(HEAD), encoded(fill(room).encode()), _SIGNATURE))
        assert len(token) <= length, len(token)
        return _BEARER + token

    return make


def _filled(before: str, part: str, after: str) -> Make:
    return _payload(
        lambda room: before + part * ((room - len((before + after).encode())) // len(part.encode())) + after
    )


def _numbered(before: str, part: str, after: str) -> Make:
    """The same, with another number for each `#`."""

    def fill(room: int) -> str:
        parts, left, number = [], room - len(before) - len(after), 0
        while (text := part.replace("#", str(10_000 + number))) and len(text) <= left:
            parts.append(text)
            left -= len(text)
            number += 1
        return before + "".join(parts) + after

    return _payload(fill)


def _claiming(members: Callable[[int], dict[str, object]]) -> Make:
    """A token with the best of claims, but for members that fill it: as many of them as there is room for."""

    def fill(room: int) -> str:
        count = 1
        text = json.dumps(claims("x", **members(count)), separators=(",", ":"))
        while len(longer := json.dumps(claims("x", **members(count + 1)), separators=(",", ":"))) <= room:
            count, text = count + 1, longer
        return text

    return _payload(fill)


def _scopes(count: int) -> dict[str, object]:
    return {"scope": [f"read:data:{number}" for number in range(count)]}


def _chain(count: int) -> dict[str, object]:
    """Two hops, each with every scope: nothing is wrong with them."""
    records = [
        {
            "agent": f"spiffe://agentwrit.local/agent/drill/x/{hop}", "delegated_at": "2026-01-01T00:00:00Z",
            "signature": "s", **_scopes(count),
        }
        for hop in ("a", "b")
    ]  # fmt: skip
    raw = json.dumps(records, separators=(",", ":"))
    chain_hash = hashlib.sha256(raw.encode()).hexdigest()
    return {**_scopes(count), "delegation_chain": records, "chain_hash": chain_hash}


HEADERS: Mapping[str, Make] = {
    "commas": _repeated(b","),
    "commas and blanks": _repeated(b", ", _BEARER),
    "tokens in a row": _repeated(b"Bearer x, "),
    "blanks alone": _repeated(b" "),
    "tabs alone": _repeated(b"\t"),
    "blanks after the scheme": _repeated(b" ", b"Bearer", b"\t"),
    "blanks within": _repeated(b" ", b"Bearer x", b"y"),
    "blanks and letters": _repeated(b"x ", _BEARER),
    "a long scheme": _repeated(b"x"),
    "a long scheme, and a byte that ends it": _repeated(b"x", b"", b"\xff"),
    "dots": _repeated(b".", _BEARER),
    "letters and dots": _repeated(b"e.", _BEARER),
    "one long segment": _repeated(b"A", _BEARER),
    "a long header": _repeated(b"A", _BEARER, b"." + packed({}) + b"." + _SIGNATURE),
    "a long payload": _repeated(b"A", _BEARER + packed(HEAD) + b".", b"." + _SIGNATURE),
    "a long payload with a wrong last byte": _repeated(b"A", _BEARER + packed(HEAD) + b".", b"!." + _SIGNATURE),
    "a long payload of padding": _repeated(b"=", _BEARER + packed(HEAD) + b".", b"." + _SIGNATURE),
    "a long signature": _repeated(b"A", _BEARER + packed(HEAD) + b"." + packed({}) + b"."),
    "arrays in arrays": _filled("", "[", ""),
    "objects in objects": _filled("", '{"":', ""),
    "arrays, opened and closed": _filled("[", "[],", "[]]"),
    "quotes": _filled("", '"', ""),
    "backslashes": _filled('{"', "\\", ""),
    "escapes": _filled('{"x":"', "\\u0041", '"}'),
    "half of an escape": _filled('{"x":"', "\\ud83d", '"}'),
    "one long text": _filled('{"x":"', "x", '"}'),
    "one long text without an end": _filled('{"x":"', "x", ""),
    "one long text of two-byte letters": _filled('{"x":"', "é", '"}'),
    "white space": _filled("{", " ", "}"),
    "a huge number": _filled('{"exp":', "9", "}"),
    "a huge fraction": _filled('{"exp":0.', "9", "}"),
    "a huge exponent": _filled('{"exp":1e', "9", "}"),
    "numbers": _filled('{"x":[', "1,", "1]}"),
    "minus signs": _filled('{"x":', "-", "}"),
    "members": _numbered("{", '"#":1,', '"x":1}'),
    "the same member": _filled("{", '"a":1,', '"a":1}'),
    "members that look like others": _numbered("{", '"EXP#":1,', '"x":1}'),
    "scopes": _claiming(_scopes),
    "scopes all alike": _claiming(lambda count: {"scope": ["read:data:1"] * count}),
    "one long scope": _claiming(lambda count: {"scope": ["read:data:" + "x" * count]}),
    "colons": _claiming(lambda count: {"scope": [":" * count]}),
    "audiences": _claiming(lambda count: {"aud": [f"api-{number}" for number in range(count)]}),
    "a long subject": _claiming(lambda count: {"sub": "spiffe://agentwrit.local/agent/" + "a/" * count}),
    "dots in a subject": _claiming(lambda count: {"sub": "spiffe://agentwrit.local/agent/" + "." * count}),
    "a long subject without an end": _claiming(lambda count: {"sub": "spiffe://" + "a" * count}),
    "a chain": _claiming(_chain),
    "a chain of nothing": _claiming(lambda count: {"delegation_chain": [{}] * count}),
}

QUERIES: Mapping[str, Make] = {
    "fields": _repeated(b"access_token_=1&"),
    "ampersands": _repeated(b"&", b"access_token_"),
    "escaped letters": _repeated(b"%61", b"access_token_"),
    "per cent signs": _repeated(b"%"),
    "semicolons": _repeated(b";", b"access_token_"),
    "equals signs": _repeated(b"=", b"access_token_"),
    "plus signs": _repeated(b"+", b"access_token_"),
}
