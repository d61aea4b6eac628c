"""What a guard can decide, and why: one table from reason to status and error code (threats section 1).

Decisions are values, never exceptions. A reason with a status of 503 says that nobody who can know said no.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from agentwrit_guard.core.claims import Principal

Error = Literal["invalid_request", "invalid_token", "insufficient_scope"]
Phase = Literal["middleware", "requirement", "connection"]

EVENT_VERSION: Final = 1


class Reason(enum.Enum):
    """Why a request was refused. The value is what logs and metrics show; clients see the error code only."""

    NO_CREDENTIALS = "no_credentials", 401, None
    MALFORMED_CREDENTIALS = "malformed_credentials", 400, "invalid_request"
    REPEATED_CREDENTIALS = "repeated_credentials", 400, "invalid_request"
    OVERSIZED_CREDENTIALS = "oversized_credentials", 400, "invalid_request"
    CREDENTIALS_IN_QUERY = "credentials_in_query", 400, "invalid_request"
    MALFORMED_TOKEN = "malformed_token", 401, "invalid_token"
    MALFORMED_CLAIMS = "malformed_claims", 401, "invalid_token"
    EXPIRED = "expired", 401, "invalid_token"
    NOT_YET_VALID = "not_yet_valid", 401, "invalid_token"
    LIFETIME_EXCEEDED = "lifetime_exceeded", 401, "invalid_token"
    ISSUER_MISMATCH = "issuer_mismatch", 401, "invalid_token"
    AUDIENCE_MISMATCH = "audience_mismatch", 401, "invalid_token"
    TRUST_DOMAIN_MISMATCH = "trust_domain_mismatch", 401, "invalid_token"
    PRINCIPAL_KIND = "principal_kind", 401, "invalid_token"
    PROOF_OF_POSSESSION = "proof_of_possession", 401, "invalid_token"
    CHAIN_VIOLATION = "chain_violation", 401, "invalid_token"
    CHAIN_LOOP = "chain_loop", 401, "invalid_token"
    UNKNOWN_KEY = "unknown_key", 401, "invalid_token"
    BAD_SIGNATURE = "bad_signature", 401, "invalid_token"
    DENY_LIST = "deny_list", 401, "invalid_token"
    REJECTED_BY_BROKER = "rejected_by_broker", 401, "invalid_token"
    INSUFFICIENT_SCOPE = "insufficient_scope", 403, "insufficient_scope"
    UNUSABLE_IDENTIFIER = "unusable_identifier", 403, "insufficient_scope"
    DELEGATION_RULE = "delegation_rule", 403, "insufficient_scope"
    OUTSIDE_RESOURCES = "outside_resources", 403, "insufficient_scope"
    BROKER_UNAVAILABLE = "broker_unavailable", 503, None
    BREAKER_OPEN = "breaker_open", 503, None
    OVER_BUDGET = "over_budget", 503, None
    BROKER_BUSY = "broker_busy", 503, None
    CLAIMS_MISMATCH = "claims_mismatch", 503, None

    def __init__(self, code: str, status: int, error: Error | None) -> None:
        self.code = code
        self.status = status
        self.error = error


@dataclass(frozen=True)
class Allowed:
    """Go on. `source` is `broker` when it was asked for this request, `cache` otherwise, `override` in tests.

    `stale` is an identity past its time that `stale_if_error` lets in while the broker cannot be asked.
    """

    principal: Principal
    source: str


@dataclass(frozen=True)
class Denied:
    """Answer this instead of calling the handler: complete but for a request id."""

    status: int
    reason: Reason
    headers: tuple[tuple[str, str], ...]
    body: bytes = field(repr=False)
    required: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    source: str = "guard"
    detail: Mapping[str, str] = field(default_factory=dict, compare=False)
    """What the operator's log says beyond the reason (never sent to the client)."""
    principal: Principal | None = field(default=None, repr=False, compare=False)
    """Whom the broker has vouched for, where that much is known and something else is missing."""


@dataclass(frozen=True)
class DecisionEvent:
    """One decision, for logs, metrics and hooks. Frozen and without token bytes; fields are only ever added.

    `enforced` is False for a decision that shadow mode did not act on: the request went on all the same. `route` is
    the path of the route as the framework declares it, known where a handler's requirement was judged.
    """

    outcome: Literal["allowed", "denied"]
    reason: str
    status: int
    phase: Phase
    front: str
    method: str
    path: str
    request_id: str
    source: str
    required: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    agent_id: str | None = None
    task_id: str | None = None
    jti_hash: str | None = None
    depth: int = 0
    detail: Mapping[str, str] = field(default_factory=dict)
    version: int = EVENT_VERSION
    enforced: bool = True
    route: str | None = None
