"""One of each kind of bad token (threats J, D) and of bad scope (S) on every front; the core's tests have the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

from tests.core import test_chain, test_claims, test_jws
from tests.core.test_jws import HEADER, PAYLOAD, SIGNATURE
from tests.core.test_pins import OTHER_KEY, issued, jwk, pem
from tests.fronts.expect import expect
from tests.fronts.test_table import GOOD, bearer, get, raw
from tests.kit.fronts import FRONTS, WHOLE, Front
from tests.kit.stub import Answer, StubBroker, invalid, valid
from tests.kit.tokens import KEY, NOW, compact, delegated, record, token

Make = Callable[..., Front]


class Case(NamedTuple):
    id: str
    text: str
    settings: Mapping[str, Any] = MappingProxyType({})
    calls: int = 0
    broker: Callable[[bytes], Answer] = valid


def firsts(table: Iterable[Any], made: Callable[..., tuple[str, dict[str, Any]]]) -> Iterator[Case]:
    """The first entry of each id in one of the core's tables."""
    seen = set()
    for entry in table:
        name = str(entry.id).partition(" ")[0]
        if name not in seen:
            seen.add(name)
            yield Case(str(entry.id), *made(*entry.values))


def refused_times() -> Iterator[Any]:
    return (entry for entry in test_claims.TIMES if entry.values[1] is not None)


def refused_parties() -> Iterator[Any]:
    return (entry for entry in test_claims.PARTIES if entry.values[2] is not None)


TAIL = test_jws.spellings(SIGNATURE, 4)[0]
REFUSED = [
    *firsts(test_jws.BAD, lambda text: (text, {})),
    *firsts(test_claims.MALFORMED, lambda text: (text, {})),
    *firsts(refused_times(), lambda changes, _: (token(**changes), {})),
    *firsts(refused_parties(), lambda settings, changes, _: (token(**changes), settings)),
    *firsts(test_chain.BROKEN, lambda payload: (token(payload), {})),
    *firsts(test_chain.MALFORMED, lambda payload: (token(payload), {})),
    *firsts(test_chain.LOOPS, lambda payload: (token(payload), {"chain_loops": "deny"})),
    Case("J-15 another spelling", f"{HEADER}.{PAYLOAD}.{TAIL}"),
    Case("J-17 signature of another token", f"{HEADER}.{PAYLOAD}.{token(jti='x').rpartition('.')[2]}", {}, 1, invalid),
    Case("J-18 depth 17", test_jws.with_payload('{"x":' + "[" * 16 + "]" * 16 + "}")),
    Case("J-20 exp is now", token(exp=NOW + 1)),
    Case("J-28 another trust domain", token(sub=test_chain.FOREIGN), {"trust_domain": "agentwrit.local"}),
    Case("J-28 five segments", token(sub="spiffe://agentwrit.local/agent/o/t/i/x")),
    Case("J-29 admin", token(sub="admin")),
    Case("J-31 bound to a key", token(cnf={"jkt": "x"})),
    Case("J-35 another broker's", issued(OTHER_KEY, kid=None), {}, 1, invalid),
    Case("J-35 another broker's, pinned", issued(OTHER_KEY), {"pinned_keys": True}),
    Case("J-07 not the pinned thumbprint", token(), {"pinned_keys": True}),
    Case("J-16 a wrong signature, pinned", issued(OTHER_KEY, kid=None), {"pinned_keys": True}),
    Case("J-37 naughty", "<script>alert(1)</script>';DROP"),
    Case("D-09 beyond the one cap", token(delegated(record(), exp=NOW + 3601))),
]
PASSED = [
    Case("J-07 no kid", test_jws.head(kid=test_jws.REMOVED)),
    Case("J-11 no typ", test_jws.head(typ=test_jws.REMOVED)),
    Case("J-20 exp in a second", token(exp=NOW + 2)),
    Case("J-21 the longest lifetime", token(exp=NOW + 3600)),
    Case("J-22 5 s ahead", token(nbf=NOW + 6)),
    Case("J-23 60 s ahead", token(iat=NOW + 61)),
    Case("J-30 beside admin scopes", token(scope=["admin:revoke:*", "read:customers:7291"])),
    Case("J-32 unknown claims", token(roles=["admin"], email="a@example.com")),
    Case("J-34 hostile names", token(__proto__={"admin": True}, __class__="x", n=2**63)),
    Case("J-35 the pinned broker's own", issued(KEY), {"pinned_keys": True}),
    Case("D-02 depth 5", token(delegated(*[record()] * 5))),
    Case("D-04 an unknown field", token(delegated(record(hop=1)))),
    Case("D-07 a loop", token(delegated(record(test_chain.AGENT)))),
    Case("D-11 renewed", token(delegated(record(), iat=NOW + 30, exp=NOW + 330))),
]


@pytest.fixture(scope="module")
def _one_broker() -> Iterator[StubBroker]:
    with StubBroker() as stub:
        yield stub


@pytest.fixture
def broker(_one_broker: StubBroker) -> StubBroker:
    """One for all of this file: to start and to stop one takes longer than a case."""
    _one_broker.answer = valid
    return _one_broker


@pytest.fixture
def make(make_front: Make, broker: StubBroker, tmp_path: Path) -> Callable[[str, Case], Front]:
    def made(name: str, case: Case) -> Front:
        broker.answer = case.broker
        settings = {**case.settings}
        if "pinned_keys" in settings:
            (tmp_path / "broker.pem").write_bytes(pem(KEY))
            (tmp_path / "broker.json").write_bytes(compact(jwk(KEY)))
            settings["pinned_keys"] = [str(tmp_path / "broker.pem"), str(tmp_path / "broker.json")]
        return make_front(name, **{f"guard_{key}": value for key, value in settings.items()})

    return made


@pytest.mark.parametrize("name", FRONTS)
@pytest.mark.parametrize("case", REFUSED, ids=[case.id for case in REFUSED])
def test_a_bad_token_is_refused_on_every_front(
    make: Callable[[str, Case], Front], broker: StubBroker, name: str, case: Case
) -> None:
    # Through a header, what is no run of visible ASCII without a comma is malformed credentials (H).
    clean = case.text.isascii() and case.text.isprintable() and not set(" ,") & set(case.text)
    request = get(raw(b"Bearer " + case.text.encode()), path="/customers/7291")
    expect(make(name, case), broker, request, 401 if clean else 400, calls=case.calls)


@pytest.mark.parametrize("name", FRONTS)
@pytest.mark.parametrize("case", PASSED, ids=[case.id for case in PASSED])
def test_a_good_token_passes_on_every_front(
    make: Callable[[str, Case], Front], broker: StubBroker, name: str, case: Case
) -> None:
    expect(make(name, case), broker, get(bearer(case.text), path="/customers/7291"), 200, calls=1)


HELD = {
    "S-03 stars": "*:*:*",
    "S-03 a star for the resource": "read:*:7291",
    "S-03 a star for the action": "*:customers:7291",
    "S-03 two stars": "read:customers:**",
    "S-03 a star and more": "read:customers:*:x",
    "S-05 another case": "read:Customers:7291",
    "S-06 full-width star": "read:customers:\uff0a",
    "S-06 letters of another script": "read:cust\u043emers:7291",
    "S-07 trailing blank": "read:customers:7291 ",
    "S-07 star and newline": "read:customers:*\\n",
    "S-07 an escaped star": "read:customers:%2a",
    "J-30 the broker's own": "admin:customers:*",
}


@pytest.mark.parametrize("name", FRONTS)
@pytest.mark.parametrize("held", HELD.values(), ids=HELD)
def test_what_does_not_cover_on_every_front(make_front: Make, broker: StubBroker, name: str, held: str) -> None:
    request = get(bearer(token(scope=[held])), path="/customers/7291")
    expect(make_front(name), broker, request, 403, scope="read:customers:7291", calls=1)


@pytest.mark.parametrize("name", FRONTS)
@pytest.mark.parametrize("scope", [None, [], test_jws.REMOVED], ids=["J-27 null", "J-27 empty", "J-27 missing"])
def test_no_scope_is_no_reach_on_every_front(make_front: Make, broker: StubBroker, name: str, scope: Any) -> None:
    request = get(bearer(token(scope=scope)), path="/customers/7291")
    expect(make_front(name), broker, request, 403, scope="read:customers:7291", calls=1)


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize(
    "query, shown",
    [
        pytest.param("*", "read:orders:*", id="S-04 a literal star needs a held one"),
        pytest.param('a"b', None, id="S-16 a quote"),
        pytest.param("a\\b", None, id="S-16 a backslash"),
    ],
)
def test_a_scope_asked_by_a_handler(
    make_front: Make, broker: StubBroker, name: str, query: str, shown: str | None
) -> None:
    request = get(bearer(token(scope=["read:orders:1"])), path="/orders", query=f"id={query}")
    expect(make_front(name), broker, request, 403, scope=shown, calls=1)


@pytest.mark.parametrize("name", FRONTS)
def test_o_04_a_foreign_and_a_missing_id_look_alike(make_front: Make, broker: StubBroker, name: str) -> None:
    front = make_front(name)
    foreign = expect(front, broker, get(bearer(), path="/customers/1"), 403, scope="read:customers:1", calls=1)
    missing = expect(front, broker, get(bearer(), path="/customers/9"), 403, scope="read:customers:9")
    assert foreign.body.replace(b":1", b":9") == missing.body


@pytest.mark.parametrize("name", FRONTS)
def test_o_02_expired_revoked_and_forged_look_alike(make_front: Make, broker: StubBroker, name: str) -> None:
    front = make_front(name)
    answers = {expect(front, broker, get(bearer(text), path="/customers/7291"), 401).body
               for text in (token(exp=NOW + 1), f"{HEADER}.{PAYLOAD}.{TAIL}", token(sub="admin"))}  # fmt: skip
    broker.answer = invalid
    answers.add(expect(front, broker, get(bearer(GOOD), path="/customers/7291"), 401, calls=1).body)
    assert len(answers) == 1
