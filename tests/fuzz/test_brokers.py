"""The guard against a broker's own word, over real connections: the twin's, whose clock stands still."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import pytest

from agentwrit_guard.core import wire
from agentwrit_guard.core.decisions import Reason
from agentwrit_guard.devbroker import DevBroker
from tests.fuzz import brokers, runs
from tests.fuzz.__main__ import main
from tests.fuzz.broken import forbidden_as_unauthorised, nothing_rejected
from tests.fuzz.draft import sign
from tests.kit.tokens import NOW, b64

COUNT = 250


@pytest.fixture(scope="module")
def twin() -> Iterator[DevBroker]:
    with DevBroker(clock=lambda: NOW, rate_limits=False) as broker:
        yield broker


def tallied(twin: DevBroker, count: int, signer: Callable[[str], str]) -> runs.Tally:
    tally = runs.Tally()
    for part in brokers.spread(twin.url, twin.admin_secret, 3, count, signer=signer, now=lambda: NOW):
        tally.add(part)
    return tally


def keyed(twin: DevBroker) -> Callable[[str], str]:
    """Signs as the twin does, so that it calls hostile tokens valid."""
    return lambda signed: b64(twin.private_key.sign(signed.encode()))


@pytest.mark.parametrize("key", ["foreign", "the broker's"])
def test_p1_what_the_guard_allows_the_broker_calls_valid(twin: DevBroker, key: str) -> None:
    before = twin.calls["/v1/token/validate"]
    tally = tallied(twin, COUNT, sign if key == "foreign" else keyed(twin))
    assert tally.differences == []
    assert tally.inputs == COUNT
    assert tally.allowed >= runs.LEAST_ALLOWED
    # The comparison asks once for each, and the guard now and then.
    assert twin.calls["/v1/token/validate"] - before > COUNT * 1.2


@pytest.mark.parametrize("spoil, says", [
    (nothing_rejected, "guard says allow (ok), reference says 401"),
    (forbidden_as_unauthorised, "guard says 401 (rejected_by_broker), reference says 403"),
])  # fmt: skip
def test_a_guard_that_contradicts_the_broker_is_noticed(
    twin: DevBroker, spoil: Callable[[pytest.MonkeyPatch], None], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch)
    assert any(says in difference for difference in tallied(twin, COUNT, sign).differences)


def test_a_broker_is_believed_over_the_reference(twin: DevBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the reference as wrong as the guard, the broker's word would still tell."""
    nothing_rejected(monkeypatch)
    monkeypatch.setattr(brokers, "disagreement", lambda case, judge: (judge(case), ""))
    found = tallied(twin, COUNT, sign).differences
    assert any("guard allows what the broker calls invalid" in difference for difference in found)


def test_a_refusal_that_no_row_explains_is_noticed(twin: DevBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    def moody(request: wire.BrokerRequest) -> wire.Flow[wire.BrokerReply]:
        reply = yield request
        return dataclasses.replace(reply, body=b'{"valid":false}') if "validate" in request.path else reply

    monkeypatch.setattr(wire, "ask", moody)
    monkeypatch.setattr(brokers, "disagreement", lambda case, judge: (judge(case), ""))
    found = tallied(twin, COUNT, sign).differences
    assert any("guard refuses (rejected_by_broker) what the broker calls valid" in text for text in found)


def test_the_stricter_rules_are_reasons_of_the_guard() -> None:
    assert Reason.REJECTED_BY_BROKER not in brokers.STRICTER
    assert Reason.BROKER_UNAVAILABLE not in brokers.STRICTER
    assert all(rows for rows in brokers.STRICTER.values())


def test_the_command_against_a_broker(capsys: pytest.CaptureFixture[str]) -> None:
    with DevBroker() as broker:
        assert (
            main(["--count", "120", "--seed", "5", "--broker-url", broker.url, "--admin-secret", broker.admin_secret])
            == 0
        )
    text = capsys.readouterr().out
    assert "120 inputs" in text
    assert "differences: 0" in text
    assert "scope pairs" not in text
