"""JSON read and written the way the broker does it (contract section 2).

Reading is lenient where the broker is: member names match whatever their case, the last duplicate wins, unknown members
and data after the first value are ignored, `null` is the zero value, a lone surrogate or a broken byte is U+FFFD.
It is strict where the broker is: no floats for integers, nothing beyond 64 bits, no string for a list.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")

_SURROGATE = re.compile("[\ud800-\udfff]")
_SPACE = " \t\n\r"
_ESCAPED = {char: f"\\u{char:04x}" for char in map(ord, "&<>\u2028\u2029")}
_INT64 = range(-(2**63), 2**63)
BAD_BYTES = "agentwrit_guard.devbroker.bad_bytes"
"""The error handler for `bytes.decode` that replaces every broken byte, as the broker does."""


class Malformed(ValueError):
    """Not JSON, not an object, or a member of the wrong type. Carries no part of the text."""


class Members(list[tuple[str, object]]):
    """One JSON object as its members in order, duplicates kept. Its repr has names only: bodies carry secrets."""

    def __repr__(self) -> str:
        return f"Members({[name for name, _ in self]!r})"


class OtherNumber:
    """A number that is no integer literal of 64 signed bits."""


def fields(data: bytes, *, trailing: bool = True) -> Fields:
    """The members of the one object in `data`; `null` is an object without members.

    `trailing` says whether anything may follow the object: bodies ignore it, token segments and admin auth refuse it.
    """
    value = _parse(data, trailing=trailing)
    if value is None:
        return Fields(Members())
    if not isinstance(value, Members):
        raise Malformed("not an object")
    return Fields(value)


class Fields:
    """Typed reading of an object's members. Every occurrence is type-checked, also one that a later one replaces."""

    def __init__(self, members: Members) -> None:
        self._members = members

    def text(self, name: str, zero: str = "") -> str:
        """A string; `zero` when missing or `null`."""
        return self._last(name, zero, _text)

    def integer(self, name: str) -> int | None:
        """An integer; None when missing or `null`."""
        return self._last(name, None, _integer)

    def boolean(self, name: str) -> bool | None:
        """A boolean; None when missing or `null`."""
        return self._last(name, None, _boolean)

    def texts(self, name: str) -> list[str] | None:
        """A list of strings, `null` elements as `""`; None when missing or `null`."""
        return self._last_list(name, _text, "")

    def objects(self, name: str) -> list[Fields] | None:
        """A list of objects, `null` elements as empty ones; None when missing or `null`."""
        return self._last_list(name, _object, Fields(Members()))

    def _values(self, name: str) -> list[object]:
        return [value for key, value in self._members if _folded(key) == name]

    def _last(self, name: str, zero: T, read: Callable[[object], T]) -> T:
        found = zero
        for value in self._values(name):
            # A null leaves what an earlier duplicate has set.
            if value is not None:
                found = read(value)
        return found

    def _last_list(self, name: str, read: Callable[[object], T], zero: T) -> list[T] | None:
        found: list[T] | None = None
        for value in self._values(name):
            if value is None:
                found = None
            elif isinstance(value, list) and not isinstance(value, Members):
                found = [zero if item is None else read(item) for item in value]
            else:
                raise Malformed("not a list")
        return found


def dumps(value: Any) -> str:
    """Compact JSON as the broker writes it, members in the order given: tokens, chain hashes and bodies."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).translate(_ESCAPED)


def body(value: Any) -> bytes:
    """A reply's body: `dumps` and one newline."""
    return f"{dumps(value)}\n".encode()


def _parse(data: bytes, *, trailing: bool) -> object:
    text = data.decode("utf-8", BAD_BYTES)
    start = len(text) - len(text.lstrip(_SPACE))
    try:
        value, end = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        # Not chained: a JSONDecodeError carries the whole text.
        raise Malformed("not JSON") from None
    if not trailing and text[end:].strip(_SPACE):
        raise Malformed("more than one value")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise Malformed("not a string")
    return _SURROGATE.sub("\ufffd", value)


def _integer(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise Malformed("not an integer")
    return value


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise Malformed("not a boolean")
    return value


def _object(value: object) -> Fields:
    if not isinstance(value, Members):
        raise Malformed("not an object")
    return Fields(value)


def _folded(name: str) -> str:
    # One character at a time: the broker folds U+017F to s, but not U+00DF to ss.
    return "".join(char.casefold() if len(char.casefold()) == 1 else char for char in name)


def _number(literal: str) -> int | OtherNumber:
    if len(literal) > 20 or int(literal) not in _INT64:
        return OtherNumber()
    return int(literal)


def _other_number(literal: str) -> OtherNumber:
    return OtherNumber()


def _no_constant(literal: str) -> NoReturn:
    raise Malformed("not JSON")


def _one_mark_a_byte(error: UnicodeError) -> tuple[str, int]:
    # Python replaces a broken sequence as a whole, the broker each of its bytes.
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "\ufffd" * (error.end - error.start), error.end


codecs.register_error(BAD_BYTES, _one_mark_a_byte)
_DECODER = json.JSONDecoder(
    object_pairs_hook=Members, parse_int=_number, parse_float=_other_number, parse_constant=_no_constant
)
