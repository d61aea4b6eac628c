"""Claims of a token (threats J-19 to J-32, J-34) and the principal that they make."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import pytest

from agentwrit_guard import ALL, AgentClaims, Allowed, Denied, Guard, Principal, all_of
from agentwrit_guard.core.claims import agent_domain, parse_claims, principal_kind
from agentwrit_guard.core.decisions import Reason
from agentwrit_guard.errors import ScopeRequired
from tests.core.conftest import GuardMaker
from tests.core.kit import SCOPE, TOKEN, bearer, verdict
from tests.kit.clock import MovableClock
from tests.kit.stub import StubBroker
from tests.kit.tokens import AGENT, NOW, REMOVED, claims, compact, delegated, header, record, sign, token

WALL = NOW + 1
LONG = "x" * 2049


def literal(name: str, text: str) -> str:
    """A token whose claim is written as it stands."""
    return sign(compact(header()), compact(claims(**{name: "PUT HERE"})).replace(b'"PUT HERE"', text.encode()))


BAD_TIMES = [
    "null", "0", "-1", "true", "false", '"9999999999"', "1e10", "1.8e9", "1800000300.0", "1.5", "1" + "0" * 30,
    "9007199254740992", "[1800000300]", "{}", '""',
]  # fmt: skip
BAD_TEXTS = [None, "", 7, True, ["x"], {}, LONG, "é" * 1025, "a\x00b", "a\nb", "a\x1b[31mb", "a\x7fb", "a\x85b"]

MALFORMED = [
    *[pytest.param(literal("exp", text), id=f"J-19 exp {text}") for text in BAD_TIMES],
    pytest.param(token(exp=REMOVED), id="J-19 exp missing"),
    *[pytest.param(literal("nbf", text), id=f"J-22 nbf {text}") for text in BAD_TIMES],
    pytest.param(token(nbf=REMOVED), id="J-22 nbf missing"),
    *[pytest.param(literal("iat", text), id=f"J-23 iat {text}") for text in BAD_TIMES],
    pytest.param(token(iat=REMOVED), id="J-23 iat missing"),
    *[
        pytest.param(token(**{name: value}), id=f"J-24 {name} {str(value)[:9]!a}")
        for name in ("sub", "jti", "iss")
        for value in BAD_TEXTS
        if (name, value) != ("iss", "")
    ],
    *[pytest.param(token(**{name: REMOVED}), id=f"J-24 {name} missing") for name in ("sub", "jti", "iss")],
    *[
        pytest.param(token(aud=value), id=f"J-26 aud {str(value)[:9]!a}")
        for value in ("", "https://api", 7, [7], [["x"]], {"x": 1}, [None], True, ["x"] * 65, ["x"] * 1000)
    ],
    *[
        pytest.param(token(scope=value), id=f"J-27 scope {str(value)[:12]!a}")
        for value in ("read:a:1", "", 1, [1], [["x"]], {"read:a:1": True}, [None], False, ["r:a:1"] * 257,
                      ["read:a:" + "x" * 506])
    ],
    *[
        pytest.param(token(**{name: value}), id=f"J-24 optional {name} {str(value)[:9]!a}")
        for name in ("task_id", "orch_id", "sid", "chain_hash")
        for value in (None, "", 7, ["x"], LONG, "a\nb")
    ],
    *[pytest.param(token(delegation_chain=value), id=f"D-03 chain {value!a}") for value in ([], None, {}, "x", [None])],
]  # fmt: skip


@pytest.mark.parametrize("text", MALFORMED)
def test_j_claims_are_refused_unasked(guard: Guard, text: str) -> None:
    decision = guard.decide(bearer(text))
    assert verdict(decision) == TOKEN
    assert isinstance(decision, Denied)
    assert decision.reason is Reason.MALFORMED_CLAIMS


TIMES = [
    pytest.param({"exp": WALL}, Reason.EXPIRED, id="J-20 exp is now"),
    pytest.param({"exp": WALL - 1}, Reason.EXPIRED, id="J-20 exp a second ago"),
    pytest.param({"exp": WALL + 1}, None, id="J-20 exp in a second"),
    pytest.param({"exp": NOW + 3600}, None, id="J-21 the longest lifetime"),
    pytest.param({"exp": NOW + 3601}, Reason.LIFETIME_EXCEEDED, id="J-21 a second longer"),
    pytest.param({"exp": NOW + 86_400}, Reason.LIFETIME_EXCEEDED, id="J-21 a day"),
    pytest.param({"exp": 2**53 - 1}, Reason.LIFETIME_EXCEEDED, id="J-21 the end of time"),
    pytest.param({"iat": WALL + 10, "exp": WALL + 11}, None, id="J-21 the shortest lifetime"),
    pytest.param({"iat": WALL + 10, "exp": WALL + 10}, Reason.EXPIRED, id="J-21 no life at all"),
    pytest.param({"iat": WALL + 10, "exp": WALL + 9}, Reason.EXPIRED, id="J-21 ends before it begins"),
    pytest.param({"nbf": WALL + 5}, None, id="J-22 5 s ahead"),
    pytest.param({"nbf": WALL + 6}, Reason.NOT_YET_VALID, id="J-22 6 s ahead"),
    pytest.param({"nbf": 1}, None, id="J-22 long past"),
    pytest.param({"iat": WALL + 60}, None, id="J-23 60 s ahead"),
    pytest.param({"iat": WALL + 61}, Reason.NOT_YET_VALID, id="J-23 61 s ahead"),
]


@pytest.mark.parametrize("changes, reason", TIMES)
def test_j_times(guard: Guard, changes: dict[str, Any], reason: Reason | None) -> None:
    decision = guard.decide(bearer(token(**changes)))
    assert verdict(decision) == ("lookup" if reason is None else TOKEN)
    if isinstance(decision, Denied):
        assert decision.reason is reason


def test_j_20_parts_of_a_second_do_not_stretch_a_token(make: GuardMaker) -> None:
    clock = MovableClock(NOW + 299.999)
    assert verdict(make(clock=clock.clock).decide(bearer(token()))) == "lookup"
    clock.move(0.001)
    assert verdict(make(clock=clock.clock).decide(bearer(token()))) == TOKEN


def test_j_21_the_cap_is_a_setting(make: GuardMaker) -> None:
    guard = make(max_token_lifetime=300)
    assert verdict(guard.decide(bearer(token(exp=NOW + 300)))) == "lookup"
    denied = guard.decide(bearer(token(exp=NOW + 301)))
    assert isinstance(denied, Denied)
    assert (denied.reason, denied.detail) == (Reason.LIFETIME_EXCEEDED, {"lifetime": "301"})


ISSUER = "https://broker.example.com"
AUDIENCE = "https://api.example.com"
PARTIES = [
    pytest.param({"issuer": ISSUER}, {"iss": ISSUER}, None, id="J-25 right"),
    *[
        pytest.param({"issuer": ISSUER}, {"iss": iss}, Reason.ISSUER_MISMATCH, id=f"J-25 {iss!a}")
        for iss in ("", ISSUER[:-1], ISSUER + "/", ISSUER.upper(), f" {ISSUER}", f"{ISSUER},{ISSUER}", "x" + ISSUER)
    ],
    pytest.param({"issuer": ISSUER}, {"iss": [ISSUER]}, Reason.MALFORMED_CLAIMS, id="J-25 a list of it"),
    pytest.param({}, {"iss": ""}, None, id="J-24 no issuer anywhere"),
    pytest.param({}, {"iss": "https://anybody"}, None, id="J-25 any issuer where none is configured"),
    pytest.param({"audience": AUDIENCE}, {"aud": [AUDIENCE]}, None, id="J-26 right"),
    pytest.param({"audience": AUDIENCE}, {"aud": ["x", AUDIENCE]}, None, id="J-26 among others"),
    pytest.param({"audience": AUDIENCE}, {"aud": ["x"] * 63 + [AUDIENCE]}, None, id="J-26 among 64"),
    *[
        pytest.param({"audience": AUDIENCE}, {"aud": aud}, Reason.AUDIENCE_MISMATCH, id=f"J-26 {aud!a}")
        for aud in (None, [], [""], [AUDIENCE[:-1]], [AUDIENCE + "/"], [AUDIENCE.upper()], ["https://other"])
    ],
    pytest.param({"audience": AUDIENCE}, {}, Reason.AUDIENCE_MISMATCH, id="J-26 missing"),
    pytest.param({"audience": AUDIENCE}, {"aud": AUDIENCE}, Reason.MALFORMED_CLAIMS, id="J-26 a bare string"),
    pytest.param({"audience": "a"}, {"aud": "a"}, Reason.MALFORMED_CLAIMS, id="J-26 a bare letter"),
    pytest.param({}, {"aud": ["https://anybody"]}, None, id="J-26 any audience where none is configured"),
    pytest.param({"trust_domain": "agentwrit.local"}, {}, None, id="J-28 the trust domain"),
    pytest.param({"trust_domain": "corp.example"}, {}, Reason.TRUST_DOMAIN_MISMATCH, id="J-28 another trust domain"),
    pytest.param({"trust_domain": "agentwrit.loca"}, {}, Reason.TRUST_DOMAIN_MISMATCH, id="J-28 a prefix of it"),
    *[
        pytest.param(kinds, {"sub": sub, "task_id": REMOVED, "orch_id": REMOVED}, reason, id=f"J-29 {sub} {len(kinds)}")
        for sub in ("admin", "app:app-x-7bfdbf")
        for kinds, reason in (({}, Reason.PRINCIPAL_KIND), ({"principal_kinds": ("agent", "app", "admin")}, None))
    ],
    pytest.param({"principal_kinds": ("app",)}, {}, Reason.PRINCIPAL_KIND, id="J-29 an agent where only apps may"),
    pytest.param({"principal_kinds": ("app",)}, {"sub": "admin"}, Reason.PRINCIPAL_KIND, id="J-29 admin as an app"),
]


@pytest.mark.parametrize("settings, changes, reason", PARTIES)
def test_j_parties(make: GuardMaker, settings: dict[str, Any], changes: dict[str, Any], reason: Reason | None) -> None:
    decision = make(**settings).decide(bearer(token(**changes)))
    assert verdict(decision) == ("lookup" if reason is None else TOKEN)
    if isinstance(decision, Denied):
        assert decision.reason is reason


NAMES = "spiffe://agentwrit.local/agent"
NOT_AGENTS = [
    "", "Admin", "admin ", "administrator", "app:", "app:a b", "App:x", "app:x/y", "app", "agent", "7",
    "SPIFFE://agentwrit.local/agent/o/t/i", "spiffe://", "spiffe://agentwrit.local", f"{NAMES}/", f"{NAMES}/o/t",
    f"{NAMES}/o/t/i/x", f"{NAMES}/o/t/i/", f"{NAMES}//t/i", f"{NAMES}/o//i", f"{NAMES}/o/t/", f"{NAMES}/./t/i",
    f"{NAMES}/o/../i", f"{NAMES}/o/t/..", f"{NAMES}/o/t/.", f"{NAMES}/o/t/i?x", f"{NAMES}/o/t/i#x", f"{NAMES}/o/t/%69",
    f"{NAMES}/o/t/i ", f" {NAMES}/o/t/i", "spiffe://Agentwrit.local/agent/o/t/i", "spiffe://TD/agent/o/t/i",
    "spiffe://user@agentwrit.local/agent/o/t/i", "spiffe://agentwrit.local:443/agent/o/t/i",
    "spiffe:///agent/o/t/i", "spiffe:/agentwrit.local/agent/o/t/i", "spiffe://agentwrit.local/Agent/o/t/i",
    "spiffe://agentwrit.local/workload/o/t/i", "http://agentwrit.local/agent/o/t/i", f"{NAMES}/o/t/i\n",
    f"{NAMES}/\u043e/t/i", "spiffe://agentwrit.loc\u0430l/agent/o/t/i", f"{NAMES}/o/t/\uff49", f"{NAMES}/o/t/\u0661",
    f"{NAMES}/o\\t/i/x", f"{NAMES}/{'o' * 2048}/t/i", f"{NAMES}/o/t/i:x", f"{NAMES}/o,/t/i", f"{NAMES}/o/t/*",
]  # fmt: skip


@pytest.mark.parametrize("sub", NOT_AGENTS)
def test_j_28_what_is_no_agent(guard: Guard, sub: str) -> None:
    assert agent_domain(sub) is None
    assert principal_kind(sub) is None
    assert verdict(guard.decide([b"Bearer " + token(sub=sub).encode()])) == TOKEN


@pytest.mark.parametrize("sub, domain", [
    (AGENT, "agentwrit.local"),
    (f"{NAMES}/A-Z_0.9/.../..x/", None),
    (f"{NAMES}/.../x../..x", "agentwrit.local"),
    (f"{NAMES}/-/_/.a", "agentwrit.local"),
    ("spiffe://corp_1-x.example/agent/o/t/i", "corp_1-x.example"),
    (f"{NAMES}/{'o' * 2000}/t/i", "agentwrit.local"),
])  # fmt: skip
def test_j_28_the_exact_form_of_an_agent(sub: str, domain: str | None) -> None:
    assert agent_domain(sub) == domain
    assert principal_kind(sub) == ("agent" if domain else None)


def test_j_24_j_28_the_longest_text_is_read() -> None:
    longest = f"{NAMES}/{'o' * (2048 - len(NAMES) - 5)}/t/i"
    assert (len(longest), agent_domain(longest)) == (2048, "agentwrit.local")
    for text in (longest, "x" * 2048, "é" * 1024):
        parsed = parse_claims(claims(sub=text, jti=text, task_id=text))
        assert parsed is not None
        assert (parsed.sub, parsed.jti, parsed.task_id) == (text, text, text)


@pytest.mark.parametrize("cnf", [{"jkt": "x"}, {}, None, "x", {"x5t#S256": "x"}], ids=str)
def test_j_31_a_bound_token_is_no_bearer_token(guard: Guard, cnf: object) -> None:
    decision = guard.decide(bearer(token(cnf=cnf)))
    assert verdict(decision) == TOKEN
    assert isinstance(decision, Denied)
    assert decision.reason is Reason.PROOF_OF_POSSESSION


@pytest.mark.parametrize("scope", [None, [], REMOVED], ids=["null", "empty", "missing"])
def test_j_27_no_scope_satisfies_no_requirement(asking: Guard, scope: object) -> None:
    assert verdict(asking.check(bearer(token(scope=scope)), all_of("read:customers:7291"))) == SCOPE
    allowed = asking.check(bearer(token(scope=scope)))
    assert isinstance(allowed, Allowed)
    assert allowed.principal.scopes == ()


def test_j_27_the_largest_scope_list_is_read(asking: Guard) -> None:
    held = [f"r:a:{number}" for number in range(255)] + ["r:b:" + "x" * 508]
    allowed = asking.check(bearer(token(scope=held)), all_of("r:a:254", "r:b:" + "x" * 508))
    assert isinstance(allowed, Allowed)
    assert allowed.principal.scopes == tuple(held)


@pytest.mark.parametrize("count, read", [(1, True), (256, True), (257, False), (0, False)])
def test_j_27_the_scopes_of_a_record_are_as_many_as_a_tokens_and_never_none(count: int, read: bool) -> None:
    held = tuple(f"r:a:{number}" for number in range(count))
    parsed = parse_claims(delegated(record(scope=held)))
    assert (parsed is not None) is read
    if parsed is not None:
        assert parsed.delegation_chain[0].scope == held


def test_j_29_a_delegated_admin_token_without_task_is_no_crash(make: GuardMaker, stub: StubBroker) -> None:
    guard = make(stub.url, principal_kinds=("agent", "app", "admin"))
    allowed = guard.check(bearer(token(sub="admin", task_id=REMOVED, orch_id=REMOVED)))
    assert isinstance(allowed, Allowed)
    assert (allowed.principal.agent_id, allowed.principal.task_id, allowed.principal.orch_id) == ("admin", None, None)


def test_j_30_the_brokers_own_families_open_nothing() -> None:
    principal = a_principal("admin:revoke:*", "app:agents:*", "read:a:1")
    assert principal.can("read:a:1")
    assert not principal.can("admin:revoke:*")
    assert not principal.can("admin:revoke:7")
    assert not principal.can("app:agents:*")
    assert principal.identifiers("admin", "revoke") == frozenset()
    assert principal.identifiers("app", "agents") == frozenset()


def test_j_32_unknown_claims_go_nowhere(asking: Guard) -> None:
    allowed = asking.check(bearer(token(email="canary@example.com", roles=["canary"])))
    assert isinstance(allowed, Allowed)
    assert "canary" not in repr(allowed)
    assert not any("canary" in str(value) for value in dataclasses.asdict(allowed.principal.claims).values())


def a_principal(*scopes: str) -> Principal:
    parsed = parse_claims(claims(scope=list(scopes)))
    assert parsed is not None
    return Principal(parsed, NOW, "broker")


def test_claims_are_what_the_payload_says() -> None:
    payload = delegated(record(), iss=ISSUER, aud=[AUDIENCE], sid="s", x="dropped")
    parsed = parse_claims(payload)
    assert parsed is not None
    assert dataclasses.asdict(parsed) == {
        **{name: value for name, value in payload.items() if name != "x"},
        "aud": (AUDIENCE,),
        "scope": tuple(payload["scope"]),
        "delegation_chain": ({**record(), "scope": ("read:customers:*",)},),
    }
    bare = parse_claims(claims(task_id=REMOVED, orch_id=REMOVED, scope=REMOVED))
    assert bare == AgentClaims("", AGENT, (), NOW + 300, NOW, NOW, claims()["jti"], ())


def test_a_principal_reads_its_claims() -> None:
    parsed = parse_claims(delegated(record()))
    assert parsed is not None
    principal = Principal(parsed, NOW, "cache")
    assert (principal.agent_id, principal.task_id, principal.orch_id) == (AGENT, "task-1", "orch-1")
    assert (principal.scopes, principal.expires_at) == (("read:customers:7291",), NOW + 300)
    assert [member.agent for member in principal.chain] == [record()["agent"]]


@pytest.mark.parametrize("scopes, held", [
    (("read:a:1",), True),
    (("read:a:1", "read:b:7"), True),
    (("read:a:1", "read:a:2"), False),
    (("read:b:*",), True),
    (("read:a:*",), False),
    (("read:b:",), False),
    (("read:b",), False),
    (("",), False),
    (("read:b:x:y",), True),
    (("READ:a:1",), False),
])  # fmt: skip
def test_a_principal_can_only_what_it_holds(scopes: tuple[str, ...], held: bool) -> None:
    principal = a_principal("read:a:1", "read:b:*")
    assert principal.can(*scopes) is held
    if held:
        principal.require(*scopes)
    else:
        with pytest.raises(ScopeRequired) as caught:
            principal.require(*scopes)
        assert caught.value.scopes == scopes
        assert caught.value.missing
        assert set(caught.value.missing) <= set(scopes)


def test_naming_no_scope_is_a_mistake_in_the_program() -> None:
    with pytest.raises(ValueError, match=r"^name at least one scope$"):
        a_principal("read:a:1").can()
    with pytest.raises(ValueError, match=r"^name at least one scope$"):
        a_principal("read:a:1").require()


def test_identifiers_for_a_query() -> None:
    principal = a_principal("read:a:1", "read:a:2:3", "read:b:*", "write:a:9", "read:c", "read:ab:4")
    assert principal.identifiers("read", "a") == {"1", "2:3"}
    assert principal.identifiers("read", "b") is ALL
    assert principal.identifiers("read", "c") == frozenset()
    assert principal.identifiers("read", "*") == frozenset()


def test_c_13_nothing_of_a_principal_can_be_changed() -> None:
    principal = a_principal("read:a:1")
    for change in (
        lambda: setattr(principal, "source", "x"),
        lambda: setattr(principal.claims, "scope", ("read:a:*",)),
        lambda: setattr(principal.grant, "scopes", ("read:a:*",)),
        lambda: setattr(principal.grant, "new", 1),
    ):
        with pytest.raises((AttributeError, dataclasses.FrozenInstanceError)):
            change()
    assert isinstance(principal.claims.scope, tuple)
    assert copy.copy(principal.claims) == principal.claims
    assert pickle.loads(pickle.dumps(principal.claims)) == principal.claims
