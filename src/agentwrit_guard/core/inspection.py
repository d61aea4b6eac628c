"""What a token's own bytes say against it (threats J and D). Reject-only: what passes still needs the broker's word.

In the order of threats section 3: structure, claims, times, parties, chain, and the pinned key. A token that the deny
list names is told before its signature is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from agentwrit_guard.core.bearer import Token
from agentwrit_guard.core.chain import chain_violation, has_loop
from agentwrit_guard.core.claims import AgentClaims, agent_domain, parse_claims, principal_kind
from agentwrit_guard.core.decisions import Reason
from agentwrit_guard.core.deny import DenyList
from agentwrit_guard.core.instant import Instant
from agentwrit_guard.core.jws import Jws, parse_jws
from agentwrit_guard.core.policy import Keys, Policy

_NBF_LEEWAY: Final = 5
IAT_AHEAD: Final = 60


class Objection(NamedTuple):
    """Why a token is no good, and what the operator's log says beyond that."""

    reason: Reason
    detail: Mapping[str, str] = {}


class Inspected(NamedTuple):
    """A token that nothing is known against."""

    claims: AgentClaims
    payload: Mapping[str, object]


class Inspection:
    def __init__(self, policy: Policy, denied: DenyList, keys: Keys | None) -> None:
        self._policy = policy
        self._denied = denied
        self._keys = keys

    def __call__(self, token: Token, now: Instant) -> Inspected | Objection:
        jws = parse_jws(token.reveal())
        if jws is None:
            return Objection(Reason.MALFORMED_TOKEN)
        if "cnf" in jws.payload:
            return Objection(Reason.PROOF_OF_POSSESSION)
        claims = parse_claims(jws.payload)
        if claims is None:
            return Objection(Reason.MALFORMED_CLAIMS)
        objection = (
            self._times(claims, now)
            or self._party(claims)
            or self._chain(claims, jws)
            or self._deny(claims)
            or self._key(token, jws)
        )
        return objection or Inspected(claims, jws.payload)

    def _times(self, claims: AgentClaims, now: Instant) -> Objection | None:
        lifetime = claims.exp - claims.iat
        if now.wall >= claims.exp or lifetime <= 0:
            return Objection(Reason.EXPIRED)
        if lifetime > self._policy.max_token_lifetime:
            return Objection(Reason.LIFETIME_EXCEEDED, {"lifetime": str(lifetime)})
        if claims.nbf > now.wall + _NBF_LEEWAY or claims.iat > now.wall + IAT_AHEAD:
            return Objection(Reason.NOT_YET_VALID)
        return None

    def _party(self, claims: AgentClaims) -> Objection | None:
        policy = self._policy
        if policy.issuer is not None and claims.iss != policy.issuer:
            return Objection(Reason.ISSUER_MISMATCH)
        if policy.audience is not None and policy.audience not in claims.aud:
            return Objection(Reason.AUDIENCE_MISMATCH, {"aud": "other" if claims.aud else "none"})
        kind = principal_kind(claims.sub)
        if kind is None or kind not in policy.principal_kinds:
            return Objection(Reason.PRINCIPAL_KIND, {"kind": kind or "unknown"})
        if kind == "agent" and policy.trust_domain not in (None, agent_domain(claims.sub)):
            return Objection(Reason.TRUST_DOMAIN_MISMATCH)
        return None

    def _chain(self, claims: AgentClaims, jws: Jws) -> Objection | None:
        domain = agent_domain(claims.sub) or self._policy.trust_domain or ""
        violation = chain_violation(claims, jws.payload_text, domain=domain)
        if violation is not None:
            return Objection(Reason.CHAIN_VIOLATION, {"violation": violation})
        if self._policy.chain_loops == "deny" and has_loop(claims):
            return Objection(Reason.CHAIN_LOOP)
        return None

    def _deny(self, claims: AgentClaims) -> Objection | None:
        level = self._denied.level(claims)
        return None if level is None else Objection(Reason.DENY_LIST, {"level": level})

    def _key(self, token: Token, jws: Jws) -> Objection | None:
        if self._keys is None or self._keys.verify(jws.kid, token.reveal().rpartition(".")[0].encode(), jws.signature):
            return None
        strange = jws.kid is not None and jws.kid not in self._keys
        return Objection(Reason.UNKNOWN_KEY if strange else Reason.BAD_SIGNATURE)
