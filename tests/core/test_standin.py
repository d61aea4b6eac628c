"""Overrides, through Guard: who a request is, what is judged all the same, and that nothing is left afterwards."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from agentwrit_guard import Allowed, Clock, Denied, Guard, Lookup, Principal, Requirement, all_of, any_of
from agentwrit_guard import testrun as testrun_module
from agentwrit_guard.core.decisions import Reason
from agentwrit_guard.errors import ConfigurationError
from agentwrit_guard.testing import AsAgent, fake_principal
from tests.core.conftest import GuardMaker
from tests.core.kit import NONE, SCOPE, TOKEN, bearer, verdict
from tests.kit.clock import MovableClock
from tests.kit.stub import StubBroker
from tests.kit.tokens import NOW, token

GOOD = token()
READER = ["read:customers:7291"]
ANYTHING: dict[str, list[bytes]] = {
    "no header": [],
    "another scheme": [b"Basic YTpi"],
    "malformed": [b"Bearer a b"],
    "repeated": [b"Bearer x", b"Bearer y"],
    "somebody's token": bearer(GOOD),
}


@pytest.fixture
def reader() -> Principal:
    return fake_principal(READER, expires_in=10**9)


@pytest.mark.parametrize("entries", ANYTHING.values(), ids=ANYTHING)
def test_every_request_is_the_principals_and_nobody_is_asked(
    asking: Guard, stub: StubBroker, reader: Principal, entries: list[bytes]
) -> None:
    with asking.override(reader):
        for requirement in (None, all_of(*READER), all_of(*READER, max_age=0), Requirement.authenticated(max_age=0)):
            allowed = asking.check(entries, requirement)
            assert isinstance(allowed, Allowed)
            assert allowed.principal is reader
            assert allowed.source == "override"
    assert stub.calls == 0


@pytest.mark.anyio
async def test_acheck_does_the_same(guard: Guard, reader: Principal) -> None:
    with guard.override(reader):
        assert verdict(await guard.acheck([], all_of(*READER, max_age=0))) == "allowed"
        assert verdict(await guard.acheck([], all_of("write:customers:7291"))) == SCOPE
    assert verdict(await guard.acheck([])) == NONE


def test_the_requirement_is_judged(guard: Guard, reader: Principal) -> None:
    template = all_of("read:customers:{customer_id}")
    with guard.override(reader):
        assert verdict(guard.decide([], template, {"customer_id": "7291"})) == "allowed"
        assert verdict(guard.decide([], any_of("write:customers:1", *READER))) == "allowed"
        refused = guard.decide([], template, {"customer_id": "1"})
        assert isinstance(refused, Denied)
        assert (verdict(refused), refused.missing, refused.source) == (SCOPE, ("read:customers:1",), "override")
        unusable = guard.decide([], template, {"customer_id": "*"})
        assert isinstance(unusable, Denied)
        assert unusable.reason is Reason.UNUSABLE_IDENTIFIER
        allowed = guard.decide([])
        assert isinstance(allowed, Allowed)
        assert verdict(guard.judge(allowed, all_of("write:customers:1"))) == SCOPE


def test_the_delegation_rules_are_judged(guard: Guard, reader: Principal) -> None:
    heir = fake_principal(READER, delegated_by=reader, expires_in=10**9)
    with guard.override(heir):
        assert verdict(guard.decide([], all_of(*READER, max_depth=1))) == "allowed"
        assert verdict(guard.decide([], all_of(*READER, max_depth=0))) == SCOPE
        assert verdict(guard.decide([], all_of(*READER, delegated=False))) == SCOPE


def test_an_expired_principal_is_a_401(make: GuardMaker, agentwrit_clock: Any) -> None:
    guard = make(clock=agentwrit_clock.clock)
    principal = fake_principal(READER, expires_in=60)
    with guard.override(principal):
        agentwrit_clock.move(principal.expires_at - agentwrit_clock.now - 0.5)
        assert verdict(guard.check([])) == "allowed"
        agentwrit_clock.move(0.5)
        assert verdict(guard.check([], all_of(*READER))) == TOKEN


def test_nothing_is_left_of_it(asking: Guard, stub: StubBroker, reader: Principal) -> None:
    with contextlib.suppress(RuntimeError), asking.override(reader):
        assert verdict(asking.check(bearer(GOOD), all_of(*READER))) == "allowed"
        raise RuntimeError("in the test")
    assert verdict(asking.check([])) == NONE
    assert isinstance(asking.decide(bearer(GOOD)), Lookup)
    assert stub.calls == 0


def test_what_was_cached_before_is_there_afterwards(asking: Guard, stub: StubBroker, reader: Principal) -> None:
    before = asking.check(bearer(GOOD))
    with asking.override(reader):
        pass
    after = asking.check(bearer(GOOD))
    assert isinstance(before, Allowed)
    assert isinstance(after, Allowed)
    assert after.principal.claims == before.principal.claims
    assert stub.calls == 1


def test_a_lookup_from_before_is_settled_as_what_it_was(asking: Guard, reader: Principal) -> None:
    lookup = asking.decide(bearer(GOOD), all_of(*READER))
    assert isinstance(lookup, Lookup)
    with asking.override(reader):
        settled = asking.settle(lookup)
    assert isinstance(settled, Allowed)
    assert (settled.source, settled.principal.expires_at) == ("broker", NOW + 300)


def test_other_guards_stay_as_they_are(make: GuardMaker, reader: Principal) -> None:
    overridden, other = make(), make()
    with overridden.override(reader):
        assert verdict(other.check([])) == NONE


def test_the_inner_override_counts(guard: Guard) -> None:
    first, second = (fake_principal([f"read:{name}:1"], expires_in=10**9) for name in ("a", "b"))

    def who() -> Principal | None:
        decision = guard.check([])
        return decision.principal if isinstance(decision, Allowed) else None

    with guard.override(first):
        with guard.override(second):
            assert who() is second
            with guard.override(first):
                assert who() is first
            assert who() is second
        assert who() is first
    assert who() is None
    outer, inner = guard.override(first), guard.override(second)
    outer.__enter__()
    inner.__enter__()
    outer.__exit__(None, None, None)
    assert who() is second
    inner.__exit__(None, None, None)
    assert who() is None


def test_a_made_agent_stays_itself_under_an_override(make: GuardMaker, as_agent: AsAgent, reader: Principal) -> None:
    guard = make(clock=Clock())
    writer = [as_agent.headers(["write:customers:7291"])["Authorization"].encode()]
    assert verdict(guard.check(writer, all_of("write:customers:7291", max_age=0))) == "allowed"
    assert verdict(guard.check([])) == NONE
    with guard.override(reader):
        assert verdict(guard.check(writer, all_of("write:customers:7291"))) == "allowed"
        assert verdict(guard.check(writer, all_of(*READER))) == SCOPE
        assert verdict(guard.check([writer[0] + b"x"], all_of(*READER))) == "allowed"
    assert verdict(guard.check([*writer, *writer])) == "400 invalid_request"
    assert isinstance(guard.decide(bearer(token(exp=guard_now() + 300, iat=guard_now(), nbf=guard_now()))), Lookup)


def guard_now() -> int:
    return int(Clock().wall())


@pytest.mark.parametrize("value", [None, "spiffe://agentwrit.local/agent/a/b/c", READER, GOOD])
def test_anything_but_a_principal_is_a_mistake(guard: Guard, value: Any) -> None:
    with pytest.raises(ConfigurationError, match="principal") as caught:
        guard.override(value)
    assert GOOD not in str(caught.value)


def test_outside_a_test_run_it_refuses_before_anything_is_open(
    guard: Guard, reader: Principal, monkeypatch: pytest.MonkeyPatch, clock: MovableClock
) -> None:
    monkeypatch.setattr(testrun_module, "active", lambda: False)
    with pytest.raises(ConfigurationError, match="test run only"):
        guard.override(reader)
    assert verdict(guard.check([])) == NONE
