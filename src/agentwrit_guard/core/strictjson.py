"""JSON as RFC 8259 has it and no wider, for bytes that an attacker may have written.

Refused where `json.loads` is lenient: duplicate members, NaN and Infinity, a BOM, other encodings than UTF-8, lone
surrogates, nesting deeper than 16, numbers of absurd length.
"""

from __future__ import annotations

import json
import re
from typing import Final, NoReturn

MAX_DEPTH: Final = 16
_MAX_NUMBER: Final = 64

_MARK = re.compile(r'\\.|["\[\]{}]', re.DOTALL)


def loads(data: bytes) -> object:
    """The one JSON value that `data` is. ValueError for anything else; never RecursionError."""
    text = data.decode("utf-8")
    _check_depth(text)
    value: object = _DECODER.decode(text)
    if "\\u" in text:
        # Only an escape can spell a lone surrogate: strict UTF-8 has none.
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    return value


def _check_depth(text: str) -> None:
    if text.count("{") + text.count("[") <= MAX_DEPTH:
        return
    # Before decoding, because the decoder recurses; one pass, because a pattern for whole strings would backtrack.
    depth = 0
    inside_string = False
    for match in _MARK.finditer(text):
        mark = match.group()
        if mark == '"':
            inside_string = not inside_string
        elif inside_string:
            continue
        elif mark in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise ValueError("nested too deeply")
        elif mark in "]}":
            depth -= 1


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("duplicate member")
    return value


def _int(text: str) -> int:
    if len(text) > _MAX_NUMBER:
        raise ValueError("number too long")
    return int(text)


def _float(text: str) -> float:
    if len(text) > _MAX_NUMBER:
        raise ValueError("number too long")
    return float(text)


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_int, parse_float=_float, parse_constant=_constant, strict=True
)
