"""What is said to the broker and how its answers are read (threats B), flows driven by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from agentwrit_guard.core.wire import BrokerReply, BrokerRequest, ask, same_claims, validate
from agentwrit_guard.errors import BrokerUnavailable
from tests.kit.tokens import NOW, REMOVED, claims, delegated, record

JSON = {"content-type": "application/json"}


def reply(body: object, status: int = 200, headers: Mapping[str, str] = JSON) -> BrokerReply:
    return BrokerReply(status, headers, body if isinstance(body, bytes) else json.dumps(body).encode())


def validated(answer: BrokerReply) -> Mapping[str, object] | None:
    flow = validate("the-token")
    next(flow)
    with pytest.raises(StopIteration) as stop:
        flow.send(answer)
    value: Mapping[str, object] | None = stop.value.value
    return value


def fault(answer: BrokerReply) -> BrokerUnavailable:
    flow = validate("the-token")
    next(flow)
    with pytest.raises(BrokerUnavailable) as caught:
        flow.send(answer)
    assert "the-token" not in str(caught.value)
    return caught.value


def test_validate_sends_the_token_and_nothing_else() -> None:
    request = next(validate("the-token"))
    assert (request.method, request.path, request.bearer) == ("POST", "/v1/token/validate", None)
    assert request.body == b'{"token":"the-token"}'
    assert "the-token" not in repr(request)


def test_a_request_may_have_no_body_and_hides_its_bearer() -> None:
    request = BrokerRequest.post("/v1/token/renew", bearer="the-token")
    assert (request.body, request.bearer) == (None, "the-token")
    assert "the-token" not in repr(request)


def test_valid_true_gives_the_claims() -> None:
    assert validated(reply({"valid": True, "claims": {"sub": "x"}})) == {"sub": "x"}
    assert validated(reply({"valid": True, "claims": {}, "more": [1]})) == {}


@pytest.mark.parametrize("body", [
    {"valid": False}, {"valid": False, "error": "<html>"}, {"valid": False, "claims": {"sub": "x"}}, {"valid": False,
    "x": 1},
])  # fmt: skip
def test_b_16_valid_false_is_no_whatever_else_it_says(body: object) -> None:
    assert validated(reply(body)) is None


BODIES = {
    "B-09 empty": b"", "B-09 HTML": b"<html></html>", "B-09 text": b"valid", "B-09 null": b"null", "B-09 list": b"[]",
    "B-09 true": b"true", "B-09 list of an answer": b'[{"valid":true,"claims":{}}]',
    "B-09 truncated": b'{"valid":true,"cla',
    "B-09 trailing": b'{"valid":true,"claims":{}}x', "B-09 two": b'{"valid":false}{"valid":true,"claims":{}}',
    "B-09 invalid UTF-8": b'{"valid":true,"claims":{"x":"\xff"}}',
    "B-09 BOM": b'\xef\xbb\xbf{"valid":true,"claims":{}}',
    "B-09 duplicate": b'{"valid":false,"valid":true,"claims":{}}',
    "B-09 duplicate in claims": b'{"valid":true,"claims":{"a":1,"a":1}}',
    "B-09 UTF-16": '{"valid":true,"claims":{}}'.encode("utf-16"),
    "B-09 nesting": b'{"valid":true,"claims":' + b"[" * 60_000,
    "B-09 NaN": b'{"valid":true,"claims":{"exp":NaN}}', "B-09 single quotes": b"{'valid':true}",
    "B-09 lone surrogate": b'{"valid":true,"claims":{"sub":"\\ud800"}}',
    "B-12 string true": b'{"valid":"true","claims":{}}', "B-12 string false": b'{"valid":"false"}',
    "B-12 one": b'{"valid":1,"claims":{}}',
    "B-12 1.0": b'{"valid":1.0,"claims":{}}', "B-12 zero": b'{"valid":0}', "B-12 object": b'{"valid":{},"claims":{}}',
    "B-12 null": b'{"valid":null,"claims":{}}', "B-12 missing": b'{"claims":{}}', "B-12 empty object": b"{}",
    "B-12 Valid": b'{"Valid":true,"claims":{}}', "B-12 VALID false": b'{"VALID":false}',
    "B-12 list": b'{"valid":[true],"claims":{}}',
    "B-13 missing": b'{"valid":true}', "B-13 null": b'{"valid":true,"claims":null}',
    "B-13 string": b'{"valid":true,"claims":"{}"}',
    "B-13 list": b'{"valid":true,"claims":[]}', "B-13 true": b'{"valid":true,"claims":true}',
    "B-13 Claims": b'{"valid":true,"Claims":{}}',
}  # fmt: skip


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_b_a_body_that_is_no_answer(body: bytes) -> None:
    found = fault(reply(body))
    assert (found.fault, found.retryable, found.status) == ("body", False, None)


@pytest.mark.parametrize("content_type", [
    None, "", "text/html", "text/plain", "application/jsonp", "application/json-patch+json", "application/xml",
    "json", "*/*",
    "application/json; charset=latin-1", "application/json; charset=utf-16", "application/json, text/html",
    "application/json; boundary=x", "text/json", "application/problem+json", "application/vnd.api+json",
])  # fmt: skip
def test_b_10_content_type(content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    found = fault(reply({"valid": True, "claims": {}}, headers=headers))
    assert found.fault == "content_type"


@pytest.mark.parametrize("content_type", [
    "application/json", "application/json;", "Application/JSON", "application/json; charset=utf-8",
    'application/json;charset="UTF-8"', "application/json ; charset=utf-8",
])  # fmt: skip
def test_b_10_content_type_of_the_broker(content_type: str) -> None:
    assert validated(reply({"valid": True, "claims": {}}, headers={"content-type": content_type})) == {}


STATUSES = [
    *[(status, "redirect") for status in (300, 301, 302, 303, 304, 307, 308)],
    *[(status, "status") for status in (101, 201, 202, 204, 206, 299, 400, 401, 403, 404, 405, 413, 429, 500, 502,
        503, 504)],
]  # fmt: skip


@pytest.mark.parametrize("status, word", STATUSES, ids=[
    f"{'B-08' if word == 'redirect' else 'B-04 B-05 B-06 B-07'} {status}" for status, word in STATUSES
])  # fmt: skip
@pytest.mark.parametrize("body", [{"valid": True, "claims": {}}, {"valid": False}], ids=["valid", "invalid"])
def test_b_only_200_is_an_answer(status: int, word: str, body: object) -> None:
    found = fault(reply(body, status, {**JSON, "retry-after": "7", "location": "https://elsewhere.example"}))
    assert (found.fault, found.status, found.retry_after, found.retryable) == (word, status, 7.0, False)
    assert "elsewhere" not in str(found)


@pytest.mark.parametrize("text, seconds", [
    ("1", 1.0), ("3600", 3600.0), ("0", 0.0), ("abc", None), ("", None), ("-1", None), ("1.5", None), ("+1", None),
    (" 1", None),
    ("\u0663", None), ("²", None), ("9" * 9, 999_999_999.0), ("9" * 10, None), ("Wed, 21 Oct 2026 07:28:00 GMT",
    None), ("1, 2", None),
])  # fmt: skip
def test_b_05_retry_after(text: str, seconds: float | None) -> None:
    assert BrokerReply(429, {"retry-after": text}, b"").retry_after == seconds
    assert BrokerReply(429, {}, b"").retry_after is None


def broken(word: str = "reset", retryable: bool = True) -> BrokerUnavailable:
    return BrokerUnavailable(word, "it broke", retryable=retryable)


def test_b_03_one_retry_for_a_fault_that_had_no_answer() -> None:
    request = BrokerRequest.post("/x")
    flow = ask(request)
    assert next(flow) is request
    assert flow.throw(broken()) is request
    with pytest.raises(StopIteration) as stop:
        flow.send(reply({}))
    assert stop.value.value.status == 200


def test_b_03_no_second_retry() -> None:
    flow = ask(BrokerRequest.post("/x"))
    next(flow)
    flow.throw(broken())
    second = broken()
    with pytest.raises(BrokerUnavailable) as caught:
        flow.throw(second)
    assert caught.value is second


@pytest.mark.parametrize("word", ["connect", "timeout", "tls", "too_large", "encoding"])
def test_b_03_no_retry_for_other_faults(word: str) -> None:
    flow = ask(BrokerRequest.post("/x"))
    next(flow)
    with pytest.raises(BrokerUnavailable) as caught:
        flow.throw(broken(word, retryable=False))
    assert caught.value.fault == word


CHANGED: dict[str, Any] = {
    "iss": "https://x", "sub": "admin", "exp": NOW + 301, "nbf": NOW - 1, "iat": NOW - 1, "jti": "j",
    "scope": ["read:customers:*"],
    "task_id": "t", "orch_id": "o", "sid": "s", "aud": ["a"], "chain_hash": "0" * 64, "delegation_chain": [record()],
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGED)
def test_b_14_any_one_claim_changed(name: str) -> None:
    assert not same_claims(claims(), claims(**{name: CHANGED[name]}))
    assert not same_claims(claims(**{name: CHANGED[name]}), claims())
    if name in claims():
        assert same_claims(claims(), claims(**{name: REMOVED})) is False


DIFFERENT = [
    pytest.param(claims(exp=float(NOW + 300)), id="a float"),
    pytest.param(claims(exp=str(NOW + 300)), id="a string"),
    pytest.param(claims(scope="read:customers:7291"), id="a bare scope"),
    pytest.param(claims(scope=["read:customers:7291"] * 2), id="a scope twice"),
    pytest.param(claims(task_id=None), id="null for a text"),
    pytest.param(claims(delegation_chain="[]"), id="a text for a chain"),
    pytest.param(claims(delegation_chain=["record"]), id="a text for a record"),
    pytest.param({}, id="nothing"),
    pytest.param(
        {"SUB" if name == "sub" else name: value for name, value in claims().items()}, id="a name in capitals"
    ),
    *[pytest.param(claims(aud=value), id=f"aud {value!r}") for value in ("", 0, False, {}, [""], [None], [[]])],
]


@pytest.mark.parametrize("other", DIFFERENT)
def test_b_14_what_is_not_the_same(other: dict[str, Any]) -> None:
    assert not same_claims(claims(), other)


@pytest.mark.parametrize("value", ["", 0, False, {}, [""]], ids=repr)
def test_b_14_no_scope_is_missing_null_or_an_empty_list(value: object) -> None:
    assert not same_claims(claims(scope=REMOVED), claims(scope=value))


def test_b_14_one_and_true_are_not_the_same() -> None:
    assert not same_claims(claims(nbf=1), claims(nbf=True))


def test_b_14_order_counts_in_lists_and_not_in_objects() -> None:
    assert not same_claims(claims(scope=["r:a:1", "r:b:1"]), claims(scope=["r:b:1", "r:a:1"]))
    assert same_claims(claims(), dict(reversed(list(claims().items()))))
    chain = [record(), record(scope=("read:customers:1",))]
    assert not same_claims(delegated(*chain), delegated(*chain) | {"delegation_chain": chain[::-1]})


EMPTY = [REMOVED, None, []]


@pytest.mark.parametrize("token_side", EMPTY, ids=["missing", "null", "empty"])
@pytest.mark.parametrize("reply_side", EMPTY, ids=["missing", "null", "empty"])
def test_b_14_an_empty_aud_or_scope_has_three_spellings(token_side: object, reply_side: object) -> None:
    for name in ("aud", "scope"):
        assert same_claims(claims(**{name: token_side}), claims(**{name: reply_side}))


def test_b_14_unknown_members_are_dropped_on_both_sides() -> None:
    assert same_claims(claims(x=1), claims())
    assert same_claims(claims(), claims(y={"deep": [1]}))


def test_b_14_d_04_unknown_members_of_a_record_are_dropped_on_both_sides() -> None:
    # The broker writes the records anew and drops what it does not know (contract section 5, validate).
    assert same_claims(delegated(record(hop=1)), delegated(record(hop=1)) | {"delegation_chain": [record()]})
