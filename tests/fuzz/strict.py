"""Strict readers for the reference, from threats.md alone and by other means than the guard's: no code is shared."""

from __future__ import annotations

import base64
import json
import re
from datetime import datetime, timezone
from typing import Any, Final

ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
LONG_NUMBER: Final = 64
DEPTH: Final = 16

_LETTERS: Final = set(ALPHABET)
_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+', re.DOTALL)


class Refused(Exception):
    """What was read is not of the strict form."""


def one_object(data: bytes) -> dict[str, Any]:
    """RFC 8259 and nothing wider: UTF-8, one object, no duplicate, no lone surrogate, depth 16 (J-05, J-06, J-18)."""
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_once,
            parse_int=lambda text: int(_short(text)),
            parse_float=lambda text: float(_short(text)),
            parse_constant=_refuse,
        )
    except (ValueError, RecursionError):
        raise Refused("JSON") from None
    if not isinstance(value, dict):
        raise Refused("no object")
    _walk(value, 1)
    return value


def segment(text: str) -> bytes:
    """Base64url in its one spelling: no padding, the bits that are left over are zero (J-14, J-15)."""
    if not text or not set(text) <= _LETTERS or len(text) % 4 == 1:
        raise Refused("base64url")
    if ALPHABET.index(text[-1]) % {0: 1, 2: 16, 3: 4}[len(text) % 4]:
        raise Refused("left-over bits")
    return base64.b64decode(text.translate({45: "+", 95: "/"}) + "==="[: -len(text) % 4])


def raw_member(text: str, name: str) -> str:
    """The text of a member of an object that has been read before, as it stands there."""
    depth, wanted, begin, last = 0, False, -1, 0
    before = ""
    for found in _TOKENS.finditer(text):
        mark = found[0]
        if depth == 1 and wanted and mark in (",", "}"):
            return text[begin:last]
        if depth == 1 and mark == ":":
            wanted, begin = json.loads(before) == name, -1
        elif wanted and begin < 0:
            begin = found.start()
        depth += (mark in "{[") - (mark in "}]")
        before, last = mark, found.end()
    raise Refused("no such member")


def instant(text: str) -> datetime:
    """A time in UTC, to the microsecond; what is finer is compared as text (D-05)."""
    date, clock, zone = text[:10], text[10:19], text[19:]
    if not re.fullmatch(r"(\.[0-9]{1,9})?Z", zone) or not text.isascii():
        raise Refused("zone")
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", date) or not re.fullmatch(r"T[0-9]{2}:[0-9]{2}:[0-9]{2}", clock):
        raise Refused("form")
    numbers = [int(part) for part in re.split("[-T:]", date + clock)]
    try:
        year, month, day, hour, minute, second = numbers
        return datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc)
    except ValueError:
        raise Refused("no such time") from None


def fraction(text: str) -> str:
    """The digits behind the second, nine of them."""
    return text[20:-1].ljust(9, "0")


def _walk(value: Any, depth: int) -> None:
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise Refused("surrogate") from None
    elif isinstance(value, (dict, list)):
        if depth > DEPTH:
            raise Refused("depth")
        for child in [*value, *value.values()] if isinstance(value, dict) else value:
            _walk(child, depth + 1)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("duplicate")
    return dict(pairs)


def _short(text: str) -> str:
    if len(text) > LONG_NUMBER:
        raise ValueError("long")
    return text


def _refuse(name: str) -> None:
    raise ValueError(name)
