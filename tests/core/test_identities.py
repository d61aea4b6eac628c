"""Identities beyond those used last are kept packed; nothing that a hit decides depends on which of the two it is."""

from __future__ import annotations

import gc
import sys
import threading

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agentwrit_guard import Allowed, Denied, Guard, all_of
from agentwrit_guard.core import identities
from agentwrit_guard.core.cache import IdentityCache
from agentwrit_guard.core.claims import MAX_TEXT, AgentClaims, DelegationRecord, parse_claims
from agentwrit_guard.core.decisions import Reason
from agentwrit_guard.core.identities import Identities
from agentwrit_guard.core.identity import Identity, unpack
from agentwrit_guard.core.instant import Instant
from agentwrit_guard.core.shards import Shards
from tests.core.conftest import GuardMaker
from tests.core.kit import TOKEN, bearer, verdict
from tests.kit.clock import MovableClock
from tests.kit.stub import StubBroker, invalid
from tests.kit.tokens import claims, token

LIVE = 2
TEXTS = st.text(max_size=40) | st.just("x" * MAX_TEXT)
SCOPES = st.lists(TEXTS, max_size=5).map(tuple)
TIMES = st.integers(1, 2**53)
RECORDS = st.builds(DelegationRecord, TEXTS, SCOPES, TEXTS, TEXTS)
CLAIMS = st.builds(
    AgentClaims, TEXTS, TEXTS, SCOPES, TIMES, TIMES, TIMES, TEXTS, SCOPES, *(st.none() | TEXTS for _ in range(3)),
    st.lists(RECORDS, max_size=5).map(tuple), st.none() | TEXTS,
)  # fmt: skip
SECONDS = st.floats(0, 2**40)


@pytest.fixture(autouse=True)
def _few_live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identities, "LIVE", LIVE)


@pytest.fixture
def crowded(make: GuardMaker, stub: StubBroker) -> Guard:
    """A guard that has validated six tokens, of which it keeps four packed."""
    guard = make(stub.url, cache_size=6, max_token_lifetime=3600)
    for number in range(6):
        assert verdict(guard.check(bearer(numbered(number)))) == "allowed"
    return guard


def numbered(number: int) -> str:
    return token(jti=f"j{number}", scope=[f"read:customers:{number}"])


def an_identity(number: int = 0, started: Instant = Instant(100, 1000)) -> Identity:
    parsed = parse_claims(claims(jti=f"j{number}"))
    assert parsed is not None
    return Identity.of(parsed, started, None)


@settings(max_examples=200, deadline=None)
@given(CLAIMS, SECONDS, SECONDS, st.none() | st.frozensets(st.sampled_from(("customers", "notes"))))
def test_packing_loses_nothing(
    given: AgentClaims, monotonic: float, wall: float, ceiling: frozenset[str] | None
) -> None:
    identity = Identity.of(given, Instant(monotonic, wall), ceiling)
    back = unpack(identity.pack(), ceiling)
    assert back.allowed == identity.allowed
    for made, meant in ((back.allowed, identity.allowed), (back.allowed.principal, identity.allowed.principal)):
        assert vars(made) == vars(meant)
        assert repr(made) == repr(meant)
    assert back.allowed.principal.grant == identity.allowed.principal.grant
    assert back.started == identity.started
    assert hash(back.allowed.principal.claims) == hash(given)
    assert back.pack() == identity.pack()


def test_c_12_packed_ones_are_hits_too(crowded: Guard, stub: StubBroker) -> None:
    for _ in range(3):
        for number in range(6):
            found = crowded.decide(bearer(numbered(number)), all_of(f"read:customers:{number}"))
            assert isinstance(found, Allowed)
            assert (found.source, found.principal.source) == ("cache", "cache")
            assert found.principal.claims.jti == f"j{number}"
    assert stub.calls == 6


def test_c_04_a_packed_one_is_judged_by_the_routes_requirement(crowded: Guard) -> None:
    found = crowded.decide(bearer(numbered(0)), all_of("read:customers:1"))
    assert isinstance(found, Denied)
    assert found.reason is Reason.INSUFFICIENT_SCOPE


def test_c_06_c_09_a_packed_one_has_its_age_and_its_end(crowded: Guard, clock: MovableClock) -> None:
    clock.move(4.999)
    assert verdict(crowded.decide(bearer(numbered(0)))) == "allowed"
    clock.move(0.001)
    assert {verdict(crowded.decide(bearer(numbered(number)))) for number in range(6)} == {"lookup"}


def test_c_29_the_deny_list_reaches_a_packed_one(crowded: Guard) -> None:
    crowded.deny("token", "j0")
    assert verdict(crowded.decide(bearer(numbered(0)))) == TOKEN


def test_c_27_a_packed_one_that_the_broker_takes_back_stays_out(
    crowded: Guard, stub: StubBroker, clock: MovableClock
) -> None:
    real, stub.answer = stub.answer, invalid
    clock.move(5)
    assert verdict(crowded.check(bearer(numbered(0)))) == TOKEN
    stub.answer = real
    clock.move(6)
    calls = stub.calls
    assert verdict(crowded.check(bearer(numbered(0)))) == TOKEN
    assert stub.calls == calls
    assert verdict(crowded.check(bearer(numbered(1)))) == "allowed"


def test_j_30_the_ceiling_holds_for_a_packed_one(make: GuardMaker, stub: StubBroker) -> None:
    guard = make(stub.url, cache_size=6, resources={"notes"})
    texts = [token(jti=f"j{number}", scope=["read:customers:1", "read:notes:1"]) for number in range(6)]
    for text in texts:
        assert verdict(guard.check(bearer(text))) == "allowed"
    found = guard.decide(bearer(texts[0]))
    assert isinstance(found, Allowed)
    assert found.principal.scopes == ("read:notes:1",)


def test_c_12_who_was_used_last_stays_and_the_oldest_makes_room(crowded: Guard) -> None:
    for number in (0, 1):
        assert verdict(crowded.decide(bearer(numbered(number)))) == "allowed"
    for number in (6, 7):
        assert verdict(crowded.check(bearer(numbered(number)))) == "allowed"
    assert crowded.stats().identities == 6
    # The oldest of all are 2 and 3.
    found = [verdict(crowded.decide(bearer(numbered(number)))) for number in (4, 5, 0, 1, 6, 7)]
    assert found == ["allowed"] * 6
    assert [verdict(crowded.decide(bearer(numbered(number)))) for number in (2, 3)] == ["lookup"] * 2


def test_c_12_packed_ones_in_use_outlast_live_ones_that_nobody_uses(crowded: Guard) -> None:
    for _ in range(3):
        for number in range(4):
            assert verdict(crowded.decide(bearer(numbered(number)))) == "allowed"
    for number in (6, 7):
        assert verdict(crowded.check(bearer(numbered(number)))) == "allowed"
    found = [verdict(crowded.decide(bearer(numbered(number)))) for number in range(6)]
    assert found == ["allowed"] * 4 + ["lookup"] * 2


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(("use", "put", "use", "put", "reject")), st.integers(0, 9)), max_size=80))
@example([("put", 0), ("put", 1), ("put", 2), ("put", 3), ("put", 4), ("put", 5), *[("use", n) for n in range(6)] * 2])
def test_c_12_c_27_whoever_was_used_lately_stays(steps: list[tuple[str, int]]) -> None:
    cache = IdentityCache(6, 100)
    last: dict[bytes, tuple[int, Identity]] = {}
    for turn, (step, number) in enumerate(steps):
        key = bytes([number] * 2)
        if step == "use":
            found = cache.live(key) or cache.get(key)
            if found is not None:
                assert found[:2] == last[key][1][:2]
                last[key] = turn, found
        elif step == "put":
            # Later than any rejection so far; what was revoked stays out.
            identity = an_identity(number, Instant(turn, 1000 + turn))
            if cache.put(key, identity):
                last[key] = turn, identity
        else:
            # A tombstone needs the identity that was held.
            tombstones = cache.sizes()[2]
            cache.reject(key, Instant(turn, 1000 + turn))
            recent = turn - last.pop(key, (-9, None))[0] <= 6 - LIVE
            assert cache.sizes()[2] - tombstones in ((1,) if recent else (0, 1))
        assert len(cache) <= 6
        lately = [key for key, (used, _) in last.items() if turn - used < 6 - LIVE]
        assert all(cache._identities.pop(key) is not None for key in lately) if turn == len(steps) - 1 else True


def test_c_12_a_crowd_of_which_each_comes_once_pushes_nobody_out() -> None:
    cache = IdentityCache(100, 6)
    keys = [bytes([number, number]) for number in range(100)]
    for number, key in enumerate(keys):
        cache.put(key, an_identity(number))
    regulars = [cache.get(key) for key in keys[:LIVE] * 2][LIVE:]
    for key in keys[LIVE:]:
        assert cache.get(key) is not None
    assert all(cache.get(key) is regular for key, regular in zip(keys, regulars, strict=False))


def test_c_12_a_live_one_that_is_used_keeps_its_place() -> None:
    cache = IdentityCache(LIVE, LIVE)
    for key in (b"aa", b"bb"):
        cache.put(key, an_identity())
    for key in (b"cc", b"dd", b"ee"):
        assert cache.live(b"aa") is not None
        cache.put(key, an_identity())
    assert [cache.live(key) is not None for key in (b"aa", b"bb", b"cc", b"dd", b"ee")] == [True, *[False] * 3, True]


def test_c_07_a_later_confirmation_replaces_a_packed_one() -> None:
    cache = IdentityCache(6, 6)
    for number in range(6):
        cache.put(bytes([0, number]), an_identity(number))
    later = an_identity(0, Instant(200, 2000))
    assert cache.put(b"\0\0", later)
    found = cache.get(b"\0\0")
    assert found is not None
    assert found.started == later.started
    cache.put(b"\0\0", an_identity(0))
    assert cache.get(b"\0\0") == later
    assert len(cache) == 6


@pytest.mark.parametrize("size", [1, LIVE, LIVE + 1, 100, 8192 + LIVE, 20_000])
def test_c_12_never_more_than_there_is_room_for(size: int) -> None:
    kept = Identities(size, None)
    held = an_identity()
    for number in range(2 * size):
        kept.put(number.to_bytes(4, "little"), held)
        assert len(kept) <= size
    assert len(kept) == size


def test_c_12_a_shard_drops_the_one_that_came_first() -> None:
    shards = Shards(3)
    for number in (1, 2, 3, 1, 4):
        shards.put(bytes([number] * 2), str(number))
    assert [shards.pop(bytes([number] * 2)) for number in (1, 2, 3, 4, 4)] == ["1", None, "3", "4", None]
    assert len(shards) == 0


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="the collector tracks every dict from Python 3.14 on")
def test_packed_ones_are_nothing_to_the_garbage_collector() -> None:
    cache = IdentityCache(10_000, 10)
    gc.collect()
    before = len(gc.get_objects())
    for number in range(10_000):
        cache.put(number.to_bytes(32, "little"), an_identity(number))
    gc.collect()
    assert len(cache) > 9_500
    assert len(gc.get_objects()) - before < 100


def test_x_threads_that_read_and_write_lose_nothing_but_the_oldest() -> None:
    cache = IdentityCache(64, 64)
    keys = [bytes([number, number]) for number in range(64)]
    for number, key in enumerate(keys):
        cache.put(key, an_identity(number))
    wrong: list[str] = []

    def work(own: int) -> None:
        for turn in range(2_000):
            number = (own * 17 + turn * 7) % 64
            found = cache.get(keys[number])
            if found is None or found.allowed.principal.claims.jti != f"j{number}":
                wrong.append(f"{number}: {found}")
            elif turn % 5 == 0:
                cache.put(keys[number], found)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, args=(own,)) for own in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not wrong
    assert len(cache) == 64
