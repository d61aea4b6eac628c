"""JSON as RFC 8259 has it and no wider."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentwrit_guard.core.strictjson import MAX_DEPTH, loads

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**62), 2**62)
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(values)
def test_reads_what_json_writes(value: object) -> None:
    for ascii_only in (True, False):
        try:
            data = json.dumps(value, ensure_ascii=ascii_only).encode()
        except UnicodeEncodeError:
            continue
        assert loads(data) == value


@given(
    st.binary(max_size=60) | st.text(alphabet='{}[]"\\:,0123456789eE+-.truefalsn \t\nu', max_size=60).map(str.encode)
)
def test_agrees_with_json_wherever_it_accepts_and_only_raises_valueerror(data: bytes) -> None:
    try:
        value = loads(data)
    except ValueError:
        return
    assert json.loads(data) == value


REFUSED = {
    "empty": b"", "blank": b" ", "BOM": b"\xef\xbb\xbf{}", "UTF-16": '{"a":1}'.encode("utf-16"), "bad UTF-8": b'"\xff"',
    "surrogate bytes": b'"\xed\xa0\x80"', "lone surrogate": b'"\\ud800"', "two low surrogates": b'"\\udc00\\udc00"',
    "surrogate as a name": b'{"\\udc00":1}', "surrogate, deep": b'[[{"a":["\\ud83d"]}]]',
    "duplicate": b'{"a":1,"a":1}', "duplicate by escape": b'{"a":1,"\\u0061":2}',
    "duplicate, deep": b'[{"b":{"a":1,"a":2}}]',
    "NaN": b"NaN", "Infinity": b"[Infinity]", "-Infinity": b'{"a":-Infinity}', "trailing": b"{}{}",
    "trailing comma": b"[1,]",
    "comment": b"[1]//x", "single quotes": b"{'a':1}", "raw control": b'"a\nb"', "leading zero": b"01", "plus": b"+1",
    "point first": b".5", "point last": b"5.", "hex": b"0x1", "no-break space": b"\xc2\xa0{}", "NUL after": b"{}\x00",
    "vertical tab": b"\x0b{}", "bad escape": b'"\\x41"', "short escape": b'"\\u12"', "long integer": b"1" * 65,
    "long fraction": b"0." + b"1" * 63, "long negative": b"-" + b"1" * 64, "deep lists": b"[" * 17 + b"]" * 17,
    "deep objects": b'{"a":' * 17 + b"1" + b"}" * 17, "mixed": b'[{"a":' * 9 + b"1" + b"}]" * 9,
    "bomb": b"[" * 300_000, "bomb behind a string": b'["\\"",' + b"[" * 300_000, "unclosed": b'{"a":[1,2',
    "lone quote": b'"',
    "closed too often": b"]]]]" + b"[" * 18, "escape outside": b'\\"[[[',
}  # fmt: skip


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_refuses(data: bytes) -> None:
    with pytest.raises(ValueError):
        loads(data)


ACCEPTED = {
    "depth 16": (b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, None),
    "brackets in a string": (b'"' + b"[" * 100 + b'"', "[" * 100),
    "brackets behind an escaped quote": (b'"\\"' + b"{" * 100 + b'"', '"' + "{" * 100),
    "backslash before the end": (b'["\\\\",[1]]', ["\\", [1]]),
    "wide, not deep": (b"[" + b"[]," * 5000 + b"[]]", [[]] * 5001),
    "64 digits": (b"9" * 64, int("9" * 64)),
    "64 characters": (b"0." + b"1" * 62, float("0." + "1" * 62)),
    "surrogate pair": (b'"\\ud83d\\ude00"', "\U0001f600"),
    "escaped, then raw": ('"\\u00e9é"'.encode(), "éé"),
    "noncharacter": ('"\uffff"'.encode(), "\uffff"),
    "blanks": (b" \t\r\n{ } \n", {}),
}  # fmt: skip


@pytest.mark.parametrize("data, value", ACCEPTED.values(), ids=ACCEPTED)
def test_accepts(data: bytes, value: object) -> None:
    found = loads(data)
    if value is not None:
        assert found == value


def test_j_an_escape_outside_of_a_string_is_no_json_however_much_is_nested_beside_it() -> None:
    with pytest.raises(ValueError):
        loads(b"[" + b"[]," * MAX_DEPTH + b"\\n]")
