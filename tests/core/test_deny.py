"""The local deny list (threats D-10, C-29): who is reached, from when on, and that it holds whatever else happens."""

from __future__ import annotations

import logging
import sys
import threading
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from agentwrit_guard import Allowed, ConfigurationError, Denied, Guard, Lookup, Requirement, all_of
from agentwrit_guard.core.claims import AgentClaims, DelegationRecord
from agentwrit_guard.core.decisions import Reason
from agentwrit_guard.core.deny import LEVELS, MAX_ENTRIES, DenyEntry, DenyList
from agentwrit_guard.errors import DenyListFull
from tests.core.conftest import GuardMaker
from tests.core.kit import TOKEN, UNAVAILABLE, bearer, verdict
from tests.kit.clock import MovableClock
from tests.kit.stub import Answer, StubBroker, invalid, json_answer, valid
from tests.kit.tokens import NOW, claims, delegated, record, token
from tests.link.test_fork import in_child

ROOT, MIDDLE, LEAF, STRANGER = (
    f"spiffe://agentwrit.local/agent/orch/{name}/4addb01b452d86c3" for name in ("root", "middle", "leaf", "stranger")
)
WIDE = ("read:customers:*",)
ASK_NOW = Requirement.authenticated(max_age=0)


def text(name: str, payload: dict[str, Any]) -> str:
    return token({**payload, "jti": f"{name:0>32}"})


# The five tokens of contract section 7: A's own, B's own, C's own, what A gave to B, and what B gave of that to C.
TOKENS = {
    "A": text("a1", claims(sub=ROOT, task_id="task-a", scope=list(WIDE))),
    "B": text("b1", claims(sub=MIDDLE, task_id="task-b")),
    "C": text("c1", claims(sub=LEAF, task_id="task-c")),
    "A>B": text("ab", delegated(record(ROOT, WIDE), sub=MIDDLE, task_id="task-a")),
    "B>C": text("bc", delegated(record(ROOT, WIDE), record(MIDDLE, WIDE), sub=LEAF, task_id="task-a")),
}
# What is denied, whom the broker's revocation of it reaches by the contract's table, and whom the deny reaches.
REACH = [
    ("token", f"{'a1':0>32}", {"A"}, {"A"}),
    ("token", f"{'ab':0>32}", {"A>B"}, {"A>B"}),
    ("agent", ROOT, {"A"}, {"A", "A>B", "B>C"}),
    ("agent", MIDDLE, {"B", "A>B"}, {"B", "A>B", "B>C"}),
    ("agent", LEAF, {"C", "B>C"}, {"C", "B>C"}),
    ("task", "task-a", {"A", "A>B", "B>C"}, {"A", "A>B", "B>C"}),
    ("task", "task-b", {"B"}, {"B"}),
    ("chain", ROOT, {"A>B", "B>C"}, {"A", "A>B", "B>C"}),
    ("chain", MIDDLE, set(), {"B", "A>B", "B>C"}),
    ("chain", LEAF, set(), {"C", "B>C"}),
    ("agent", STRANGER, set(), set()),
]


def reason(decision: Allowed | Denied | Lookup) -> Reason:
    assert isinstance(decision, Denied)
    return decision.reason


def verdicts(guard: Guard, requirement: Requirement | None = None) -> dict[str, str]:
    return {name: verdict(guard.check(bearer(text), requirement)) for name, text in TOKENS.items()}


@pytest.mark.parametrize("known", [True, False], ids=["hit", "miss"])
@pytest.mark.parametrize("level, target, at_the_broker, here", REACH)
def test_d_10_c_08_a_deny_reaches_at_least_what_the_brokers_revocation_reaches(
    asking: Guard, stub: StubBroker, level: Any, target: str, at_the_broker: set[str], here: set[str], known: bool
) -> None:
    assert at_the_broker <= here
    if known:
        assert set(verdicts(asking).values()) == {"allowed"}
    calls = stub.calls
    asking.deny(level, target)
    for requirement in (None, ASK_NOW, all_of("write:customers:1")):
        for name in here:
            denied = asking.check(bearer(TOKENS[name]), requirement)
            assert (verdict(denied), reason(denied)) == (TOKEN, Reason.DENY_LIST)
            assert isinstance(denied, Denied)
            assert dict(denied.detail) == {"level": level}
    assert stub.calls == calls
    assert verdicts(asking) == {name: TOKEN if name in here else "allowed" for name in TOKENS}


agents = st.sampled_from([ROOT, MIDDLE, LEAF, STRANGER, "admin", "app:x"])
some_claims = st.builds(
    lambda jti, sub, task, chain: AgentClaims(
        "", sub, (), 2, 1, 1, jti, (), task, None, None, tuple(DelegationRecord(a, (), "", "") for a in chain)
    ),
    st.sampled_from("xyz"),
    agents,
    st.sampled_from([None, "x", "y"]),
    st.lists(agents, max_size=5),
)
entries = st.builds(DenyEntry, st.sampled_from(["token", "task"]), st.sampled_from("xyz")) | st.builds(
    DenyEntry, st.sampled_from(["agent", "chain"]), agents
)


def named(entry: DenyEntry, held: AgentClaims) -> bool:
    """What the list decides, said once more."""
    if entry.level == "token":
        return held.jti == entry.target
    if entry.level == "task":
        return held.task_id == entry.target
    return entry.target in (held.sub, *(link.agent for link in held.delegation_chain))


@given(st.lists(entries, max_size=4), st.lists(entries, max_size=4), st.lists(entries, max_size=4), some_claims)
def test_d_10_the_list_says_what_its_entries_say(
    own: list[DenyEntry], gone: list[DenyEntry], of_file: list[DenyEntry], held: AgentClaims
) -> None:
    denied = DenyList(3600, lambda: 0.0)
    denied.replace([DenyEntry("task", "x"), DenyEntry("agent", ROOT)])
    denied.replace(of_file)
    for entry in own:
        denied.add(entry)
    for entry in gone:
        assert denied.remove(entry) == (entry in own)
        own = [kept for kept in own if kept != entry]
    assert denied.level(held) in {entry.level for entry in (*own, *of_file) if named(entry, held)} or (
        denied.level(held) is None and not any(named(entry, held) for entry in (*own, *of_file))
    )
    assert len(denied) == len(set(own)) + len(set(of_file))
    assert bool(denied.filled) == bool(own or of_file)


def test_d_10_undeny_takes_back_what_deny_said_and_nothing_else(asking: Guard, stub: StubBroker) -> None:
    text = TOKENS["A>B"]
    assert verdict(asking.check(bearer(text))) == "allowed"
    asking.deny("agent", ROOT)
    asking.deny("task", "task-a")
    asking.deny("task", "task-a")
    assert not asking.undeny("chain", ROOT)
    assert asking.undeny("agent", ROOT)
    assert not asking.undeny("agent", ROOT)
    assert verdict(asking.decide(bearer(text))) == TOKEN
    assert asking.undeny("task", "task-a")
    # What is known of it is known still: a deny is no word on the token.
    assert verdict(asking.decide(bearer(text))) == "allowed"
    assert stub.calls == 1


def test_d_10_a_deny_stands_whatever_the_broker_says_and_for_how_long_it_takes(
    asking: Guard, stub: StubBroker, clock: MovableClock
) -> None:
    life = token(exp=NOW + 3600, iat=NOW)
    asking.deny("token", claims()["jti"])
    while clock.wall < NOW + 3600:
        assert reason(asking.check(bearer(life))) is Reason.DENY_LIST
        clock.move(119.9)
    assert reason(asking.check(bearer(life))) is Reason.EXPIRED
    assert stub.calls == 0


def test_d_10_a_deny_of_a_guard_is_its_own(make: GuardMaker, stub: StubBroker) -> None:
    one, other = make(stub.url), make(stub.url)
    one.deny("agent", ROOT)
    assert verdict(one.check(bearer(TOKENS["A"]))) == TOKEN
    assert verdict(other.check(bearer(TOKENS["A"]))) == "allowed"


@pytest.mark.parametrize("changes, first", [
    ({"exp": NOW}, Reason.EXPIRED),
    ({"sub": "admin"}, Reason.PRINCIPAL_KIND),
    ({"chain_hash": "0" * 64}, Reason.MALFORMED_CLAIMS),
])  # fmt: skip
def test_d_10_the_tokens_own_faults_are_told_first(guard: Guard, changes: dict[str, Any], first: Reason) -> None:
    guard.deny("token", claims()["jti"])
    found = reason(guard.decide(bearer(token(**changes))))
    assert found is first or (first is Reason.MALFORMED_CLAIMS and found is Reason.CHAIN_VIOLATION)


def test_d_10_a_deny_comes_before_the_pinned_key(make: GuardMaker, tmp_path: Any) -> None:
    key = tmp_path / "key.pem"
    key.write_bytes(
        Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    guard = make(pinned_keys=[str(key)])
    assert reason(guard.decide(bearer(token()))) is Reason.UNKNOWN_KEY
    guard.deny("token", claims()["jti"])
    assert reason(guard.decide(bearer(token()))) is Reason.DENY_LIST


@pytest.mark.parametrize("fails", [False, True], ids=["confirmed", "outage"])
def test_d_10_a_deny_during_a_validation_in_flight(make: GuardMaker, stub: StubBroker, fails: bool) -> None:
    guard = make(stub.url, stale_if_error=30)

    def answer(body: bytes) -> Answer:
        guard.deny("agent", ROOT)
        return json_answer({}, 500) if fails else valid(body)

    stub.answer = answer
    denied = guard.check(bearer(TOKENS["B>C"]))
    assert verdict(denied) == (UNAVAILABLE if fails else TOKEN)
    assert verdict(guard.decide(bearer(TOKENS["B>C"]))) == TOKEN
    assert stub.calls == 1


def test_d_10_a_deny_reaches_all_who_wait_for_one_call(make: GuardMaker, stub: StubBroker) -> None:
    guard = make(stub.url, timeout=30)
    found: list[str] = []

    def ask() -> None:
        found.append(verdict(guard.check(bearer(TOKENS["A"]))))

    with stub.held():
        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        while not stub.calls:
            time.sleep(0)
        guard.deny("task", "task-a")
    for thread in threads:
        thread.join()
    assert found == [TOKEN] * 8
    assert stub.calls == 1


def test_d_10_an_identity_that_was_let_in_further_out_is_judged_anew(asking: Guard) -> None:
    allowed = asking.check(bearer(TOKENS["B>C"]))
    assert isinstance(allowed, Allowed)
    for requirement in (Requirement.authenticated(), all_of("read:customers:7291")):
        assert asking.judge(allowed, requirement) is allowed
    asking.deny("chain", MIDDLE)
    for requirement in (Requirement.authenticated(), all_of("read:customers:7291")):
        assert reason(asking.judge(allowed, requirement)) is Reason.DENY_LIST
    asking.undeny("chain", MIDDLE)
    assert asking.judge(allowed, Requirement.authenticated()) is allowed


def test_d_10_no_decision_that_begins_after_the_deny_lets_anybody_in(asking: Guard) -> None:
    """Eight threads decide all the while; the interpreter changes threads as often as it can. `turn` is odd from when
    `deny` has returned until `undeny` begins: a decision that falls into one odd turn must be a refusal."""
    entry, turn, over = bearer(TOKENS["A"]), 0, threading.Event()
    found: list[tuple[int, str]] = []
    assert verdict(asking.check(entry)) == "allowed"

    def ask() -> None:
        while not over.is_set():
            before = turn
            said = verdict(asking.decide(entry))
            if before == turn:
                found.append((before, said))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=ask) for _ in range(8)]
    try:
        for thread in threads:
            thread.start()
        for number in range(60):
            level, target = [("agent", ROOT), ("task", "task-a"), ("token", f"{'a1':0>32}")][number % 3]
            asking.deny(level, target)  # type: ignore[arg-type]
            turn += 1
            seen = len(found)
            while len(found) < seen + 3:
                time.sleep(0)
            turn += 1
            asking.undeny(level, target)  # type: ignore[arg-type]
    finally:
        over.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(interval)
    assert {said for when, said in found if when % 2} == {TOKEN}
    assert len({when for when, _ in found if when % 2}) == 60


GOOD_TARGETS = [
    ("token", "57cef72249661b21c4979c2acb445d26"),
    ("token", "x" * 2048),
    ("task", "Aufgabe-äöü-任务"),
    ("task", "é" * 1024),
    ("agent", ROOT),
    ("chain", LEAF),
    ("agent", "app:app-x-1"),
    ("agent", "admin"),
]
BAD_TARGETS: list[tuple[Any, Any]] = [
    ("tokens", "x"), ("Token", "x"), ("", "x"), (None, "x"), (["token"], "x"), (b"token", "x"), (0, "x"),
    ("token", ""), ("token", None), ("token", b"x"), ("token", 7), ("token", ["x"]),
    ("token", "x" * 2049), ("task", "é" * 1025),
    ("token", "x "), ("token", " x"), ("task", "a b"), ("token", "x\r\n"), ("token", "x\t"), ("token", "x\u00a0"),
    ("task", "x\u2028"), ("task", "\u3000x"), ("token", "x\x00"), ("token", "x\x7f"), ("token", "x\x85"),
    ("task", "\ud800"),
    ("agent", "task-1"), ("agent", "root"), ("chain", ROOT + "/"), ("chain", ROOT.upper()), ("agent", "\ufeff" + ROOT),
    ("agent", ROOT.replace("agent/", "app/")), ("chain", "spiffe://agentwrit.local/agent/orch/../x"),
    ("token", TOKENS["A"]), ("token", token(scope=["read:customers:" + "x" * 400] * 9)),
]  # fmt: skip


@pytest.mark.parametrize("level, target", GOOD_TARGETS)
def test_d_10_targets(guard: Guard, level: Any, target: str) -> None:
    guard.deny(level, target)
    assert guard.undeny(level, target)


@pytest.mark.parametrize("level, target", BAD_TARGETS)
def test_d_10_what_would_deny_nobody_is_an_error_and_is_not_repeated(guard: Guard, level: Any, target: Any) -> None:
    for call in (guard.deny, guard.undeny):
        with pytest.raises(ConfigurationError, match=r"^(level|target of \w+) must be") as caught:
            call(level, target)
        assert len(str(caught.value)) < 120
        assert not isinstance(target, str) or len(target) < 8 or target not in str(caught.value)
    assert len(guard._parts.denied) == 0


@pytest.mark.parametrize("level, target, changes", [
    ("token", "x" * 2048, {"jti": "x" * 2048}),
    ("token", "任务-äöü", {"jti": "任务-äöü"}),
    ("task", "é" * 1024, {"task_id": "é" * 1024}),
    ("agent", "app:app-1", {"sub": "app:app-1", "task_id": "t"}),
    ("agent", "admin", {"sub": "admin"}),
])  # fmt: skip
def test_d_10_awkward_targets_are_found(make: GuardMaker, level: Any, target: str, changes: dict[str, Any]) -> None:
    guard = make(principal_kinds=["agent", "app", "admin"])
    assert verdict(guard.decide(bearer(token(**changes)))) == "lookup"
    guard.deny(level, target)
    assert verdict(guard.decide(bearer(token(**changes)))) == TOKEN
    for near in (target[:-1], target + "x", target.upper() if target.upper() != target else target.lower()):
        other: dict[str, Any] = {name: near if value == target else value for name, value in changes.items()}
        if level != "agent" and len(near.encode()) <= 2048:
            assert verdict(guard.decide(bearer(token(**other)))) == "lookup"


def test_c_29_a_full_list_says_so_and_drops_nothing(
    guard: Guard, clock: MovableClock, caplog: pytest.LogCaptureFixture
) -> None:
    fill(guard, MAX_ENTRIES - 1)
    guard.deny("token", claims()["jti"])
    with pytest.raises(DenyListFull, match="10000 entries"):
        guard.deny("agent", ROOT)
    assert [getattr(record, "event", None) for record in caplog.records] == ["deny_list_full"]
    assert caplog.records[0].levelno >= logging.WARNING
    guard.deny("token", claims()["jti"])
    assert verdict(guard.decide(bearer(TOKENS["A"]))) == "lookup"
    assert verdict(guard.decide(bearer(token()))) == TOKEN
    assert all(verdict(guard.decide(bearer(token(task_id=f"t{n}", jti="j")))) == TOKEN for n in (0, MAX_ENTRIES - 2))
    assert guard.undeny("task", "t0")
    guard.deny("agent", ROOT)
    assert verdict(guard.decide(bearer(TOKENS["B>C"]))) == TOKEN


def fill(guard: Guard, count: int, level: Any = "task") -> None:
    for number in range(count):
        guard.deny(level, f"t{number}")


def test_c_29_entries_for_tokens_that_have_all_expired_make_room(make: GuardMaker, clock: MovableClock) -> None:
    """A token that may live an hour may be dated a minute ahead. So an entry is of use for that long, and no longer."""
    guard = make(max_token_lifetime=3600)
    fill(guard, MAX_ENTRIES // 2)
    fill(guard, MAX_ENTRIES // 2 - 1, "token")
    latest = token(iat=NOW + 61, nbf=NOW, exp=NOW + 61 + 3600)
    clock.wall = NOW + 1
    guard.deny("token", claims()["jti"])
    assert reason(guard.decide(bearer(latest))) is Reason.DENY_LIST
    clock.move(3659.9)
    with pytest.raises(DenyListFull):
        guard.deny("agent", ROOT)
    assert reason(guard.decide(bearer(latest))) is Reason.DENY_LIST
    clock.move(0.1)
    guard.deny("agent", ROOT)
    assert reason(guard.decide(bearer(latest))) is Reason.EXPIRED
    assert len(guard._parts.denied) == MAX_ENTRIES // 2 + 1
    assert guard.undeny("task", "t0")


def test_c_29_an_entry_that_is_renewed_is_young_again(make: GuardMaker, clock: MovableClock) -> None:
    denied = DenyList(100, lambda: clock.monotonic, size=2)
    denied.add(DenyEntry("token", "x"))
    clock.move(99)
    denied.add(DenyEntry("token", "x"))
    clock.move(2)
    denied.add(DenyEntry("task", "x"))
    with pytest.raises(DenyListFull):
        denied.add(DenyEntry("task", "y"))


def test_c_29_p6_traffic_neither_fills_nor_evicts(make: GuardMaker, stub: StubBroker, clock: MovableClock) -> None:
    guard = make(stub.url, cache_size=10, unknown_token_burst=1000)
    guard.deny("agent", ROOT)
    guard.deny("token", claims()["jti"])
    entries = len(guard._parts.denied)
    for answer in (valid, invalid, lambda _: json_answer({}, 500)):
        stub.answer = answer
        for number in range(60):
            guard.check(bearer(token(jti=f"j{number}", sub=STRANGER)))
            guard.check(bearer(token(jti=f"r{number}", sub=ROOT)))
        clock.move(100)
    assert len(guard._parts.denied) == entries
    assert verdicts(guard)["B>C"] == TOKEN
    assert verdict(guard.decide(bearer(token()))) == TOKEN


def test_c_29_a_flood_of_revocations_leaves_agents_negatives_and_denies_alone(
    make: GuardMaker, stub: StubBroker, clock: MovableClock
) -> None:
    guard = make(stub.url, cache_size=3)
    guard.deny("agent", ROOT)
    stub.answer = invalid
    assert verdict(guard.check(bearer(token(jti="never")))) == TOKEN
    for number in range(20):
        stub.answer = valid
        assert verdict(guard.check(bearer(token(jti=f"j{number}")), ASK_NOW)) == "allowed"
        clock.monotonic += 0.01
        clock.wall += 0.01
        stub.answer = invalid
        assert verdict(guard.check(bearer(token(jti=f"j{number}")), ASK_NOW)) == TOKEN
    assert guard._cache.sizes()[2] == 3
    stub.answer = valid
    assert verdict(guard.check(bearer(TOKENS["B>C"]))) == TOKEN
    assert verdict(guard.check(bearer(token()))) == "allowed"


def test_c_19_a_forked_child_denies_what_its_parent_denied(asking: Guard) -> None:
    """At the fork a thread of the parent holds the list's lock. The child has no such thread, and needs the lock."""
    asking.deny("agent", ROOT)
    with asking._parts.denied._lock:
        assert in_child(lambda: child_denies(asking))
    assert verdict(asking.decide(bearer(TOKENS["B"]))) == "lookup"


def child_denies(guard: Guard) -> bool:
    inherited = verdict(guard.decide(bearer(TOKENS["A"]))) == TOKEN
    guard.deny("task", "task-b")
    return inherited and verdict(guard.decide(bearer(TOKENS["B"]))) == TOKEN and guard.undeny("agent", ROOT)


def test_d_10_every_level_can_be_denied() -> None:
    assert LEVELS == ("token", "agent", "task", "chain")
    assert set(LEVELS) == {level for level, *_ in REACH}
