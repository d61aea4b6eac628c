"""Guards that are wrong on purpose, one way each: what the machine of `test_worst_day` must notice."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest

from agentwrit_guard import Allowed, Lookup, Requirement
from agentwrit_guard.core import engine
from agentwrit_guard.core.cache import IdentityCache
from agentwrit_guard.core.decisions import Reason
from agentwrit_guard.core.deny import DenyList, _Entries
from agentwrit_guard.core.engine import Engine
from agentwrit_guard.core.identity import Identity
from agentwrit_guard.core.instant import Instant
from agentwrit_guard.core.validation import UNASKED
from tests.core.worst_day import STALE, TTL

Break = Callable[[pytest.MonkeyPatch], None]


def no_tombstones(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(IdentityCache, "_bury", lambda *_: None)


def tombstones_end_when_exp_has_been_seen(patch: pytest.MonkeyPatch) -> None:
    def lax(self: IdentityCache, key: bytes, wall: float) -> bool:
        exp = self._tombstones.get(key)
        if exp is not None and wall >= exp:
            del self._tombstones[key]
        return key in self._tombstones

    patch.setattr(IdentityCache, "_buried", lax)


def late_answers_count(patch: pytest.MonkeyPatch) -> None:
    real = IdentityCache.put

    def lax(self: IdentityCache, key: bytes, identity: Identity) -> bool:
        self._rejected.pop(key, None)
        return real(self, key, identity)

    patch.setattr(IdentityCache, "put", lax)


def the_time_of_day_is_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Instant, "age", lambda then, now: now.monotonic - then.monotonic)


def the_monotonic_clock_is_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Instant, "age", lambda then, now: math.inf if now.wall < then.wall else now.wall - then.wall)


def a_time_of_day_that_goes_back_is_young(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Instant, "age", lambda then, now: max(now.wall - then.wall, now.monotonic - then.monotonic))


def age_counts_from_the_answer(patch: pytest.MonkeyPatch) -> None:
    real = Engine.conclude

    def lax(self: Engine, outcome: Any, lookup: Lookup, now: Instant) -> Any:
        held = self._cache.get(lookup.key)
        if held is not None and isinstance(outcome, Allowed) and outcome.source == "broker":
            self._cache._identities.put(lookup.key, held._replace(started=now))
        return real(self, outcome, lookup, now)

    patch.setattr(Engine, "conclude", lax)


def max_age_is_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Engine, "max_age", lambda self, requirement: self._policy.cache_ttl)


def judge_without(*, exp: bool, deny: bool) -> Callable[..., Any]:
    def lax(self: Engine, allowed: Allowed, requirement: Requirement, params: Any, now: Instant) -> Any:
        held = allowed.principal.claims
        if not exp and now.wall >= held.exp:
            return self.refuse(Reason.EXPIRED)
        if not deny and self._denied.level(held) is not None:
            return self.refuse(Reason.DENY_LIST)
        return engine.judge(allowed, requirement, params, self._policy.realm) or allowed

    return lax


def hits_are_not_held_against_the_deny_list(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Engine, "judge", judge_without(exp=False, deny=True))


def hits_outlive_exp(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Engine, "judge", judge_without(exp=True, deny=False))


def misses_are_not_held_against_the_deny_list(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("agentwrit_guard.core.inspection.Inspection._deny", lambda self, held: None)


def concluding_without(**left_out: bool) -> Break:
    def plant(patch: pytest.MonkeyPatch) -> None:
        real, lax = Engine.conclude, judge_without(**left_out)

        def conclude(self: Engine, *args: Any) -> Any:
            with pytest.MonkeyPatch.context() as inner:
                inner.setattr(Engine, "judge", lax)
                return real(self, *args)

        patch.setattr(Engine, "conclude", conclude)

    return plant


def stale_for_any_max_age(patch: pytest.MonkeyPatch) -> None:
    real = Engine._stale
    anyone = Requirement.authenticated()

    def lax(self: Engine, lookup: Lookup, now: Instant) -> Any:
        return real(self, dataclasses.replace(lookup, requirement=anyone), now)

    patch.setattr(Engine, "_stale", lax)


def stale(changed: Callable[[Engine, Identity, Instant], Any]) -> Break:
    def plant(patch: pytest.MonkeyPatch) -> None:
        def lax(self: Engine, lookup: Lookup, now: Instant) -> Any:
            grace = self._policy.stale_if_error
            held = self._cache.get(lookup.key) if grace and lookup.requirement.max_age is None else None
            if held is None or not changed(self, held, now):
                return None
            return Allowed(held.allowed.principal, "stale")

        patch.setattr(Engine, "_stale", lax)

    return plant


def renewed(self: Engine, held: Identity, now: Instant) -> bool:
    if held.started.age(now) >= TTL + STALE:
        return False
    key = next(key for key, other in self._cache._identities._live.items() if other.identity is held)
    self._cache._identities.put(key, held._replace(started=now))
    return True


def stale_though_the_broker_said_no(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(engine, "UNASKED", frozenset((*UNASKED, Reason.REJECTED_BY_BROKER)))
    real = IdentityCache.reject

    def lax(self: IdentityCache, key: bytes, started: Instant) -> None:
        held = self._identities.get(key)
        real(self, key, started)
        if held is not None:
            self._identities.put(key, held)

    patch.setattr(IdentityCache, "reject", lax)


def a_rejection_leaves_the_identity(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(IdentityCache, "reject", lambda self, key, started: None)


def chain_is_its_root_alone(patch: pytest.MonkeyPatch) -> None:
    real = _Entries.level

    def lax(self: _Entries, held: Any) -> str | None:
        return real(self, dataclasses.replace(held, delegation_chain=held.delegation_chain[:1]))

    patch.setattr(_Entries, "level", lax)


def own_tokens_are_spared(patch: pytest.MonkeyPatch) -> None:
    real = _Entries.level
    patch.setattr(_Entries, "level", lambda self, held: real(self, dataclasses.replace(held, sub="")))


def undeny_takes_back_too_much(patch: pytest.MonkeyPatch) -> None:
    real = DenyList.remove

    def lax(self: DenyList, entry: Any) -> bool:
        self._own.of["chain"].clear()
        return real(self, entry)

    patch.setattr(DenyList, "remove", lax)


def a_deny_takes_effect_when_nothing_is_known(patch: pytest.MonkeyPatch) -> None:
    """It is put into the identity when that is kept, not looked up when it is used."""
    real = Engine._recall

    def lax(self: Engine, key: bytes, *args: Any) -> Any:
        held = self._cache.get(key)
        with pytest.MonkeyPatch.context() as inner:
            if held is not None:
                inner.setattr(Engine, "judge", judge_without(exp=False, deny=True))
            return real(self, key, *args)

    patch.setattr(Engine, "_recall", lax)


BROKEN: dict[str, Break] = {
    fault.__name__: fault
    for fault in (
        no_tombstones, tombstones_end_when_exp_has_been_seen, late_answers_count, the_time_of_day_is_ignored,
        the_monotonic_clock_is_ignored, a_time_of_day_that_goes_back_is_young, age_counts_from_the_answer,
        max_age_is_ignored, hits_are_not_held_against_the_deny_list, hits_outlive_exp,
        misses_are_not_held_against_the_deny_list, stale_for_any_max_age,
        stale_though_the_broker_said_no, a_rejection_leaves_the_identity,
        chain_is_its_root_alone, own_tokens_are_spared, undeny_takes_back_too_much,
        a_deny_takes_effect_when_nothing_is_known,
    )
} | {
    "a_deny_in_flight_is_missed": concluding_without(exp=False, deny=True),
    "exp_in_flight_is_missed": concluding_without(exp=True, deny=False),
    "stale_for_ever": stale(lambda *_: True),
    "stale_for_as_long_as_it_is_used": stale(renewed),
    "stale_by_the_monotonic_clock": stale(lambda _, held, now: now.monotonic - held.started.monotonic < TTL + STALE),
    "stale_for_twice_as_long": stale(lambda _, held, now: held.started.age(now) < TTL + 2 * STALE),
}  # fmt: skip
