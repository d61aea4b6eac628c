"""The local ceiling: what a token holds for other APIs of the broker counts for nothing here (threats T2)."""

from __future__ import annotations

from typing import Any

import pytest

from agentwrit_guard import ALL, Allowed, Denied, all_of, any_of
from agentwrit_guard.errors import ConfigurationError, ScopeRequired
from tests.core.conftest import GuardMaker
from tests.core.kit import SCOPE, bearer, verdict
from tests.kit.stub import StubBroker
from tests.kit.tokens import token

HELD = ["read:customers:*", "read:orders:7", "write:orders:*", "admin:customers:1", "Read:Customers:1"]


def challenge(decision: Denied) -> str:
    return dict(decision.headers)["www-authenticate"]


def test_an_api_sees_its_own_resources_only(make: GuardMaker, stub: StubBroker) -> None:
    customers, orders = (make(stub.url, resources=[name]) for name in ("customers", "orders"))
    held = bearer(token(scope=HELD))
    one, other = customers.check(held), orders.check(held)
    assert isinstance(one, Allowed)
    assert isinstance(other, Allowed)
    assert one.principal.scopes == ("read:customers:*",)
    assert other.principal.scopes == ("read:orders:7", "write:orders:*")
    assert one.principal.claims.scope == tuple(HELD)
    assert one.principal.can("read:customers:1")
    assert not one.principal.can("read:orders:7")
    assert one.principal.identifiers("read", "customers") is ALL
    assert one.principal.identifiers("read", "orders") == frozenset()
    with pytest.raises(ScopeRequired):
        one.principal.require("write:orders:1")


@pytest.mark.parametrize("scope", ["app:audit:read", "admin:audit:*", "admin:audit:1"])
def test_j_30_the_brokers_own_families_lie_under_no_ceiling(make: GuardMaker, stub: StubBroker, scope: str) -> None:
    decision = make(stub.url, resources=["audit"]).check(bearer(token(scope=[scope])))
    assert verdict(decision) == SCOPE
    assert isinstance(make(stub.url, resources=["audit"]).check(bearer(token(scope=["read:audit:1"]))), Allowed)


def test_without_a_ceiling_all_counts(make: GuardMaker, stub: StubBroker) -> None:
    decision = make(stub.url).check(bearer(token(scope=HELD)))
    assert isinstance(decision, Allowed)
    assert decision.principal.scopes == tuple(HELD)


@pytest.mark.parametrize("requirement", [None, all_of("read:invoices:1"), any_of("read:orders:7", "read:customers:1")])
def test_t2_a_token_for_another_api_is_refused_on_every_route(
    make: GuardMaker, stub: StubBroker, requirement: Any
) -> None:
    guard = make(stub.url, resources={"invoices"})
    for _ in range(2):
        decision = guard.check(bearer(token(scope=HELD)), requirement)
        assert verdict(decision) == SCOPE
        assert isinstance(decision, Denied)
        assert decision.reason.code == "outside_resources"
        assert "scope=" not in challenge(decision)
    assert stub.calls == 1, "the identity stays"


def test_a_required_scope_outside_the_ceiling_is_never_asked_for(make: GuardMaker, stub: StubBroker) -> None:
    guard = make(stub.url, resources=["customers"])
    held = bearer(token(scope=HELD))
    inside = guard.check(held, all_of("write:customers:1"))
    outside = guard.check(held, all_of("read:orders:7"))
    either = guard.check(held, any_of("read:orders:7", "write:customers:1"))
    for decision, reason in (
        (inside, "insufficient_scope"),
        (outside, "outside_resources"),
        (either, "insufficient_scope"),
    ):
        assert verdict(decision) == SCOPE
        assert isinstance(decision, Denied)
        assert decision.reason.code == reason
        assert ("scope=" in challenge(decision)) is (reason == "insufficient_scope")
    assert isinstance(guard.check(held, all_of("read:customers:1")), Allowed)


def test_the_revoked_and_the_expired_are_still_401(make: GuardMaker, stub: StubBroker, clock: Any) -> None:
    guard = make(stub.url, resources=["invoices"], cache_ttl=60)
    text = token(scope=HELD)
    assert verdict(guard.check(bearer(text))) == SCOPE
    clock.move(299)
    assert verdict(guard.check(bearer(text))) == "401 invalid_token"


@pytest.mark.parametrize(
    "resources", ["customers", [], [""], ["a:b"], ["*"], ["a b"], [7], 7, b"customers", {"customers": 1}.items()]
)
def test_a_ceiling_that_cannot_be_meant(make: GuardMaker, resources: Any) -> None:
    with pytest.raises(ConfigurationError, match="resources"):
        make(resources=resources)


def test_the_ceiling_is_explained(make: GuardMaker, stub: StubBroker, caplog: pytest.LogCaptureFixture) -> None:
    guard = make(stub.url, resources=["invoices"])
    decision = guard.check(bearer(token(scope=HELD)))
    assert isinstance(decision, Denied)
    guard.record(decision, phase="middleware", front="asgi", method="GET", path="/", request_id="r")
    assert "outside_resources" in caplog.text
    assert "resources=('invoices',)" in caplog.text
