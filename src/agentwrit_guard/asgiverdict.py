"""What a requirement comes to for one ASGI request: established, recorded, binding unless it is in shadow mode."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Final

from agentwrit_guard import asgiscope
from agentwrit_guard.asgiscope import Scope
from agentwrit_guard.core.decisions import Allowed, Denied, Phase
from agentwrit_guard.core.engine import ANY_AGENT
from agentwrit_guard.core.lookup import Lookup
from agentwrit_guard.core.requirements import Params, Requirement
from agentwrit_guard.core.shadow import SHADOW_WAIT
from agentwrit_guard.guard import Guard

_SHADOW: Final = "agentwrit.shadow"
_SPARED: Final = "agentwrit.spared"


async def authorize(
    scope: Scope, requirement: Requirement, params: Params, guard: Guard | None, *, front: str
) -> Allowed | Denied | None:
    """Judge a handler's requirement on the identity of this request, established now if no middleware has.

    None where the request goes on without an agent, because nothing is enforced.
    """
    asked = asgiscope.guard_of(scope, guard)
    found = _decide(scope, requirement, params, asked)
    if isinstance(found, Lookup):
        decision = await settle(scope, asked, found, phase="requirement", front=front)
        return settled(scope, asked, decision, requirement, front=front)
    if not requirement.parts and requirement == ANY_AGENT and found is asgiscope.allowed_by(scope, asked):
        # Nothing was asked beyond what has been decided, and recorded, further out.
        return found
    return settled(scope, asked, found, requirement, front=front)


def authorize_blocking(
    scope: Scope, requirement: Requirement, params: Params, guard: Guard | None, *, front: str
) -> Allowed | Denied | None:
    """As `authorize`, for a sync handler in a worker thread."""
    asked = asgiscope.guard_of(scope, guard)
    found = _decide(scope, requirement, params, asked)
    if isinstance(found, Lookup):
        decision = _settle_blocking(scope, asked, found, phase="requirement", front=front)
        return settled(scope, asked, decision, requirement, front=front)
    return settled(scope, asked, found, requirement, front=front)


def authorize_late(
    scope: Scope, requirement: Requirement, params: Params, guard: Guard | None, *, front: str
) -> Allowed | Denied | None:
    """As `authorize`, for a request that was `spared` already, and is kept waiting no more."""
    asked = asgiscope.guard_of(scope, guard)
    found = _decide(scope, requirement, params, asked)
    if isinstance(found, Lookup):
        late = _late(scope, asked, "requirement", front)
        return settled(scope, asked, asked.settle_aside(found, 0, late), requirement, front=front)
    return settled(scope, asked, found, requirement, front=front)


def spared(scope: Scope, guard: Guard | None) -> bool:
    """Whether a requirement of this request was not met, and not enforced: its agent is taken away."""
    return bool(scope.get(_SPARED)) and asgiscope.guard_of(scope, guard) in scope[_SPARED]


def evidence(scope: Scope, guard: Guard | None) -> Allowed | None:
    """The identity to judge on: what the guard allowed, be it taken away from the app."""
    allowed = asgiscope.allowed_by(scope, guard)
    if allowed is None and spared(scope, guard):
        allowed = scope[_SPARED][asgiscope.guard_of(scope, guard)]
    return allowed


def _decide(scope: Scope, requirement: Requirement, params: Params, guard: Guard) -> Allowed | Denied | Lookup:
    allowed = evidence(scope, guard)
    decision = None if allowed is None else guard.rejudge(allowed, requirement, params)
    if decision is not None:
        return decision
    return guard.decide(asgiscope.authorization(scope), requirement, params, query=scope.get("query_string", b""))


async def settle(scope: Scope, guard: Guard, lookup: Lookup, *, phase: Phase, front: str) -> Allowed | Denied | None:
    """What a lookup comes to. None where nothing is enforced, and it takes longer than such a request may wait."""
    if guard.enforces(lookup.requirement):
        return await guard.asettle(lookup)
    late = _late(scope, guard, phase, front)
    return await guard.asettle_aside(lookup, _patience(scope, guard), late)


def _settle_blocking(
    scope: Scope, guard: Guard, lookup: Lookup, *, phase: Phase, front: str
) -> Allowed | Denied | None:
    if guard.enforces(lookup.requirement):
        return guard.settle(lookup)
    late = _late(scope, guard, phase, front)
    return guard.settle_aside(lookup, _patience(scope, guard), late)


def settled(
    scope: Scope, guard: Guard, decision: Allowed | Denied | None, requirement: Requirement, *, front: str
) -> Allowed | Denied | None:
    """Record a handler's decision; a refusal binds the middleware whatever the app makes of it.

    One that is not enforced takes the agent away, whatever else is allowed to this request: the app must not take for
    proven what would have been refused.
    """
    if isinstance(decision, Denied) and guard.enforces(requirement):
        asgiscope.refusals(scope).append(decision)
        asgiscope.record(scope, guard, decision, phase="requirement", front=front)
        return decision
    allowed = decision if isinstance(decision, Allowed) else None
    if allowed is None or spared(scope, guard):
        scope[_SPARED] = {**scope.get(_SPARED, {}), guard: allowed}
        asgiscope.leave(scope, guard, None)
    else:
        asgiscope.leave(scope, guard, allowed)
    if decision is not None:
        asgiscope.record(scope, guard, decision, phase="requirement", front=front, enforced=allowed is not None)
    return allowed


def _late(scope: Scope, guard: Guard, phase: Phase, front: str) -> Callable[[Allowed | Denied], None]:
    # Before the app has the scope: a copy of it would be given another id.
    asgiscope.request_id(scope)
    return functools.partial(_record_late, scope, guard, phase, front)


def _record_late(scope: Scope, guard: Guard, phase: Phase, front: str, decision: Allowed | Denied) -> None:
    asgiscope.record(scope, guard, decision, phase=phase, front=front, enforced=False)


def _patience(scope: Scope, guard: Guard) -> float:
    """Seconds that shadow mode may still cost this request, all its decisions together."""
    now = guard.monotonic()
    return max(0.0, float(scope.setdefault(_SHADOW, now + SHADOW_WAIT)) - now)
