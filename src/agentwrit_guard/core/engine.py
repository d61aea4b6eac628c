"""The decision: from the Authorization entries of a request to Allowed, Denied or a Lookup that must be made first.

Order of checks (threats section 3): header; structure; own claim checks; deny list; pinned key; cache; one broker
call; binding; then the requirement. The cache is looked at first here, because structure and time-independent checks
depend only on the token and on settings that are bound in the cache key: they ran when the identity was put. Every
hit re-checks age, expiry, deny list and requirement.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Final

from agentwrit_guard.core.bearer import parse_authorization, plain_bearer, refuse
from agentwrit_guard.core.cache import IdentityCache, TokenHash
from agentwrit_guard.core.decisions import Allowed, Denied, Reason
from agentwrit_guard.core.deny import DenyList
from agentwrit_guard.core.inspection import Inspection, Objection
from agentwrit_guard.core.instant import Instant
from agentwrit_guard.core.load import Load
from agentwrit_guard.core.lookup import Lookup
from agentwrit_guard.core.policy import Keys, Policy
from agentwrit_guard.core.requirements import Params, Requirement, Unbound
from agentwrit_guard.core.scopes import Scope
from agentwrit_guard.core.validation import UNASKED, Notice, Validation
from agentwrit_guard.core.wire import Flow
from agentwrit_guard.core.witness import Witness
from agentwrit_guard.errors import BrokerUnavailable

ANY_AGENT: Final = Requirement.authenticated()


class Engine:
    """Decides with what it has; never waits."""

    def __init__(
        self,
        policy: Policy,
        cache: IdentityCache,
        token_hash: TokenHash,
        denied: DenyList,
        load: Load,
        *,
        keys: Keys | None = None,
        notice: Notice,
        witness: Witness,
    ) -> None:
        self._policy = policy
        self._ttl = policy.cache_ttl
        self._cache = cache
        # The method itself: an object that is called takes the interpreter a detour.
        self._hash = token_hash.__call__
        self._denied = denied
        self._inspect = Inspection(policy, denied, keys)
        self._witness = witness
        self._validation = Validation(policy, cache, load, notice, witness)

    def decide(
        self, entries: Sequence[bytes], requirement: Requirement, params: Params, now: Instant
    ) -> Allowed | Denied | Lookup:
        spelt = plain_bearer(entries)
        if spelt is not None:
            # An identity is only ever kept under the hash of a well-formed token: bytes that hash to one are that
            # token, and need no second look.
            decision = self._recall(self._hash(spelt), requirement, params, now)
            if decision is not None:
                return decision
        token = parse_authorization(entries)
        if isinstance(token, Reason):
            return self.refuse(token)
        key = self._hash(token.reveal().encode())
        decision = self._recall(key, requirement, params, now)
        if decision is not None:
            return decision
        if self._cache.rejected(key, now):
            self._witness.cached += 1
            return self.refuse(Reason.REJECTED_BY_BROKER, source="cache")
        found = self._inspect(token, now)
        if isinstance(found, Objection):
            return self.refuse(found.reason, detail=found.detail)
        self._witness.lookups += 1
        return Lookup(token, key, found.claims, found.payload, requirement, params)

    def max_age(self, requirement: Requirement) -> float:
        """How old an identity may be for a requirement, in seconds: the TTL, or less if the requirement says so."""
        return self._ttl if requirement.max_age is None else min(self._ttl, requirement.max_age)

    def judge(self, allowed: Allowed, requirement: Requirement, params: Params, now: Instant) -> Allowed | Denied:
        """Whether an identity satisfies a requirement now. Its age has been looked at already."""
        claims = allowed.principal.claims
        if now.wall >= claims.exp:
            return refuse(Reason.EXPIRED, self._policy.realm, of=allowed)
        if self._denied.filled:
            level = self._denied.level(claims)
            if level is not None:
                return refuse(Reason.DENY_LIST, self._policy.realm, detail={"level": level}, of=allowed)
        if self._policy.resources is not None and not allowed.principal.grant.scopes:
            return refuse(Reason.OUTSIDE_RESOURCES, self._policy.realm, of=allowed)
        if requirement is ANY_AGENT:
            return allowed
        return judge(allowed, requirement, params, self._policy.realm, self._policy.resources) or allowed

    def validation(self, lookup: Lookup, started: Instant) -> Flow[Allowed | Denied]:
        """What the broker says of a lookup's token, shared by all who bring it. Hand it to `conclude`."""
        return self._validation(lookup, started, self.max_age(lookup.requirement))

    def conclude(self, outcome: Allowed | Denied, lookup: Lookup, now: Instant) -> Allowed | Denied:
        """What a validation comes to for one of those who waited for it."""
        if isinstance(outcome, Denied):
            stale = self._stale(lookup, now) if outcome.reason in UNASKED else None
            if stale is None:
                return outcome
            outcome = stale
        return self.judge(outcome, lookup.requirement, lookup.params, now)

    def unavailable(self, fault: BrokerUnavailable) -> Denied:
        return self._validation.unavailable(fault)

    def refuse(
        self,
        reason: Reason,
        *,
        retry_after: float | None = None,
        detail: Mapping[str, str] | None = None,
        source: str = "guard",
    ) -> Denied:
        return refuse(reason, self._policy.realm, retry_after=retry_after, detail=detail, source=source)

    def _recall(self, key: bytes, requirement: Requirement, params: Params, now: Instant) -> Allowed | Denied | None:
        """What a cached identity comes to; None without one that is young enough."""
        identity = self._cache.live(key) or self._cache.get(key)
        if identity is None:
            return None
        max_age = self._ttl if requirement.max_age is None else self.max_age(requirement)
        if identity.started.age(now) >= max_age and now.wall < identity.allowed.principal.claims.exp:
            return None
        self._witness.cached += 1
        return self.judge(identity.allowed, requirement, params, now)

    def _stale(self, lookup: Lookup, now: Instant) -> Allowed | None:
        """An identity past its time that may do while nobody can be asked (threats B-22).

        Not for a requirement that says itself how old is too old, and only of a token that was valid here.
        """
        grace = self._policy.stale_if_error
        identity = self._cache.get(lookup.key) if grace and lookup.requirement.max_age is None else None
        if identity is None or identity.started.age(now) >= self._policy.cache_ttl + grace:
            return None
        return Allowed(dataclasses.replace(identity.allowed.principal, source="stale"), "stale")


def judge(
    allowed: Allowed, requirement: Requirement, params: Params, realm: str, resources: frozenset[str] | None = None
) -> Denied | None:
    """The requirement alone: what needs no clock, no cache and no guard."""
    principal = allowed.principal
    depth = len(principal.claims.delegation_chain)
    if depth and (not requirement.delegated or (requirement.max_depth is not None and depth > requirement.max_depth)):
        return refuse(Reason.DELEGATION_RULE, realm, detail={"depth": str(depth)}, of=allowed)
    if not requirement.parts:
        return None
    shortfall = requirement.missing(principal.grant, params)
    if shortfall is None:
        return None
    if isinstance(shortfall, Unbound):
        detail = {"template": shortfall.template, "value": shortfall.value[:64]}
        return refuse(Reason.UNUSABLE_IDENTIFIER, realm, detail=detail, of=allowed)
    if resources is not None and not _reachable(shortfall.missing, resources):
        return refuse(Reason.OUTSIDE_RESOURCES, realm, of=allowed)
    return refuse(Reason.INSUFFICIENT_SCOPE, realm, shortfall=shortfall, of=allowed)


def _reachable(missing: tuple[str, ...], resources: frozenset[str]) -> bool:
    """Whether asking for any of these scopes would help: one outside the ceiling does not count here, even if held."""
    return any(scope is not None and scope.resource in resources for scope in map(Scope.parse, missing))
