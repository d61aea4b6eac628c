"""What a later broker may add is no refusal, and somebody is told (threats B-14, D-04, J-32)."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from agentwrit_guard import Allowed
from tests.core.conftest import GuardMaker
from tests.core.kit import bearer
from tests.kit.stub import StubBroker, json_answer
from tests.kit.tokens import claims, delegated, record, token


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [entry.event for entry in caplog.records if hasattr(entry, "event")]


def adding(**members: Any) -> Any:
    def answer(body: bytes) -> Any:
        payload = json.loads(body)["token"].split(".")[1]
        known = json.loads(base64.urlsafe_b64decode(payload + "=="))
        return json_answer({"valid": True, "claims": {**known, **members}})

    return answer


def test_b_14_a_member_in_the_reply_alone_is_an_event(
    make: GuardMaker, stub: StubBroker, caplog: pytest.LogCaptureFixture
) -> None:
    stub.answer = adding(hostile_name_7291="value-7291")
    assert isinstance(make(stub.url).check(bearer(token())), Allowed)
    assert events(caplog) == ["unknown_field"]
    assert "7291" not in caplog.text


def test_d_04_an_unknown_field_of_a_record_is_an_event(
    make: GuardMaker, stub: StubBroker, caplog: pytest.LogCaptureFixture
) -> None:
    guard = make(stub.url)
    for _ in range(3):
        assert isinstance(guard.check(bearer(token(delegated(record(reason_7291="because"))))), Allowed)
    assert events(caplog) == ["unknown_field"]
    assert "7291" not in caplog.text


def test_j_32_an_unknown_claim_of_the_token_is_ignored(
    make: GuardMaker, stub: StubBroker, caplog: pytest.LogCaptureFixture
) -> None:
    text = token(claims(extra_7291={"a": 1}))
    assert isinstance(make(stub.url).check(bearer(text)), Allowed)
    assert events(caplog) == []


def test_what_is_known_is_no_event(make: GuardMaker, stub: StubBroker, caplog: pytest.LogCaptureFixture) -> None:
    assert isinstance(make(stub.url).check(bearer(token(delegated(record())))), Allowed)
    stub.answer = adding(delegation_chain=None)
    make(stub.url).check(bearer(token()))
    assert events(caplog) == []
