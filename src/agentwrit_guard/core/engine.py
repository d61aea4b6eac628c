"""The decision: from the Authorization entries of a request to Allowed, Denied or a Lookup that must be made first.

Order of checks (threats section 3): header; structure; own claim checks; cache; one broker call; binding; then the
requirement. The cache is looked at first here, because structure and time-independent checks depend only on the
token and on settings that are bound in the cache key: they ran when the identity was put. Every hit re-checks age,
expiry and requirement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from agentwrit_guard.core.bearer import Token, parse_authorization, plain_bearer, refuse
from agentwrit_guard.core.cache import Identity, IdentityCache, Instant, TokenHash
from agentwrit_guard.core.chain import chain_violation, has_loop
from agentwrit_guard.core.claims import AgentClaims, Principal, agent_domain, parse_claims, principal_kind
from agentwrit_guard.core.decisions import Allowed, Denied, Reason
from agentwrit_guard.core.jws import Jws, parse_jws
from agentwrit_guard.core.requirements import Params, Requirement, Unbound
from agentwrit_guard.core.scopes import Scope
from agentwrit_guard.core.wire import Flow, has_unknown_field, same_claims, validate
from agentwrit_guard.errors import BrokerUnavailable

ANY_AGENT: Final = Requirement.authenticated()
_NO_PARAMS: Final[Params] = {}
_NBF_LEEWAY: Final = 5
_IAT_AHEAD: Final = 60


@dataclass(frozen=True)
class Policy:
    """What the guard demands of every token, whatever the route."""

    issuer: str | None
    audience: str | None
    trust_domain: str | None
    principal_kinds: tuple[str, ...]
    max_token_lifetime: int
    chain_loops: str
    cache_ttl: float
    realm: str
    resources: frozenset[str] | None = None


class Keys(Protocol):
    """Pinned keys of the broker, by the thumbprints that are the `kid` of its tokens. See `pins.PinnedKeys`."""

    def __contains__(self, kid: str) -> bool: ...

    def verify(self, kid: str | None, signed: bytes, signature: bytes) -> bool: ...


Notice = Callable[[str, str], None]
"""Told of what was let in all the same and somebody should know: the name of an event, and a text."""


@dataclass(frozen=True)
class Lookup:
    """A token that only the broker can judge. Hand it to `Guard.settle` or `Guard.asettle`."""

    token: Token
    key: bytes = field(repr=False)
    claims: AgentClaims = field(repr=False)
    payload: Mapping[str, object] = field(repr=False)
    requirement: Requirement
    params: Params


class Engine:
    """Decides with what it has; never waits."""

    def __init__(
        self,
        policy: Policy,
        cache: IdentityCache,
        token_hash: TokenHash,
        *,
        keys: Keys | None = None,
        notice: Notice,
    ) -> None:
        self._policy = policy
        self._cache = cache
        self._hash = token_hash
        self._keys = keys
        self._notice = notice

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
            return self.refuse(Reason.REJECTED_BY_BROKER, source="cache")
        return self._inspect(token, key, requirement, params, now)

    def max_age(self, requirement: Requirement) -> float:
        """How old an identity may be for a requirement, in seconds: the TTL, or less if the requirement says so."""
        ttl = self._policy.cache_ttl
        return ttl if requirement.max_age is None else min(ttl, requirement.max_age)

    def judge(self, allowed: Allowed, requirement: Requirement, params: Params, now: Instant) -> Allowed | Denied:
        """Whether an identity satisfies a requirement now. Its age has been looked at already."""
        if now.wall >= allowed.principal.claims.exp:
            return self.refuse(Reason.EXPIRED, source=allowed.source)
        if self._policy.resources is not None and not allowed.principal.grant.scopes:
            return self.refuse(Reason.OUTSIDE_RESOURCES, source=allowed.source)
        if requirement is ANY_AGENT:
            return allowed
        return judge(allowed, requirement, params, self._policy.realm, self._policy.resources) or allowed

    def validation(self, lookup: Lookup, started: Instant) -> Flow[Allowed | Denied]:
        """One broker call for a token: the identity that it confirms, cached, or why there is none.

        Followers share this flow's result, so it judges no requirement. It asks nobody if another call has brought
        the answer since the lookup was made.
        """
        identity = self._cache.get(lookup.key)
        if identity is not None and self._serves(identity, lookup, started):
            return identity.allowed
        if self._cache.rejected(lookup.key, started):
            return self.refuse(Reason.REJECTED_BY_BROKER, source="cache")
        try:
            claims = yield from validate(lookup.token.reveal())
        except BrokerUnavailable as fault:
            return self.unavailable(fault)
        if claims is None:
            self._cache.reject(lookup.key, started)
            return self.refuse(Reason.REJECTED_BY_BROKER, source="broker")
        if not same_claims(lookup.payload, claims):
            return self.refuse(Reason.CLAIMS_MISMATCH, source="broker")
        if has_loop(lookup.claims):
            self._notice("chain_loop", "an agent stands twice in a delegation chain; chain_loops='deny' refuses it")
        if has_unknown_field(lookup.payload, claims):
            self._notice("unknown_field", "the broker's claims have a field that this version does not know")
        resources = self._policy.resources
        fresh = Allowed(Principal(lookup.claims, started.wall, "broker", resources), "broker")
        again = Allowed(Principal(lookup.claims, started.wall, "cache", resources), "cache")
        kept = self._cache.put(lookup.key, Identity(again, started))
        return fresh if kept else self.refuse(Reason.REJECTED_BY_BROKER, source="broker")

    def unavailable(self, fault: BrokerUnavailable) -> Denied:
        detail = {"fault": fault.fault, "message": str(fault)}
        return self.refuse(Reason.BROKER_UNAVAILABLE, retry_after=fault.retry_after, detail=detail, source="broker")

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
        identity = self._cache.get(key)
        if identity is None:
            return None
        if now.wall < identity.allowed.principal.claims.exp and identity.started.age(now) >= self.max_age(requirement):
            return None
        return self.judge(identity.allowed, requirement, params, now)

    def _serves(self, identity: Identity, lookup: Lookup, now: Instant) -> bool:
        """Whether an identity that came in meanwhile is young enough; one of a call that began after `now` is."""
        max_age = self.max_age(lookup.requirement)
        return max_age > 0 and (now.monotonic < identity.started.monotonic or identity.started.age(now) < max_age)

    def _inspect(
        self, token: Token, key: bytes, requirement: Requirement, params: Params, now: Instant
    ) -> Denied | Lookup:
        jws = parse_jws(token.reveal())
        if jws is None:
            return self.refuse(Reason.MALFORMED_TOKEN)
        if "cnf" in jws.payload:
            return self.refuse(Reason.PROOF_OF_POSSESSION)
        claims = parse_claims(jws.payload)
        if claims is None:
            return self.refuse(Reason.MALFORMED_CLAIMS)
        wrong = self._wrong_times(claims, now) or self._wrong_party(claims)
        if wrong is not None:
            return self.refuse(wrong[0], detail=wrong[1])
        domain = agent_domain(claims.sub) or self._policy.trust_domain or ""
        violation = chain_violation(claims, jws.payload_text, domain=domain)
        if violation is not None:
            return self.refuse(Reason.CHAIN_VIOLATION, detail={"violation": violation})
        if self._policy.chain_loops == "deny" and has_loop(claims):
            return self.refuse(Reason.CHAIN_LOOP)
        if self._keys is not None and not self._signed(token, jws, self._keys):
            strange = jws.kid is not None and jws.kid not in self._keys
            return self.refuse(Reason.UNKNOWN_KEY if strange else Reason.BAD_SIGNATURE)
        return Lookup(token, key, claims, jws.payload, requirement, params)

    @staticmethod
    def _signed(token: Token, jws: Jws, keys: Keys) -> bool:
        return keys.verify(jws.kid, token.reveal().rpartition(".")[0].encode(), jws.signature)

    def _wrong_times(self, claims: AgentClaims, now: Instant) -> tuple[Reason, dict[str, str]] | None:
        lifetime = claims.exp - claims.iat
        if now.wall >= claims.exp or lifetime <= 0:
            return Reason.EXPIRED, {}
        if lifetime > self._policy.max_token_lifetime:
            return Reason.LIFETIME_EXCEEDED, {"lifetime": str(lifetime)}
        if claims.nbf > now.wall + _NBF_LEEWAY or claims.iat > now.wall + _IAT_AHEAD:
            return Reason.NOT_YET_VALID, {}
        return None

    def _wrong_party(self, claims: AgentClaims) -> tuple[Reason, dict[str, str]] | None:
        policy = self._policy
        if policy.issuer is not None and claims.iss != policy.issuer:
            return Reason.ISSUER_MISMATCH, {}
        if policy.audience is not None and policy.audience not in claims.aud:
            return Reason.AUDIENCE_MISMATCH, {"aud": "other" if claims.aud else "none"}
        kind = principal_kind(claims.sub)
        if kind is None or kind not in policy.principal_kinds:
            return Reason.PRINCIPAL_KIND, {"kind": kind or "unknown"}
        if kind == "agent" and policy.trust_domain not in (None, agent_domain(claims.sub)):
            return Reason.TRUST_DOMAIN_MISMATCH, {}
        return None


def judge(
    allowed: Allowed, requirement: Requirement, params: Params, realm: str, resources: frozenset[str] | None = None
) -> Denied | None:
    """The requirement alone: what needs no clock, no cache and no guard."""
    principal = allowed.principal
    depth = len(principal.claims.delegation_chain)
    if depth and (not requirement.delegated or (requirement.max_depth is not None and depth > requirement.max_depth)):
        return refuse(Reason.DELEGATION_RULE, realm, detail={"depth": str(depth)}, source=allowed.source)
    if not requirement.parts:
        return None
    shortfall = requirement.missing(principal.grant, params)
    if shortfall is None:
        return None
    if isinstance(shortfall, Unbound):
        detail = {"template": shortfall.template, "value": shortfall.value[:64]}
        return refuse(Reason.UNUSABLE_IDENTIFIER, realm, detail=detail, source=allowed.source)
    if resources is not None and not _reachable(shortfall.missing, resources):
        return refuse(Reason.OUTSIDE_RESOURCES, realm, source=allowed.source)
    return refuse(Reason.INSUFFICIENT_SCOPE, realm, shortfall=shortfall, source=allowed.source)


def _reachable(missing: tuple[str, ...], resources: frozenset[str]) -> bool:
    """Whether asking for any of these scopes would help: one outside the ceiling does not count here, even if held."""
    return any(scope is not None and scope.resource in resources for scope in map(Scope.parse, missing))
