"""How agents get into a guard's cache without a broker: in full, or by the last step of it alone."""

from __future__ import annotations

import functools
import json
import operator
import time
from typing import Any, Final

from agentwrit_guard import Allowed, Clock, Guard, Lookup
from agentwrit_guard.core.claims import AgentClaims
from agentwrit_guard.core.identity import Identity
from bench.growing.agents import Crowd, answer, token

# Never asked.
_NOWHERE: Final = "http://127.0.0.1:9"


def guard_for(cache_size: int) -> Guard:
    """One whose clock stands still, for to fill a large cache takes longer than identities may be kept.

    Each look at the clock makes new numbers, as at a real one: they are a part of an entry.
    """
    clock = Clock(*(functools.partial(operator.add, now, 0.0) for now in (time.monotonic(), time.time())))
    return Guard(_NOWHERE, allow_http=True, cache_ttl=60, cache_size=cache_size, clock=clock)


def admit(guard: Guard, shown: bytes, payload: bytes) -> None:
    """All that a request with a new token comes to, but for the exchange with the broker."""
    lookup = guard.decide([shown])
    assert isinstance(lookup, Lookup), lookup
    validation = guard._engine.validation(lookup, guard._clock.now())
    next(validation)
    try:
        validation.send(answer(payload))
    except StopIteration as stop:
        decision = guard._engine.conclude(stop.value, lookup, guard._clock.now())
    assert isinstance(decision, Allowed), decision


def keep(guard: Guard, shown: bytes, said: dict[str, object]) -> None:
    """The last step: an identity out of claims, as `core.validation` makes it, and into the cache.

    That takes a tenth of the time, and `check_alike` sees to it that the same is kept.
    """
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in said.items()}
    identity = Identity.of(AgentClaims(**values), guard._clock.now(), None)
    guard._cache.put(guard._engine._hash(token(shown)), identity)


def check_alike(crowd: Crowd) -> None:
    """AssertionError unless both ways keep the same, and make it a hit."""
    shown, payload = crowd.next()
    guard = guard_for(1)
    key = guard._engine._hash(token(shown))
    admit(guard, shown, payload)
    validated = guard._cache.get(key)
    assert isinstance(guard.decide([shown]), Allowed)
    keep(guard, shown, json.loads(payload))
    kept = guard._cache.get(key)
    assert isinstance(guard.decide([shown]), Allowed)
    assert kept is not validated
    assert kept == validated
