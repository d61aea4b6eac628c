"""The claims of a token, parsed strictly, and the principal they make (contract section 4; threats J-19 to J-31).

Parsing here is reject-only: claims that pass are still only what the token says of itself until the broker has
called it valid.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeGuard

from agentwrit_guard.core.scopes import AllIdentifiers, Grant, Scope
from agentwrit_guard.errors import ScopeRequired

MAX_SCOPES: Final = 256
MAX_SCOPE_LENGTH: Final = 512
MAX_CHAIN: Final = 5
MAX_TEXT: Final = 2048
_MAX_AUDIENCES: Final = 64
_MAX_TIME: Final = 2**53

_OPTIONAL: Final = ("task_id", "orch_id", "sid", "chain_hash")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_NAME = r"(?!\.\.?(?:/|\Z))[A-Za-z0-9._-]+"
_AGENT = re.compile(rf"spiffe://(?P<domain>[a-z0-9._-]+)/agent/{_NAME}/{_NAME}/{_NAME}")
_APP = re.compile(r"app:[A-Za-z0-9._-]+")

KNOWN_FIELDS: Final = ("agent", "scope", "delegated_at", "signature")
KNOWN_CLAIMS: Final = (
    "iss", "sub", "aud", "exp", "nbf", "iat", "jti", "sid", "scope", "task_id", "orch_id", "delegation_chain",
    "chain_hash",
)  # fmt: skip


@dataclass(frozen=True)
class DelegationRecord:
    """One hop: `agent` held `scope` when it delegated. `delegated_at` stays text, it has nanoseconds."""

    agent: str
    scope: tuple[str, ...]
    delegated_at: str
    signature: str


@dataclass(frozen=True)
class AgentClaims:
    """A token's payload. Times are Unix seconds; what the broker leaves out is None or empty."""

    iss: str
    sub: str
    aud: tuple[str, ...]
    exp: int
    nbf: int
    iat: int
    jti: str
    scope: tuple[str, ...]
    task_id: str | None = None
    orch_id: str | None = None
    sid: str | None = None
    delegation_chain: tuple[DelegationRecord, ...] = ()
    chain_hash: str | None = None


@dataclass(frozen=True)
class Principal:
    """Who sent the request: an agent whose token the broker called valid at `validated_at` (Unix seconds).

    `source` says whether that was now (`broker`), a moment ago (`cache`), or longer ago than it should be (`stale`).
    With `resources`, the guard's local ceiling, only scopes of these resources count: what else the token says is for
    other APIs of the broker.
    """

    claims: AgentClaims
    validated_at: float
    source: str
    resources: frozenset[str] | None = None
    grant: Grant = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        held = self.claims.scope
        if self.resources is not None:
            held = tuple(text for text in held if self._counts(Scope.parse(text), self.resources))
        object.__setattr__(self, "grant", Grant(held))

    @staticmethod
    def _counts(scope: Scope | None, resources: frozenset[str]) -> bool:
        """Whether a scope lies under the ceiling. The broker's own families are no scopes of an API (J-30)."""
        return scope is not None and scope.resource in resources and not scope.reserved

    @property
    def agent_id(self) -> str:
        return self.claims.sub

    @property
    def task_id(self) -> str | None:
        """The task of the root of the delegation chain; the path of `agent_id` may name another (contract 6)."""
        return self.claims.task_id

    @property
    def orch_id(self) -> str | None:
        return self.claims.orch_id

    @property
    def scopes(self) -> tuple[str, ...]:
        """What is held here: the token's scopes, within the guard's `resources`."""
        return self.grant.scopes

    @property
    def expires_at(self) -> int:
        return self.claims.exp

    @property
    def chain(self) -> tuple[DelegationRecord, ...]:
        """Root first, the delegator of this token last; empty for a token issued to the agent itself."""
        return self.claims.delegation_chain

    def can(self, *scopes: str) -> bool:
        """Whether every scope is held; a text that is no scope is not. ValueError when none is named."""
        return not self._missing(scopes)

    def require(self, *scopes: str) -> None:
        """Raise ScopeRequired, which the guard's middleware answers with 403, unless every scope is held.

        For ids that come in a query or a body. A text that is not `action:resource:identifier`, as an empty or
        hostile id would make it, is not held. So is one with a `*` that came in as an id, unless `*` is held.
        """
        missing = self._missing(scopes)
        if missing:
            raise ScopeRequired(scopes, missing)

    def identifiers(self, action: str, resource: str) -> AllIdentifiers | frozenset[str]:
        """Which identifiers the agent may act on: `ALL`, or the set for a query's WHERE."""
        if Scope(action, resource, "*").reserved:
            return frozenset()
        return self.grant.identifiers(action, resource)

    def _missing(self, scopes: tuple[str, ...]) -> tuple[str, ...]:
        if not scopes:
            raise ValueError("name at least one scope")
        return tuple(text for text in scopes if not self._holds(text))

    def _holds(self, text: str) -> bool:
        scope = Scope.parse(text)
        return scope is not None and not scope.reserved and self.grant.covers(text)


def principal_kind(sub: str) -> str | None:
    """`agent`, `app` or `admin` by the form of `sub`, None for anything else."""
    if agent_domain(sub) is not None:
        return "agent"
    if sub == "admin":
        return "admin"
    return "app" if _APP.fullmatch(sub) else None


def agent_domain(sub: str) -> str | None:
    """The trust domain of an agent id, None if it is not one of the exact form (threats J-28)."""
    match = _AGENT.fullmatch(sub) if len(sub) <= MAX_TEXT else None
    return match.group("domain") if match else None


def parse_claims(payload: Mapping[str, object]) -> AgentClaims | None:
    """The claims of a payload, None if any is missing or malformed. Unknown claims are dropped."""
    iss, sub, jti = payload.get("iss"), payload.get("sub"), payload.get("jti")
    exp, nbf, iat = payload.get("exp"), payload.get("nbf"), payload.get("iat")
    aud, scope = _strings(payload, "aud"), _strings(payload, "scope")
    chain = _chain(payload)
    optional = [payload.get(name) for name in _OPTIONAL]
    if not (is_text(iss) and is_text(sub) and sub and is_text(jti) and jti):
        return None
    if not (_is_time(exp) and _is_time(nbf) and _is_time(iat)):
        return None
    if aud is None or len(aud) > _MAX_AUDIENCES or scope is None or chain is None:
        return None
    if len(scope) > MAX_SCOPES or any(len(text) > MAX_SCOPE_LENGTH for text in scope):
        return None
    if any(name in payload and not (is_text(payload[name]) and payload[name]) for name in _OPTIONAL):
        return None
    task_id, orch_id, sid, chain_hash = (text if isinstance(text, str) else None for text in optional)
    return AgentClaims(iss, sub, aud, exp, nbf, iat, jti, scope, task_id, orch_id, sid, chain, chain_hash)


def is_text(value: object) -> TypeGuard[str]:
    """Whether a claim may have this value: a text without control characters, of at most MAX_TEXT bytes."""
    return isinstance(value, str) and not _CONTROL.search(value) and len(value.encode()) <= MAX_TEXT


def _is_time(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 < value < _MAX_TIME


def _strings(payload: Mapping[str, object], name: str) -> tuple[str, ...] | None:
    value = payload.get(name)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        return None
    return tuple(value)


def _chain(payload: Mapping[str, object]) -> tuple[DelegationRecord, ...] | None:
    if "delegation_chain" not in payload:
        return ()
    value = payload["delegation_chain"]
    if not isinstance(value, list) or not 0 < len(value) <= MAX_CHAIN:
        return None
    records = tuple(_record(item) for item in value)
    return tuple(record for record in records if record is not None) if all(records) else None


def _record(item: object) -> DelegationRecord | None:
    if not isinstance(item, dict):
        return None
    agent, delegated_at, signature = item.get("agent"), item.get("delegated_at"), item.get("signature")
    scope = _strings(item, "scope")
    if not (is_text(agent) and agent and is_text(delegated_at) and delegated_at):
        return None
    if not (is_text(signature) and signature and scope) or len(scope) > MAX_SCOPES:
        return None
    return DelegationRecord(agent, scope, delegated_at, signature)
