"""The delegation chain (threats D): signed well and confirmed by the broker, only the chain is wrong."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from agentwrit_guard import Allowed, Denied, Guard, all_of
from agentwrit_guard.core.decisions import Reason
from tests.core.conftest import GuardMaker
from tests.core.kit import TOKEN, bearer, verdict
from tests.kit.clock import MovableClock
from tests.kit.stub import StubBroker
from tests.kit.tokens import (
    AGENT,
    NOW,
    OTHER,
    REMOVED,
    claims,
    compact,
    delegated,
    header,
    record,
    sign,
    token,
)

ROOT = "spiffe://agentwrit.local/agent/orch-9/task-9/9addb01b452d86c3"
FOREIGN = "spiffe://other.example/agent/orch-2/task-2/5addb01b452d86c3"
AT = "2027-01-15T08:00:00"


def broker_hash(chain: object) -> str:
    """The broker's rule, with its escapes (contract section 6)."""
    text = json.dumps(chain, ensure_ascii=False, separators=(",", ":"))
    for char in "&<>\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return hashlib.sha256(text.encode()).hexdigest()


def escaped(payload: dict[str, Any]) -> str:
    """A token whose payload is written as the broker writes it."""
    text = json.dumps(payload, ensure_ascii=False, separators=(",", ":"))
    for char in "&<>\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return sign(compact(header()), text.encode())


def at(time: str, **changes: Any) -> dict[str, Any]:
    return record(delegated_at=time, **changes)


def hashed(chain: object, **changes: Any) -> dict[str, Any]:
    return claims(delegation_chain=chain, chain_hash=hashlib.sha256(compact(chain)).hexdigest(), **changes)


def changed(name: str, value: Any) -> dict[str, Any]:
    """A record with one field of another value or without it."""
    made = {**record(), name: value}
    return {key: item for key, item in made.items() if item is not REMOVED}


def hops(*scopes: tuple[str, ...], held: tuple[str, ...]) -> dict[str, Any]:
    return delegated(*(record(scope=scope) for scope in scopes), scope=list(held))


SOUND = [
    pytest.param(delegated(record()), id="one hop"),
    pytest.param(hops(*[("read:a:*",)] * 5, held=("read:a:1",)), id="D-02 depth 5"),
    pytest.param(hops(("read:a:*", "write:b:2"), ("read:a:1", "read:a:2"), held=("read:a:2",)), id="D-01 narrower"),
    pytest.param(hops(("read:a:*",), ("read:a:*",), held=("read:a:*",)), id="D-01 the same all along"),
    pytest.param(hops(("read:a:*",), held=()), id="D-01 nothing given"),
    pytest.param(hops(("admin:x:*",), held=("admin:x:1",)), id="D-01 a reserved family"),
    pytest.param(hops(("read:a:*", "bad"), held=("read:a:1",)), id="D-01 a malformed scope beside"),
    pytest.param(claims(), id="D-03 neither chain nor hash"),
    pytest.param(delegated(at(f"{AT}Z")), id="D-05 whole seconds"),
    pytest.param(delegated(at(f"{AT}.999999999Z")), id="D-05 within the second of iat"),
    pytest.param(delegated(at(f"{AT}.1Z"), at(f"{AT}.1Z")), id="D-05 at once"),
    pytest.param(delegated(at(f"{AT}.09Z"), at(f"{AT}.1Z")), id="D-05 trimmed zeros compare as fractions"),
    pytest.param(delegated(at("2024-02-29T23:59:59.5Z")), id="D-05 a leap day, years ago"),
    pytest.param(delegated(record(), iat=NOW + 30, nbf=NOW, exp=NOW + 330), id="D-11 renewed: the chain is older"),
    pytest.param(delegated(record(agent=OTHER), record(agent=ROOT)), id="D-06 all agents"),
    pytest.param(delegated(record(), task_id="of-the-root", orch_id="of-the-root"), id="J-28 task_id of the root"),
]


@pytest.mark.parametrize("payload", SOUND)
def test_d_a_sound_chain_passes(asking: Guard, payload: dict[str, Any]) -> None:
    assert verdict(asking.check(bearer(token(payload)))) == "allowed"


BROKEN = [
    pytest.param(hops(("read:a:1",), held=("read:a:2",)), id="D-01 another identifier"),
    pytest.param(hops(("read:a:1",), held=("read:a:*",)), id="D-01 the last hop widens"),
    pytest.param(hops(("read:a:1",), ("read:a:*",), held=("read:a:1",)), id="D-01 a hop in the middle widens"),
    pytest.param(hops(("read:a:1",), ("read:a:*",), ("read:a:1",), held=("read:a:1",)), id="D-01 widens and narrows"),
    pytest.param(hops(("read:a:*",), held=("read:a:1", "write:a:1")), id="D-01 one scope more"),
    pytest.param(hops(("READ:a:*",), held=("read:a:1",)), id="D-01 another case"),
    pytest.param(hops(("*:*:*",), held=("read:a:1",)), id="D-01 stars are no wildcards"),
    pytest.param(hops(("read:a:*",), held=("read:a",)), id="D-01 a malformed scope held"),
    pytest.param(hops(("read:a",), held=("read:a",)), id="D-01 malformed from the start"),
    pytest.param(delegated(record(), chain_hash="0" * 64), id="D-03 hash of nothing"),
    pytest.param(delegated(record(), chain_hash=REMOVED), id="D-03 hash missing"),
    pytest.param(claims(chain_hash="0" * 64), id="D-03 hash without a chain"),
    pytest.param(claims(chain_hash=hashlib.sha256(b"[]").hexdigest()), id="D-03 hash of an empty chain, no chain"),
    pytest.param(delegated(record(), chain_hash="A" * 64), id="D-03 hash in capitals"),
    pytest.param(delegated(record(), chain_hash="0" * 63), id="D-03 hash too short"),
    pytest.param(delegated(record(), chain_hash="0" * 65), id="D-03 hash too long"),
    pytest.param(delegated(record(), chain_hash="\u0660" * 64), id="D-03 hash in digits of another script"),
    *[
        pytest.param(delegated(at(time)), id=f"D-05 {time!a}")
        for time in (
            f"{AT}.28+00:00", f"{AT}.28", f"{AT}", "2027-01-15 08:00:00Z", f"{AT}.28z", f"{AT}.Z", "yesterday",
            f"{AT},5Z",
            "2027-02-29T08:00:00Z", "2027-13-01T08:00:00Z", "2026-01-15T24:00:00Z", "2026-01-15T08:60:00Z",
            "2026-01-15T08:00:60Z", "0000-01-15T08:00:00Z", f"{AT}.0123456789Z", f" {AT}Z", "1800000000",
            "2027-1-15T8:00:00Z", "\u0662027-01-15T08:00:00Z", "20270115T080000Z", "2027-01-15T08:00Z", f"{AT}-01:00",
        )
    ],
    pytest.param(delegated(at("2027-01-15T08:00:01Z")), id="D-05 a second after iat"),
    pytest.param(delegated(at("2027-01-15T08:01:02Z"), iat=NOW + 61, exp=NOW + 300), id="D-05 in the future"),
    pytest.param(delegated(at("2099-01-15T08:00:00Z")), id="D-05 in another century"),
    pytest.param(delegated(at(f"{AT}.2Z"), at(f"{AT}.1Z")), id="D-05 decreasing"),
    pytest.param(delegated(at(f"{AT}.1Z"), at(f"{AT}.09Z")), id="D-05 decreasing by trimmed zeros"),
    pytest.param(delegated(at("1969-12-31T23:59:59Z")), id="D-05 before time began"),
    *[
        pytest.param(delegated(record(agent=agent)), id=f"D-06 {agent!a}")
        for agent in ("admin", "app:app-x-7bfdbf", "someone", AGENT.upper(), AGENT + "/", AGENT.replace("orch-1", ".."))
    ],
    pytest.param(delegated(record(), record(agent="admin"), record()), id="D-06 in the middle"),
    pytest.param(delegated(record(agent=FOREIGN)), id="D-08 foreign root"),
    pytest.param(delegated(record(), record(agent=FOREIGN)), id="D-08 foreign delegator"),
]  # fmt: skip


@pytest.mark.parametrize("payload", BROKEN)
def test_d_a_broken_chain_is_a_bad_token(asking: Guard, stub: StubBroker, payload: dict[str, Any]) -> None:
    decision = asking.check(bearer(token(payload)))
    assert verdict(decision) == TOKEN
    assert isinstance(decision, Denied)
    assert decision.reason in (Reason.CHAIN_VIOLATION, Reason.NOT_YET_VALID)
    assert stub.calls == 0


MALFORMED = [
    *[pytest.param(hashed(chain), id=f"D-03 chain {chain!a:.12}") for chain in (None, [], "[]", {}, 1, [[]], [None],
        ["x"])],
    pytest.param(hashed([record()] * 6), id="D-02 depth 6"),
    pytest.param(hashed([{}] * 1000), id="D-02 depth 1,000"),
    *[
        pytest.param(hashed([changed(name, value)]), id=f"D-04 {name} {str(value)[:9]!a}")
        for name in ("agent", "delegated_at", "signature", "scope")
        for value in (REMOVED, None, "", 7, True, {}, ["x"] if name != "scope" else "x", "a\nb", "x" * 2049)
    ],
    pytest.param(hashed([record(scope=())]), id="D-04 scope empty"),
    pytest.param(hashed([changed("scope", [1])]), id="D-04 scope of numbers"),
    pytest.param(hashed([record(scope=("r:a:1",) * 257)]), id="D-04 257 scopes"),
    pytest.param(hashed([record(), "x"]), id="D-04 a good one, then a string"),
]  # fmt: skip


@pytest.mark.parametrize("payload", MALFORMED)
def test_d_a_malformed_chain_is_a_bad_token(guard: Guard, payload: dict[str, Any]) -> None:
    assert verdict(guard.decide(bearer(token(payload)))) == TOKEN


def test_d_03_the_hash_is_over_the_brokers_text(asking: Guard) -> None:
    awkward = ("read:data:a&b<c>", 'read:data:é\u2028"q"\\/', "read:data:a,read:data:b", "read:data:\x01\x7f")
    chain = [record(scope=("read:data:*",)), record(agent=ROOT, scope=awkward)]
    payload = claims(delegation_chain=chain, chain_hash=broker_hash(chain), scope=list(awkward[:1]))
    allowed = asking.check(bearer(escaped(payload)), all_of("read:data:a&b<c>"))
    assert isinstance(allowed, Allowed)
    assert allowed.principal.chain[1].scope == awkward


def test_d_03_the_brokers_recorded_example(asking: Guard) -> None:
    chain = (
        '[{"agent":"spiffe://agentwrit.local/agent/A/B/9651ce136f82312b","scope":["read:data:a\\u0026b\\u003cc\\u003e",'
        '"read:data:é\\u2028\\"q\\"\\\\/","read:data:*"],"delegated_at":"2026-11-23T05:47:32.735654314Z","signature":'
        '"ca673985745b92759ac50b6871c4dc15e03f7e652561a2956763d7c47a4b5b5dcf437bfa5e5f8e07409c8b63f3451a3a5605cd3f8f813e'
        'fc8132cfd6f77f5603"},{"agent":"spiffe://agentwrit.local/agent/C/D/7f21d47759554cf3","scope":["read:data:a\\u002'
        '6b\\u003cc\\u003e","read:data:é\\u2028\\"q\\"\\\\/"],"delegated_at":"2026-11-23T05:47:32.737153918Z","signature'
        '":"dc994463777127400c83810627798a95c761a104d8dc045ab0433208fea66c6ba37675e40fc219cf86ae1f64123af7c98bc2a82cac15'
        'bb499db708f26f5dec02"}]'
    )
    known = "93d42fa72f0d11bc3161751a201659e1a7aa1a3dab5db6aff8ed120ce98073ee"
    rest = compact(claims(scope=["read:data:a&b<c>"], chain_hash=known)).decode()
    good = sign(compact(header()), f'{rest[:-1]},"delegation_chain":{chain}}}'.encode())
    assert verdict(asking.check(bearer(good))) == "allowed"
    narrowed = chain.replace("read:data:*", "read:data:x")
    bad = sign(compact(header()), f'{rest[:-1]},"delegation_chain":{narrowed}}}'.encode())
    assert verdict(asking.check(bearer(bad))) == TOKEN


def test_d_03_the_hash_is_over_the_text_as_it_stands(asking: Guard) -> None:
    text = json.dumps([record()], indent=1)
    rest = compact(claims(chain_hash=hashlib.sha256(text.encode()).hexdigest())).decode()
    spaced = sign(compact(header()), f'{rest[:-1]}, "delegation_chain" :\n {text} }}'.encode())
    assert verdict(asking.check(bearer(spaced))) == "allowed"


def test_d_03_a_hash_of_another_chain_does_not_fit(asking: Guard) -> None:
    wide, narrow = [record(scope=("read:customers:*",))], [record(scope=("read:customers:7291",))]
    payload = claims(delegation_chain=wide, chain_hash=hashlib.sha256(compact(narrow)).hexdigest())
    assert verdict(asking.check(bearer(token(payload)))) == TOKEN


def test_d_03_a_second_chain_in_a_claim_that_nobody_reads(asking: Guard) -> None:
    judged, hidden = [record()], [record(agent=ROOT)]
    for chosen, expected in ((judged, "allowed"), (hidden, TOKEN)):
        payload = claims(
            x={"delegation_chain": hidden},
            delegation_chain=judged,
            chain_hash=hashlib.sha256(compact(chosen)).hexdigest(),
        )
        assert verdict(asking.check(bearer(token(payload)))) == expected


@pytest.mark.parametrize("name", ["delegation\\u005fchain", "\\u0064elegation_chain"])
@pytest.mark.parametrize("hidden_first", [True, False])
def test_d_03_an_escaped_name_does_not_lend_the_hash_of_another_chain(
    asking: Guard, name: str, hidden_first: bool
) -> None:
    judged, hidden = compact([record()]).decode(), compact([record(agent=ROOT)]).decode()
    parts = [f'"x":{{"delegation_chain":{hidden}}}', f'"{name}":{judged}']
    rest = compact(claims(chain_hash=hashlib.sha256(hidden.encode()).hexdigest())).decode()[:-1]
    text = ",".join([rest, *(parts if hidden_first else reversed(parts))]) + "}"
    assert verdict(asking.check(bearer(sign(compact(header()), text.encode())))) == TOKEN


def test_d_03_a_name_that_only_ends_like_it_lends_no_hash(asking: Guard) -> None:
    judged, hidden = compact([record()]).decode(), compact([record(agent=ROOT)]).decode()
    rest = compact(claims(chain_hash=hashlib.sha256(hidden.encode()).hexdigest())).decode()[:-1]
    text = f'{rest},"x\\"delegation_chain":{hidden},"delegation\\u005fchain":{judged}}}'
    assert verdict(asking.check(bearer(sign(compact(header()), text.encode())))) == TOKEN


@pytest.mark.parametrize(
    "before", ["", '"a":"}",', '"a":{"b":[1,{"c":"]"}]},', '"a":"\\"delegation_chain\\":",', '"a":1.5e3,"b":null,']
)
@pytest.mark.parametrize("blank", ["", " ", "\n\t\r "])
def test_d_03_the_chain_is_found_wherever_it_stands(asking: Guard, before: str, blank: str) -> None:
    chain = compact([record()]).decode()
    rest = compact(claims(chain_hash=hashlib.sha256(chain.encode()).hexdigest())).decode()[1:-1]
    for name in ("delegation_chain", "delegation\\u005fchain"):
        text = f'{blank}{{{blank}{before}{blank}"{name}"{blank}:{blank}{chain}{blank},{blank}{rest}{blank}}}{blank}'
        assert verdict(asking.check(bearer(sign(compact(header()), text.encode())))) == "allowed"
        wrong = text.replace("28491112", "28491113")
        assert verdict(asking.check(bearer(sign(compact(header()), wrong.encode())))) == TOKEN


def test_d_04_an_unknown_field_of_a_record_is_no_refusal(asking: Guard) -> None:
    assert verdict(asking.check(bearer(token(delegated(record(hop=1, note="x")))))) == "allowed"


def test_d_05_the_future_is_counted_from_now(make: GuardMaker, stub: StubBroker) -> None:
    ahead = delegated(at("2027-01-15T08:01:00Z"), iat=NOW + 60, nbf=NOW, exp=NOW + 300)
    assert verdict(make(stub.url, clock=MovableClock(NOW).clock).check(bearer(token(ahead)))) == "allowed"
    further = delegated(at("2027-01-15T08:01:00.1Z"), iat=NOW + 61, nbf=NOW, exp=NOW + 300)
    assert verdict(make(stub.url, clock=MovableClock(NOW).clock).check(bearer(token(further)))) == TOKEN


LOOPS = [
    pytest.param(delegated(record(agent=AGENT)), id="D-07 to itself"),
    pytest.param(delegated(record(agent=AGENT), record(agent=OTHER)), id="D-07 there and back"),
    pytest.param(delegated(record(agent=OTHER), record(agent=OTHER)), id="D-07 twice the same hop"),
]


@pytest.mark.parametrize("payload", LOOPS)
def test_d_07_loops(
    make: GuardMaker, stub: StubBroker, caplog: pytest.LogCaptureFixture, payload: dict[str, Any]
) -> None:
    assert verdict(make(stub.url).check(bearer(token(payload)))) == "allowed"
    assert [getattr(entry, "event", None) for entry in caplog.records] == ["chain_loop"]
    denied = make(stub.url, chain_loops="deny").check(bearer(token(payload)))
    assert verdict(denied) == TOKEN
    assert isinstance(denied, Denied)
    assert denied.reason is Reason.CHAIN_LOOP
    straight = make(stub.url, chain_loops="deny").check(bearer(token(delegated(record(), record(agent=ROOT)))))
    assert verdict(straight) == "allowed"


def test_d_07_d_09_a_delegated_token_is_under_the_one_cap(guard: Guard) -> None:
    for agent in (AGENT, OTHER):
        denied = guard.decide(bearer(token(delegated(record(agent=agent), exp=NOW + 3601))))
        assert isinstance(denied, Denied)
        assert denied.reason is Reason.LIFETIME_EXCEEDED


def test_d_06_an_app_has_no_trust_domain_to_delegate_in(make: GuardMaker) -> None:
    guard = make(principal_kinds=("app",))
    assert verdict(guard.decide(bearer(token(delegated(record(), sub="app:x"))))) == TOKEN
    guard = make(principal_kinds=("app",), trust_domain="agentwrit.local")
    assert verdict(guard.decide(bearer(token(delegated(record(), sub="app:x"))))) == "lookup"


def test_d_12_commas_in_record_scopes_join_nothing(asking: Guard) -> None:
    joined = delegated(record(scope=("read:data:a,read:data:b",)), scope=["read:data:b"])
    assert verdict(asking.check(bearer(token(joined)))) == TOKEN
