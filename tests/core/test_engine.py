"""The decision, through Guard: order of checks, what costs a broker call, what the broker's answers come to."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest

from agentwrit_guard import Allowed, Clock, Denied, Guard, Lookup, Requirement, all_of
from agentwrit_guard.core.bearer import Token
from agentwrit_guard.core.decisions import Reason
from agentwrit_guard.core.wire import BrokerRequest
from tests.core.conftest import GuardMaker
from tests.core.kit import NONE, REQUEST, SCOPE, TOKEN, UNAVAILABLE, bearer, verdict
from tests.kit.clock import MovableClock
from tests.kit.stub import Answer, StubBroker, invalid, json_answer, valid
from tests.kit.tokens import AGENT, NOW, REMOVED, claims, delegated, header, record, token

GOOD = token()

FREE = [
    pytest.param([], NONE, id="H-01"),
    pytest.param(bearer("x"), TOKEN, id="J-13"),
    pytest.param(bearer("a" * 9000), REQUEST, id="H-15"),
    pytest.param(bearer(token(head=header(alg="none"))), TOKEN, id="J-01"),
    pytest.param(bearer(token(exp=NOW)), TOKEN, id="J-20"),
    pytest.param(bearer(token(sub="admin")), TOKEN, id="J-29"),
    pytest.param(bearer(token(cnf={})), TOKEN, id="J-31"),
    pytest.param(bearer(token(delegated(record(), chain_hash="0" * 64))), TOKEN, id="D-03"),
]


@pytest.mark.parametrize("entries, expected", FREE)
def test_what_we_can_refuse_costs_no_call(asking: Guard, stub: StubBroker, entries: list[bytes], expected: str) -> None:
    for requirement in (None, all_of("write:x:1"), Requirement.authenticated(max_age=0)):
        assert verdict(asking.check(entries, requirement)) == expected
    assert stub.calls == 0


def test_o_04_authentication_comes_before_the_requirement(asking: Guard) -> None:
    unusable = all_of("read:customers:{id}")
    assert verdict(asking.check([], unusable, {"id": "*"})) == NONE
    assert verdict(asking.check(bearer(token(exp=NOW)), unusable, {"id": "*"})) == TOKEN
    assert verdict(asking.check(bearer(GOOD), unusable, {"id": "*"})) == SCOPE


def test_the_first_failure_decides(asking: Guard) -> None:
    for changes, reason in (
        ({"cnf": {}, "exp": None}, Reason.PROOF_OF_POSSESSION),
        ({"exp": None, "sub": "admin"}, Reason.MALFORMED_CLAIMS),
        ({"exp": NOW, "sub": "admin"}, Reason.EXPIRED),
        ({"sub": "admin", "chain_hash": "x"}, Reason.PRINCIPAL_KIND),
    ):
        denied = asking.check(bearer(token(**changes)))
        assert isinstance(denied, Denied)
        assert denied.reason is reason


def test_a_valid_agent_is_let_in_with_its_own_claims(asking: Guard, stub: StubBroker) -> None:
    allowed = asking.check(bearer(GOOD))
    assert isinstance(allowed, Allowed)
    assert (allowed.source, allowed.principal.source, allowed.principal.validated_at) == ("broker", "broker", NOW + 1)
    assert allowed.principal.agent_id == claims()["sub"]
    again = asking.check(bearer(GOOD))
    assert isinstance(again, Allowed)
    assert (again.source, again.principal.source, again.principal.validated_at) == ("cache", "cache", NOW + 1)
    assert again.principal.claims == allowed.principal.claims
    assert stub.paths == ["/v1/token/validate"]
    assert [json.loads(body) for body in stub.bodies] == [{"token": GOOD}]


@pytest.mark.anyio
async def test_acheck_and_asettle_do_the_same(make: GuardMaker, stub: StubBroker) -> None:
    guard = make(stub.url)
    try:
        lookup = guard.decide(bearer(GOOD), all_of("read:customers:7291"))
        assert isinstance(lookup, Lookup)
        assert verdict(await guard.asettle(lookup)) == "allowed"
        assert verdict(await guard.acheck(bearer(GOOD), all_of("write:customers:7291"))) == SCOPE
        assert verdict(await guard.acheck([])) == NONE
        assert verdict(await guard.acheck(bearer(GOOD), query=b"access_token=x")) == REQUEST
        assert stub.calls == 1
        stub.answer = invalid
        assert verdict(await guard.acheck(bearer(token(jti="other")))) == TOKEN
        stub.answer = lambda _: json_answer({}, 500)
        assert verdict(await guard.acheck(bearer(token(jti="third")))) == UNAVAILABLE
    finally:
        await guard.aclose()


def raw(body: bytes, content_type: str = "application/json", status: int = 200, **headers: str) -> Answer:
    return status, {"Content-Type": content_type, **headers}, body


def confirmed(**changes: Any) -> Callable[[bytes], Answer]:
    """`valid: true` for other claims than the token's."""
    return lambda _: json_answer({"valid": True, "claims": claims(**changes)})


UNUSABLE = {
    "B-09 empty": lambda _: raw(b""),
    "B-09 HTML": lambda _: raw(b"<html>valid</html>"),
    "B-09 null": lambda _: raw(b"null"),
    "B-09 list": lambda _: raw(b"[]"),
    "B-09 truncated": lambda body: (200, {"Content-Type": "application/json"}, valid(body)[2][:-9]),
    "B-09 trailing": lambda body: (200, {"Content-Type": "application/json"}, valid(body)[2] + b"{}"),
    "B-09 invalid UTF-8": lambda body: raw(valid(body)[2].replace(b"orch-1", b"orch-\xff")),
    "B-09 duplicate": lambda body: raw(b'{"valid":false,' + valid(body)[2].strip()[1:]),
    "B-09 nesting bomb": lambda _: raw(b'{"valid":' * 5000),
    "B-10 HTML": lambda body: raw(valid(body)[2], "text/html"),
    "B-10 another charset": lambda body: raw(valid(body)[2], "application/json; charset=latin-1"),
    "B-10 none": lambda body: (200, {}, valid(body)[2]),
    "B-11 64 KiB + 1": lambda body: raw(valid(body)[2].ljust(65_537)),
    "B-11 1 MB": lambda body: raw(valid(body)[2].ljust(1_000_000)),
    "B-11 gzip": lambda body: raw(valid(body)[2], **{"Content-Encoding": "gzip"}),
    "B-11 br": lambda body: raw(valid(body)[2], **{"Content-Encoding": "br"}),
    "B-12 string": lambda _: json_answer({"valid": "true", "claims": claims()}),
    "B-12 one": lambda _: json_answer({"valid": 1, "claims": claims()}),
    "B-12 null": lambda _: json_answer({"valid": None, "claims": claims()}),
    "B-12 missing": lambda _: json_answer({"claims": claims()}),
    "B-12 Valid": lambda _: json_answer({"Valid": True, "claims": claims()}),
    "B-13 missing": lambda _: json_answer({"valid": True}),
    "B-13 null": lambda _: json_answer({"valid": True, "claims": None}),
    "B-13 string": lambda _: json_answer({"valid": True, "claims": json.dumps(claims())}),
    "B-13 empty": lambda _: json_answer({"valid": True, "claims": {}}),
    "B-14 another token": confirmed(jti="another"),
    "B-14 more scope": confirmed(scope=["read:customers:*"]),
    "B-14 later exp": confirmed(exp=NOW + 3000),
    "B-14 another agent": confirmed(sub="spiffe://agentwrit.local/agent/o/t/i"),
    "B-14 aud added": confirmed(aud=["https://api"]),
    "B-14 task missing": confirmed(task_id=REMOVED),
}


@pytest.mark.parametrize("answer", UNUSABLE.values(), ids=UNUSABLE)
def test_b_an_unusable_answer_is_503_and_never_kept(
    asking: Guard, stub: StubBroker, answer: Callable[[bytes], Answer]
) -> None:
    stub.answer = answer
    for expected in (1, 2):
        denied = asking.check(bearer(GOOD))
        assert verdict(denied) == UNAVAILABLE
        assert isinstance(denied, Denied)
        assert denied.source == "broker"
        assert stub.calls == expected
    stub.answer = valid
    assert verdict(asking.check(bearer(GOOD))) == "allowed"


def test_b_14_a_mismatch_is_told_apart(asking: Guard, stub: StubBroker) -> None:
    stub.answer = confirmed(jti="another")
    denied = asking.check(bearer(GOOD))
    assert isinstance(denied, Denied)
    assert denied.reason is Reason.CLAIMS_MISMATCH


def test_b_11_exactly_64_kib_is_an_answer(asking: Guard, stub: StubBroker) -> None:
    stub.answer = lambda body: raw(valid(body)[2].ljust(65_536))
    assert verdict(asking.check(bearer(GOOD))) == "allowed"


def test_b_14_an_unknown_claim_in_the_answer_stops_nobody(asking: Guard, stub: StubBroker) -> None:
    stub.answer = confirmed(region="eu")
    assert verdict(asking.check(bearer(GOOD))) == "allowed"


@pytest.mark.parametrize("sent, shown", [
    ("1", "1"), ("7", "7"), ("30", "30"), ("3600", "30"), ("0", "1"), ("abc", "2"), ("-5", "2"), (None, "2"),
])  # fmt: skip
@pytest.mark.parametrize("status", [429, 503])
def test_b_05_retry_after_is_clamped(
    asking: Guard, stub: StubBroker, status: int, sent: str | None, shown: str
) -> None:
    headers = {} if sent is None else {"Retry-After": sent}
    stub.answer = lambda _: (status, {"Content-Type": "application/problem+json", **headers}, b"{}")
    denied = asking.check(bearer(GOOD))
    assert verdict(denied) == UNAVAILABLE
    assert dict(denied.headers)["retry-after"] == shown  # type: ignore[union-attr]
    assert stub.calls == 1


@pytest.mark.parametrize("changes", [{"exp": NOW + 1}, {"nbf": NOW + 60}, {"sub": "admin"}, {"iss": ""}], ids=str)
def test_b_15_our_own_checks_stand_whatever_the_broker_says(
    make: GuardMaker, stub: StubBroker, changes: dict[str, Any]
) -> None:
    guard = make(stub.url, issuer="https://broker")
    assert verdict(guard.check(bearer(token(**{"iss": "https://broker", **changes})))) == TOKEN
    assert verdict(guard.check(bearer(token(iss="https://broker")))) == "allowed"


def test_b_16_no_is_no_and_its_words_go_nowhere(asking: Guard, stub: StubBroker) -> None:
    stub.answer = lambda _: json_answer({"valid": False, "claims": claims(), "error": "<script>canary</script>"})
    denied = asking.check(bearer(GOOD))
    assert verdict(denied) == TOKEN
    assert isinstance(denied, Denied)
    assert "canary" not in repr(denied)
    assert b"canary" not in denied.body


def test_p3_nobody_there(guard: Guard) -> None:
    denied = guard.check(bearer(GOOD))
    assert verdict(denied) == UNAVAILABLE
    assert isinstance(denied, Denied)
    assert (denied.reason, denied.detail["fault"]) == (Reason.BROKER_UNAVAILABLE, "connect")


def test_h_16_credentials_in_the_query_too(asking: Guard, stub: StubBroker) -> None:
    denied = asking.check(bearer(GOOD), query=b"access_token=x")
    assert verdict(denied) == REQUEST
    assert isinstance(denied, Denied)
    assert denied.reason is Reason.CREDENTIALS_IN_QUERY
    assert stub.calls == 0


def test_judge_looks_at_requirement_and_exp(asking: Guard, clock: MovableClock) -> None:
    allowed = asking.check(bearer(GOOD))
    assert isinstance(allowed, Allowed)
    assert asking.judge(allowed, all_of("read:customers:{id}"), {"id": "7291"}) is allowed
    assert verdict(asking.judge(allowed, all_of("read:customers:{id}"), {"id": "1"})) == SCOPE
    assert verdict(asking.judge(allowed, all_of("read:customers:{id}"))) == SCOPE
    clock.move(299)
    assert verdict(asking.judge(allowed, Requirement.authenticated())) == TOKEN


REFUSED_ROUTES = [
    pytest.param({}, GOOD, all_of("write:customers:1"), Reason.INSUFFICIENT_SCOPE, {}, id="scope"),
    pytest.param({}, GOOD, all_of("read:customers:{id}"), Reason.UNUSABLE_IDENTIFIER,
                 {"template": "read:customers:{id}", "value": "a b" * 21 + "a"}, id="identifier"),
    pytest.param({}, token(delegated(record())), Requirement.authenticated(delegated=False), Reason.DELEGATION_RULE,
                 {"depth": "1"}, id="delegation"),
    pytest.param({"resources": ["customers"]}, GOOD, all_of("read:orders:1"), Reason.OUTSIDE_RESOURCES, {},
                 id="a route outside the ceiling"),
    pytest.param({"resources": ["orders"]}, GOOD, None, Reason.OUTSIDE_RESOURCES, {}, id="nothing inside the ceiling"),
]  # fmt: skip


@pytest.mark.parametrize("settings, text, requirement, reason, detail", REFUSED_ROUTES)
def test_a_refused_agent_is_told_by_which_realm_and_the_log_who_said_so(
    make: GuardMaker, stub: StubBroker, settings: dict[str, Any], text: str, requirement: Requirement | None,
    reason: Reason, detail: dict[str, str],
) -> None:  # fmt: skip
    guard = make(stub.url, realm="my api", **settings)
    for source in ("broker", "cache"):
        denied = guard.check(bearer(text), requirement, {"id": "a b" * 30})
        assert isinstance(denied, Denied)
        assert (denied.reason, denied.source, denied.detail) == (reason, source, detail)
        assert dict(denied.headers)["www-authenticate"].startswith('Bearer realm="my api", error="insufficient_scope"')
    assert stub.calls == 1


def test_a_refusal_says_whether_the_guard_the_broker_or_the_cache_refused(
    make: GuardMaker, stub: StubBroker, clock: MovableClock
) -> None:
    guard = make(stub.url, realm="my api", cache_ttl=5)

    def refused(text: str) -> tuple[Reason, str]:
        denied = guard.check(bearer(text))
        assert isinstance(denied, Denied)
        assert dict(denied.headers)["www-authenticate"].startswith('Bearer realm="my api", error="invalid_token"')
        return denied.reason, denied.source

    def slowly(body: bytes) -> Answer:
        clock.move(2)
        return valid(body)

    assert refused(token(exp=NOW)) == (Reason.EXPIRED, "guard")
    assert refused("x") == (Reason.MALFORMED_TOKEN, "guard")
    stub.answer = slowly
    assert refused(token(exp=NOW + 3)) == (Reason.EXPIRED, "broker")
    stub.answer = valid
    assert verdict(guard.check(bearer(token(exp=NOW + 30)))) == "allowed"
    clock.move(27)
    assert refused(token(exp=NOW + 30)) == (Reason.EXPIRED, "cache")
    stub.answer = invalid
    assert [refused(GOOD), refused(GOOD)] == [(Reason.REJECTED_BY_BROKER, said) for said in ("broker", "cache")]


def test_what_somebody_should_know_is_said_in_words(
    asking: Guard, stub: StubBroker, caplog: pytest.LogCaptureFixture
) -> None:
    stub.answer = confirmed(**delegated(record(AGENT), region="eu"))
    assert verdict(asking.check(bearer(token(delegated(record(AGENT)))))) == "allowed"
    assert [(entry.event, entry.getMessage()) for entry in caplog.records if hasattr(entry, "event")] == [
        ("chain_loop", "chain_loop: an agent stands twice in a delegation chain; chain_loops='deny' refuses it"),
        ("unknown_field", "unknown_field: the broker's claims have a field that this version does not know"),
    ]


@pytest.mark.parametrize("ttl, max_age, wall, monotonic, calls", [
    pytest.param(0.5, None, 0.25, 0.25, 1, id="a ttl below a second is one"),
    pytest.param(5, 0.5, 0.25, 0.25, 1, id="and so is a max_age"),
    pytest.param(5, None, 0, -1, 1, id="of a call that began later"),
    pytest.param(5, 0, 0, -1, 2, id="of a call that began later, but max_age=0 asks for itself"),
    pytest.param(5, None, 5, 0, 2, id="the wall clock alone has gone on"),
    pytest.param(5, None, -1, 0, 2, id="the wall clock alone has gone back"),
])  # fmt: skip
def test_c_09_when_an_answer_that_came_meanwhile_is_young_enough(
    make: GuardMaker, stub: StubBroker, clock: MovableClock,
    ttl: float, max_age: float | None, wall: float, monotonic: float, calls: int,
) -> None:  # fmt: skip
    guard = make(stub.url, cache_ttl=ttl)
    lookup = guard.decide(bearer(GOOD), Requirement.authenticated(max_age=max_age))
    assert isinstance(lookup, Lookup)
    assert verdict(guard.check(bearer(GOOD))) == "allowed"
    clock.wall += wall
    clock.monotonic += monotonic
    assert verdict(guard.settle(lookup)) == "allowed"
    assert stub.calls == calls


def test_a_lookup_that_waited_uses_the_answer_that_came_meanwhile(asking: Guard, stub: StubBroker) -> None:
    lookup, other = asking.decide(bearer(GOOD)), asking.decide(bearer(GOOD))
    assert isinstance(lookup, Lookup)
    assert isinstance(other, Lookup)
    assert verdict(asking.settle(lookup)) == "allowed"
    late = asking.settle(other)
    assert isinstance(late, Allowed)
    assert late.source == "cache"
    assert stub.calls == 1


def test_a_lookup_that_waited_uses_the_rejection_that_came_meanwhile(asking: Guard, stub: StubBroker) -> None:
    lookup, other = asking.decide(bearer(GOOD)), asking.decide(bearer(GOOD))
    assert isinstance(lookup, Lookup)
    assert isinstance(other, Lookup)
    stub.answer = invalid
    assert verdict(asking.settle(lookup)) == TOKEN
    late = asking.settle(other)
    assert isinstance(late, Denied)
    assert (late.reason, late.source) == (Reason.REJECTED_BY_BROKER, "cache")
    assert stub.calls == 1


def test_a_lookup_with_max_age_0_is_not_content_with_what_came_meanwhile(asking: Guard, stub: StubBroker) -> None:
    lookup = asking.decide(bearer(GOOD), Requirement.authenticated(max_age=0))
    assert isinstance(lookup, Lookup)
    assert verdict(asking.check(bearer(GOOD))) == "allowed"
    assert verdict(asking.settle(lookup)) == "allowed"
    assert stub.calls == 2


def test_p9_no_object_shows_the_token(asking: Guard, stub: StubBroker) -> None:
    lookup = asking.decide(bearer(GOOD))
    assert isinstance(lookup, Lookup)
    stub.answer = lambda _: json_answer({}, 500)
    denied = asking.settle(lookup)
    stub.answer = valid
    shown = [
        repr(Token(GOOD)), str(Token(GOOD)), f"{Token(GOOD)}", repr(lookup), repr(denied), repr(asking),
        repr(asking.check(bearer(GOOD))), repr(BrokerRequest.post("/x", {"token": GOOD}, bearer=GOOD)),
    ]  # fmt: skip
    assert shown[0] == "Token(redacted)"
    for part in GOOD.split("."):
        assert not any(part in text for text in shown)


def test_p9_a_token_is_not_copied_out() -> None:
    import copy
    import pickle

    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match=r"^a token is not pickled$"):
            leak(Token(GOOD))


def test_a_lookup_cannot_be_turned_into_a_dictionary_with_the_token(asking: Guard) -> None:
    lookup = asking.decide(bearer(GOOD))
    assert isinstance(lookup, Lookup)
    with pytest.raises(TypeError):
        dataclasses.asdict(lookup)


def test_guards_read_the_real_clocks_by_themselves() -> None:
    import time

    before = time.time()
    now = Clock().now()
    assert before <= now.wall <= time.time()
    assert now.monotonic <= time.monotonic()


def test_a_guard_closes_more_than_once_and_opens_anew(make: GuardMaker, stub: StubBroker) -> None:
    guard = make(stub.url, cache_ttl=0)
    guard.close()
    assert verdict(guard.check(bearer(GOOD))) == "allowed"
    guard.close()
    guard.close()
    assert verdict(guard.check(bearer(GOOD))) == "allowed"
    assert repr(guard) == f"Guard({stub.url!r})"
    assert guard.realm == "agentwrit"


@pytest.mark.parametrize("spelling", ["Bearer {}", "bearer {}", "BEARER   {}", "Bearer {} \t", "Bearer  {}"])
def test_h_05_every_spelling_of_the_header_finds_the_same_identity(
    asking: Guard, stub: StubBroker, spelling: str
) -> None:
    assert verdict(asking.check(bearer(GOOD))) == "allowed"
    assert verdict(asking.decide([spelling.format(GOOD).encode()])) == "allowed"
    assert verdict(asking.decide([spelling.format(GOOD).encode()], all_of("write:x:1"))) == SCOPE
    template = all_of("read:customers:{id}")
    assert verdict(asking.decide([spelling.format(GOOD).encode()], template, {"id": "7291"})) == "allowed"
    assert verdict(asking.decide([spelling.format(GOOD).encode()], template, {"id": "7292"})) == SCOPE
    assert stub.calls == 1


@pytest.mark.parametrize("entries, expected", [
    ([b"Bearer " + GOOD.encode()] * 2, REQUEST), ([b"Bearer " + GOOD.encode() + b"\n"], REQUEST),
    ([b"Bearer " + GOOD.encode() + b",x"], REQUEST), ([b"Bearer " + GOOD.encode() + b"\x00"], REQUEST),
    ([b"Bearer\t" + GOOD.encode()], REQUEST), ([b"Basic " + GOOD.encode()], NONE), ([GOOD.encode()], NONE),
    ([b"Bearer " + GOOD.encode() + b"="], TOKEN),
])  # fmt: skip
def test_h_a_cached_token_excuses_no_malformed_header(asking: Guard, entries: list[bytes], expected: str) -> None:
    assert verdict(asking.check(bearer(GOOD))) == "allowed"
    assert verdict(asking.decide(entries)) == expected
