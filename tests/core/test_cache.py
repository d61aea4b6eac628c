"""Validated identities (threats C): ages on both clocks, bounds, and what a hit may decide."""

from __future__ import annotations

import threading

import pytest

from agentwrit_guard import Allowed, Denied, Guard, Requirement, all_of
from agentwrit_guard.core.cache import IdentityCache, TokenHash
from agentwrit_guard.core.claims import Principal, parse_claims
from agentwrit_guard.core.decisions import Reason
from agentwrit_guard.core.identity import Identity
from agentwrit_guard.core.instant import Instant
from tests.core.conftest import GuardMaker
from tests.core.kit import NONE, SCOPE, TOKEN, UNAVAILABLE, bearer, verdict
from tests.kit.clock import MovableClock
from tests.kit.stub import Answer, StubBroker, invalid, json_answer, valid
from tests.kit.tokens import NOW, claims, token

GOOD = token()


def an_identity(started: Instant) -> Identity:
    parsed = parse_claims(claims())
    assert parsed is not None
    return Identity(Allowed(Principal(parsed, started.wall, "cache"), "cache"), started)


@pytest.mark.parametrize("later, age", [
    (Instant(100, 1000), 0), (Instant(103, 1003), 3), (Instant(103, 1000), 3), (Instant(100, 1003), 3),
    (Instant(100, 4600), 3600), (Instant(7000, 1001), 6900), (Instant(103, 999.9), float("inf")),
])  # fmt: skip
def test_c_09_age_is_by_the_clock_that_says_more(later: Instant, age: float) -> None:
    assert Instant(100, 1000).age(later) == age


def test_c_01_the_key_is_a_keyed_hash_of_its_own_guard() -> None:
    one, two = TokenHash("https://a", "policy"), TokenHash("https://a", "policy")
    assert one(b"x") == one(b"x")
    assert one(b"x") != one(b"y")
    assert one(b"x") != two(b"x")
    assert len(one(b"x" * 8192)) == 32
    assert b"secret" not in one(b"secret")


def test_c_01_the_key_is_made_of_32_random_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[bytes] = []

    def draw(size: int) -> bytes:
        drawn.append(b"k" * size if not drawn else b"l" * size)
        return drawn[-1]

    monkeypatch.setattr("secrets.token_bytes", draw)
    assert TokenHash("https://a")(b"x") != TokenHash("https://a")(b"x")
    assert [len(key) for key in drawn] == [32, 32]


def test_c_02_settings_cannot_run_into_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.token_bytes", lambda size: b"k" * size)
    keys = {TokenHash(*settings)(b"t") for settings in (("ab", "c"), ("a", "bc"), ("abc",), ("abc", ""), ("", "abc"))}
    assert len(keys) == 5
    assert TokenHash("ab", "c")(b"t") == TokenHash("ab", "c")(b"t")


def test_c_07_an_older_confirmation_does_not_replace_a_younger() -> None:
    cache = IdentityCache(10, 10)
    young, old = an_identity(Instant(200, 2000)), an_identity(Instant(100, 1000))
    cache.put(b"k", young)
    cache.put(b"k", old)
    assert cache.get(b"k") is young
    cache.put(b"k", again := an_identity(Instant(200, 2000)))
    assert cache.get(b"k") is again


def test_c_07_a_confirmation_that_began_before_the_rejection_does_not_undo_it() -> None:
    cache = IdentityCache(10, 10)
    cache.reject(b"k", Instant(101, 1001))
    for began in (Instant(100, 1000), Instant(101, 1001)):
        assert not cache.put(b"k", an_identity(began))
        assert cache.get(b"k") is None
    assert cache.rejected(b"k", Instant(102, 1002))
    # Valid in answer to an earlier call and rejected in answer to a later one: out for good, whichever came in first.
    cache.put(b"k", an_identity(Instant(102, 1002)))
    assert cache.get(b"k") is None
    cache.reject(b"other", Instant(101, 1001))
    cache.put(b"other", an_identity(Instant(102, 1002)))
    assert cache.get(b"other") is not None
    assert not cache.rejected(b"other", Instant(103, 1003))


def test_c_10_a_rejection_is_remembered_for_less_than_5_seconds() -> None:
    cache = IdentityCache(10, 10)
    cache.reject(b"k", Instant(100, 1000))
    assert cache.get(b"k") is None
    assert len(cache) == 0
    assert cache.rejected(b"k", Instant(104.999, 1004.999))
    assert not cache.rejected(b"k", Instant(105, 1005))
    assert not cache.rejected(b"k", Instant(101, 1005))
    assert not cache.rejected(b"k", Instant(101, 999))
    assert not cache.rejected(b"other", Instant(101, 1001))


def test_c_11_c_12_both_stores_are_bounded_and_apart() -> None:
    cache = IdentityCache(3, 3)
    now = Instant(100, 1000)
    for number in range(3):
        cache.put(bytes([number]), an_identity(now))
    for number in range(100, 200):
        cache.reject(bytes([number]), now)
    assert len(cache) == 3
    assert not cache.rejected(bytes([100]), now)
    assert cache.rejected(bytes([199]), now)
    assert cache.get(bytes([0])) is not None
    cache.put(bytes([3]), an_identity(now))
    assert cache.get(bytes([0])) is not None
    assert cache.get(bytes([1])) is None
    cache.reset()
    assert len(cache) == 0
    assert not cache.rejected(bytes([199]), now)


@pytest.mark.parametrize("size, negative_size", [(1, 3), (3, 1)])
def test_c_11_c_12_each_store_has_its_own_bound(size: int, negative_size: int) -> None:
    cache = IdentityCache(size, negative_size)
    now = Instant(100, 1000)
    for number in range(4):
        cache.put(bytes([number]), an_identity(now))
        cache.reject(bytes([100 + number]), now)
    assert len(cache) == size
    assert [cache.rejected(bytes([100 + number]), now) for number in range(4)].count(True) == negative_size


def test_p2_an_identity_is_good_until_the_ttl_and_not_at_it(
    asking: Guard, stub: StubBroker, clock: MovableClock
) -> None:
    assert verdict(asking.check(bearer(GOOD))) == "allowed"
    stub.answer = invalid
    clock.move(4.999)
    assert verdict(asking.check(bearer(GOOD))) == "allowed"
    clock.move(0.001)
    assert verdict(asking.check(bearer(GOOD))) == TOKEN
    assert stub.calls == 2


def test_p2_age_is_counted_from_the_start_of_the_call(asking: Guard, stub: StubBroker, clock: MovableClock) -> None:
    def slowly(body: bytes) -> Answer:
        clock.move(3)
        return valid(body)

    stub.answer = slowly
    allowed = asking.check(bearer(GOOD))
    assert isinstance(allowed, Allowed)
    assert allowed.principal.validated_at == NOW + 1
    stub.answer = invalid
    clock.move(1.999)
    assert verdict(asking.check(bearer(GOOD))) == "allowed"
    clock.move(0.001)
    assert verdict(asking.check(bearer(GOOD))) == TOKEN


def test_p2_a_ttl_of_0_always_asks(make: GuardMaker, stub: StubBroker) -> None:
    guard = make(stub.url, cache_ttl=0)
    for expected in (1, 2, 3):
        assert verdict(guard.check(bearer(GOOD))) == "allowed"
        assert stub.calls == expected
    stub.answer = invalid
    assert verdict(guard.check(bearer(GOOD))) == TOKEN


@pytest.mark.parametrize("wall, monotonic, hit", [
    (0, 0, True), (1, 1, True), (3600, 0, False), (5, 0, False), (0, 5, False), (0, 3600, False), (-0.001, 0, False),
    (-3600, 0, False), (-1, 1, False), (4.9, 0, True), (0, 4.9, True),
])  # fmt: skip
def test_c_09_jumps_of_either_clock(
    asking: Guard, stub: StubBroker, clock: MovableClock, wall: float, monotonic: float, hit: bool
) -> None:
    text = token(exp=NOW + 3600, iat=NOW, nbf=NOW - 3600)
    clock.wall = NOW
    assert verdict(asking.check(bearer(text))) == "allowed"
    clock.wall += wall
    clock.monotonic += monotonic
    if wall == 3600 or wall == -3600:
        assert verdict(asking.decide(bearer(text))) == TOKEN
    else:
        assert verdict(asking.decide(bearer(text))) == ("allowed" if hit else "lookup")


def test_c_06_a_hit_ends_at_exp(make: GuardMaker, stub: StubBroker, clock: MovableClock) -> None:
    guard = make(stub.url, cache_ttl=60)
    text = token(exp=NOW + 11)
    clock.wall = NOW + 1
    assert verdict(guard.check(bearer(text))) == "allowed"
    clock.move(9.999)
    assert verdict(guard.check(bearer(text))) == "allowed"
    clock.move(0.001)
    denied = guard.check(bearer(text))
    assert verdict(denied) == TOKEN
    assert isinstance(denied, Denied)
    assert denied.reason is Reason.EXPIRED
    assert stub.calls == 1


def test_c_06_b_15_a_token_that_ends_during_the_call_is_refused(
    asking: Guard, stub: StubBroker, clock: MovableClock
) -> None:
    def slowly(body: bytes) -> Answer:
        clock.move(2)
        return valid(body)

    stub.answer = slowly
    denied = asking.check(bearer(token(exp=NOW + 3)))
    assert verdict(denied) == TOKEN
    assert isinstance(denied, Denied)
    assert denied.reason is Reason.EXPIRED


def test_c_04_each_route_judges_its_own_requirement(asking: Guard, stub: StubBroker) -> None:
    assert verdict(asking.check(bearer(GOOD), all_of("read:customers:7291"))) == "allowed"
    assert verdict(asking.check(bearer(GOOD), all_of("write:customers:7291"))) == SCOPE
    assert verdict(asking.check(bearer(GOOD), all_of("read:customers:{id}"), {"id": "7292"})) == SCOPE
    assert verdict(asking.check(bearer(GOOD), all_of("read:customers:{id}"), {"id": "7291"})) == "allowed"
    assert stub.calls == 1


def test_c_04_a_refused_first_route_fills_the_cache_for_the_next(asking: Guard, stub: StubBroker) -> None:
    denied = asking.check(bearer(GOOD), all_of("write:customers:7291"))
    assert verdict(denied) == SCOPE
    assert 'scope="write:customers:7291"' in dict(denied.headers)["www-authenticate"]  # type: ignore[union-attr]
    allowed = asking.check(bearer(GOOD), all_of("read:customers:7291"))
    assert isinstance(allowed, Allowed)
    assert (allowed.source, allowed.principal.source) == ("cache", "cache")
    assert stub.calls == 1


def test_c_05_max_age_is_judged_on_every_hit(asking: Guard, stub: StubBroker, clock: MovableClock) -> None:
    now, two, long = (Requirement.authenticated(max_age=seconds) for seconds in (0, 2, 3600))
    assert verdict(asking.check(bearer(GOOD))) == "allowed"
    clock.move(1.999)
    assert verdict(asking.decide(bearer(GOOD), two)) == "allowed"
    clock.move(0.001)
    assert verdict(asking.decide(bearer(GOOD), two)) == "lookup"
    assert verdict(asking.decide(bearer(GOOD), now)) == "lookup"
    assert verdict(asking.decide(bearer(GOOD), long)) == "allowed"
    clock.move(3)
    assert verdict(asking.decide(bearer(GOOD), long)) == "lookup"
    assert stub.calls == 1


def test_c_08_max_age_0_sees_a_revocation_at_once_and_so_does_everybody_then(asking: Guard, stub: StubBroker) -> None:
    assert verdict(asking.check(bearer(GOOD))) == "allowed"
    stub.answer = invalid
    assert verdict(asking.check(bearer(GOOD))) == "allowed"
    assert verdict(asking.check(bearer(GOOD), Requirement.authenticated(max_age=0))) == TOKEN
    assert verdict(asking.check(bearer(GOOD))) == TOKEN
    assert stub.calls == 2


def test_c_10_negative_entries_live_5_seconds_at_most(asking: Guard, stub: StubBroker, clock: MovableClock) -> None:
    stub.answer = invalid
    assert verdict(asking.check(bearer(GOOD))) == TOKEN
    stub.answer = valid
    clock.move(4.999)
    denied = asking.check(bearer(GOOD))
    assert verdict(denied) == TOKEN
    assert isinstance(denied, Denied)
    assert (denied.reason, denied.source) == (Reason.REJECTED_BY_BROKER, "cache")
    assert stub.calls == 1
    clock.move(0.001)
    assert verdict(asking.check(bearer(GOOD))) == "allowed"
    assert stub.calls == 2


@pytest.mark.parametrize("status", [400, 404, 429, 500, 502, 503, 504, 302])
def test_c_10_failures_leave_no_trace(asking: Guard, stub: StubBroker, clock: MovableClock, status: int) -> None:
    stub.answer = lambda _: json_answer({"valid": False}, status)
    for expected in (1, 2):
        assert verdict(asking.check(bearer(GOOD))) == UNAVAILABLE
        assert stub.calls == expected
        # A broker that asks to be left alone is, for 30 s at most.
        clock.move(30)
    stub.answer = valid
    assert verdict(asking.check(bearer(GOOD))) == "allowed"
    stub.answer = lambda _: json_answer({}, status)
    assert verdict(asking.check(bearer(GOOD))) == "allowed"
    assert stub.calls == 3


def test_p3_a_failure_does_not_cost_a_cached_agent_its_place(
    asking: Guard, stub: StubBroker, clock: MovableClock
) -> None:
    assert verdict(asking.check(bearer(GOOD))) == "allowed"
    stub.answer = lambda _: json_answer({}, 500)
    assert verdict(asking.check(bearer(GOOD), Requirement.authenticated(max_age=0))) == UNAVAILABLE
    assert verdict(asking.check(bearer(GOOD))) == "allowed"
    clock.move(5)
    assert verdict(asking.check(bearer(GOOD))) == UNAVAILABLE


def test_c_03_c_26_guards_share_nothing(make: GuardMaker, stub: StubBroker) -> None:
    assert verdict(make(stub.url).check(bearer(GOOD))) == "allowed"
    stub.answer = invalid
    assert verdict(make(stub.url).check(bearer(GOOD))) == TOKEN
    assert verdict(make(stub.url, audience="https://api").check(bearer(GOOD))) == TOKEN
    assert stub.calls == 2


def test_c_12_the_oldest_identity_makes_room(make: GuardMaker, stub: StubBroker) -> None:
    guard = make(stub.url, cache_size=2)
    texts = [token(jti=f"j{number}") for number in range(3)]
    for text in texts:
        assert verdict(guard.check(bearer(text))) == "allowed"
    assert [verdict(guard.decide(bearer(text))) for text in texts] == ["lookup", "allowed", "allowed"]


def test_c_11_rejected_tokens_evict_no_agent(make: GuardMaker, stub: StubBroker) -> None:
    guard = make(stub.url, cache_size=2)
    assert verdict(guard.check(bearer(GOOD))) == "allowed"
    stub.answer = invalid
    for number in range(10):
        assert verdict(guard.check(bearer(token(jti=f"j{number}")))) == TOKEN
    assert verdict(guard.decide(bearer(GOOD))) == "allowed"
    assert verdict(guard.decide([])) == NONE


def test_c_07_an_answer_that_left_before_the_rejection_does_not_undo_it(
    asking: Guard, stub: StubBroker, clock: MovableClock
) -> None:
    """A call that began earlier brings `true` after a later call has brought `false`."""
    release, number = threading.Event(), iter(range(2))
    asked = threading.Event()

    def answer(body: bytes) -> Answer:
        if next(number) == 0:
            asked.set()
            assert release.wait(20)
            return valid(body)
        return invalid(body)

    stub.answer = answer
    now = Requirement.authenticated(max_age=0)
    late: list[Allowed | Denied] = []
    first = threading.Thread(target=lambda: late.append(asking.check(bearer(GOOD), now)))
    first.start()
    assert asked.wait(20)
    clock.move(1)
    assert verdict(asking.check(bearer(GOOD), now)) == TOKEN
    release.set()
    first.join()
    assert verdict(asking.decide(bearer(GOOD))) == TOKEN
    (denied,) = late
    assert isinstance(denied, Denied)
    assert (denied.reason, denied.source) == (Reason.REJECTED_BY_BROKER, "broker")


ASK_NOW = Requirement.authenticated(max_age=0)


def test_c_27_what_was_valid_here_and_then_was_not_stays_refused_until_exp(
    make: GuardMaker, stub: StubBroker, clock: MovableClock
) -> None:
    """The broker loses the revocation at once. Nobody asks it about this token again."""
    guard = make(stub.url)
    text = token(exp=NOW + 600)
    assert verdict(guard.check(bearer(text))) == "allowed"
    clock.move(5)
    stub.answer = invalid
    assert verdict(guard.check(bearer(text))) == TOKEN
    stub.answer = valid
    for requirement in (None, ASK_NOW, all_of("read:customers:7291")) * 20:
        denied = guard.check(bearer(text), requirement)
        assert (verdict(denied), denied.source) == (TOKEN, "cache")  # type: ignore[union-attr]
        assert isinstance(denied, Denied)
        assert denied.reason is Reason.REJECTED_BY_BROKER
        clock.move(9.8)
    assert stub.calls == 2
    # Another token of the same agent is another token.
    assert verdict(guard.check(bearer(token(exp=NOW + 900)))) == "allowed"
    clock.wall = NOW + 600
    denied = guard.check(bearer(text))
    assert isinstance(denied, Denied)
    assert denied.reason is Reason.EXPIRED
    assert stub.calls == 3


def test_c_27_c_09_a_wall_clock_that_was_beyond_exp_for_a_moment_raises_nobody(
    asking: Guard, stub: StubBroker, clock: MovableClock
) -> None:
    assert verdict(asking.check(bearer(GOOD))) == "allowed"
    clock.move(5)
    stub.answer = invalid
    assert verdict(asking.check(bearer(GOOD))) == TOKEN
    stub.answer = valid
    for step in (3600.0, -3600.0, -100.0, 100.0):
        clock.wall += step
        assert verdict(asking.check(bearer(GOOD))) == TOKEN
        clock.monotonic += 6
    clock.wall += 6
    assert verdict(asking.check(bearer(GOOD))) == TOKEN
    assert stub.calls == 2


def test_c_27_a_token_that_was_never_valid_here_is_only_told_so_for_5_seconds(
    asking: Guard, stub: StubBroker, clock: MovableClock
) -> None:
    """As of a broker whose clock is behind. However often it says no, there is no tombstone."""
    stub.answer = invalid
    for calls in (1, 2, 3):
        assert verdict(asking.check(bearer(GOOD), ASK_NOW)) == TOKEN
        assert stub.calls == calls
        clock.move(5)
    stub.answer = valid
    assert verdict(asking.check(bearer(GOOD))) == "allowed"
    assert asking._cache.sizes() == (1, 0, 0)


def test_c_27_a_forgery_with_the_jti_of_another_harms_nobody(asking: Guard, stub: StubBroker) -> None:
    forged = token(scope=["write:customers:*"])
    assert verdict(asking.check(bearer(GOOD))) == "allowed"
    stub.answer = invalid
    assert verdict(asking.check(bearer(forged))) == TOKEN
    assert verdict(asking.check(bearer(GOOD))) == "allowed"
    assert asking._cache.sizes() == (1, 1, 0)


A, B = Instant(100, 1000), Instant(101, 1001)


def some_steps(cache: IdentityCache, *steps: tuple[str, Instant]) -> tuple[bool, bool]:
    """Whether the token is refused a moment after answers in this order, and once negative entries have passed."""
    for said, started in steps:
        if said == "yes":
            cache.put(b"k", an_identity(started))
        else:
            cache.reject(b"k", started)
    soon, later = Instant(102, 1002), Instant(200, 1100)
    found = cache.rejected(b"k", soon), cache.rejected(b"k", later)
    assert not (found[0] and cache.get(b"k") is not None)
    return found


@pytest.mark.parametrize("steps, found", [
    pytest.param([("yes", A), ("no", B)], (True, True), id="valid before"),
    pytest.param([("no", B), ("yes", A)], (True, True), id="valid before, and its answer came later"),
    pytest.param([("yes", B), ("no", A)], (True, False), id="rejected by a call from before"),
    pytest.param([("no", A), ("yes", B)], (False, False), id="valid after"),
    pytest.param([("yes", A), ("no", A)], (True, False), id="at the same time"),
    pytest.param([("no", A), ("yes", A)], (True, False), id="at the same time, the other way round"),
    pytest.param([("no", A), ("no", B)], (True, False), id="never valid"),
    pytest.param([("yes", A), ("no", B), ("yes", Instant(101.5, 1001.5))], (True, True), id="valid again"),
    pytest.param([("yes", A), ("no", B), ("no", Instant(101.5, 1001.5))], (True, True), id="rejected twice"),
    pytest.param([("no", B), ("no", A), ("yes", Instant(100.5, 1000.5))], (True, True), id="no, no from before, yes"),
    pytest.param([("no", A), ("yes", B), ("no", Instant(101.5, 1001.5))], (True, True), id="valid in between"),
])  # fmt: skip
def test_c_27_c_07_of_two_answers_the_call_that_began_later_counts(
    steps: list[tuple[str, Instant]], found: tuple[bool, bool]
) -> None:
    assert some_steps(IdentityCache(10, 10), *steps) == found


def test_c_27_a_confirmation_after_the_tombstone_lets_nobody_in(
    asking: Guard, stub: StubBroker, clock: MovableClock
) -> None:
    """A call that began while the token had its tombstone already, because it was decided on before."""
    release, asked = threading.Event(), threading.Event()
    found: list[str] = []
    assert verdict(asking.check(bearer(GOOD))) == "allowed"
    clock.move(1)
    lookup = asking.decide(bearer(GOOD), ASK_NOW)
    stub.answer = invalid
    assert verdict(asking.check(bearer(GOOD), ASK_NOW)) == TOKEN
    clock.move(6)
    stub.answer = valid
    assert verdict(asking.settle(lookup)) == TOKEN  # type: ignore[arg-type]
    assert stub.calls == 2

    def answer(body: bytes) -> Answer:
        asked.set()
        assert release.wait(20)
        return valid(body)

    other = token(jti="other")
    assert verdict(asking.check(bearer(other))) == "allowed"
    clock.move(1)
    stub.answer = answer
    slow = threading.Thread(target=lambda: found.append(verdict(asking.check(bearer(other), ASK_NOW))))
    slow.start()
    assert asked.wait(20)
    clock.move(0.5)
    stub.answer = invalid
    assert verdict(asking.check(bearer(other), ASK_NOW)) == TOKEN
    release.set()
    slow.join()
    assert found == [TOKEN]
    clock.move(6)
    stub.answer = valid
    assert verdict(asking.check(bearer(other))) == TOKEN


def test_c_27_p6_three_stores_with_room_of_their_own() -> None:
    cache, now = IdentityCache(3, 2), Instant(100, 1000)
    for number in range(3):
        cache.put(bytes([number]), an_identity(now))
    for number in range(50, 100):
        cache.put(b"revoked", an_identity(now))
        cache.put(bytes([number]), an_identity(now))
        cache.reject(bytes([number]), Instant(101, 1001))
    assert cache.sizes() == (2, 2, 2)
    later = Instant(150, 1050)
    assert [cache.rejected(bytes([number]), later) for number in (97, 98, 99)] == [False, True, True]
    for number in range(100, 200):
        cache.reject(bytes([number]), Instant(102, 1002))
    assert cache.rejected(bytes([98]), later)
    cache.put(b"more", an_identity(later))
    cache.put(b"and more", an_identity(later))
    assert cache.rejected(bytes([98]), later)
    cache.reset()
    assert cache.sizes() == (0, 0, 0)
    assert not cache.rejected(bytes([98]), later)


def test_p2_the_bound_holds_for_a_thousand_revocations(make: GuardMaker, stub: StubBroker, clock: MovableClock) -> None:
    """Each at another moment of the TTL: nobody is let in `cache_ttl` seconds after, however often the token came."""
    guard = make(stub.url, unknown_token_rate=1_000_000, unknown_token_burst=1_000_000)
    for number in range(1000):
        text = token(jti=f"j{number}", iat=int(clock.wall), nbf=int(clock.wall), exp=int(clock.wall) + 300)
        stub.answer = valid
        assert verdict(guard.check(bearer(text))) == "allowed"
        clock.move(number * 0.00499)
        assert verdict(guard.check(bearer(text))) == "allowed"
        revoked = clock.monotonic
        stub.answer = invalid
        while verdict(guard.check(bearer(text))) == "allowed":
            clock.move(0.6)
            assert clock.monotonic - revoked < 5 + 0.6
        clock.move(7)
