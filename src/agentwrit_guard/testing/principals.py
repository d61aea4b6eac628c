"""Principals that no broker knows, for `guard.override` and unit tests."""

from __future__ import annotations

import hashlib
import json
import math
import secrets
from collections.abc import Collection, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Final

from agentwrit_guard.testing import clock

if TYPE_CHECKING:
    from agentwrit_guard.core.claims import DelegationRecord, Principal


_FAR: Final = 1e10


def fake_principal(
    scope: Sequence[str] = (),
    *,
    agent_id: str | None = None,
    task_id: str = "task",
    orch_id: str = "orch",
    expires_in: float = 3600,
    delegated_by: Principal | None = None,
    issuer: str = "",
    audience: Sequence[str] = (),
) -> Principal:
    """An agent that holds `scope`, as if the broker had called its token valid just now.

    Each one is another agent unless `agent_id` says who. `expires_in` is in seconds; 0 or less has expired. With
    `delegated_by`, another fake principal, it holds what that one passed on: its chain is longer by it, and task and
    orchestrator are the root's, `task_id` and `orch_id` only go into the agent's id. ValueError for what no broker
    would issue: a malformed scope, one that the delegator does not hold, a sixth hop.
    """
    from agentwrit_guard.core.claims import MAX_CHAIN, AgentClaims, Principal, principal_kind

    _check_types(agent_id, task_id, orch_id, expires_in, delegated_by, issuer, audience)
    _check_scope(scope, delegated_by)
    sub = (
        agent_id
        if agent_id is not None
        else f"spiffe://agentwrit.local/agent/{orch_id}/{task_id}/{secrets.token_hex(8)}"
    )
    if principal_kind(sub) is None:
        raise ValueError(f"no broker would issue a token for {sub!r}")
    moment = clock.now()
    exp = math.floor(moment + expires_in)
    iat = min(math.floor(moment), exp - 1)
    chain: tuple[DelegationRecord, ...] = ()
    if delegated_by is not None:
        chain = (*delegated_by.chain, _record(delegated_by, iat))
        if len(chain) > MAX_CHAIN:
            raise ValueError(f"a token is delegated {MAX_CHAIN} times at most")
    claims = AgentClaims(
        iss=issuer,
        sub=sub,
        aud=tuple(audience),
        exp=exp,
        nbf=iat,
        iat=iat,
        jti=secrets.token_hex(16),
        scope=tuple(scope),
        task_id=task_id if delegated_by is None else delegated_by.task_id,
        orch_id=orch_id if delegated_by is None else delegated_by.orch_id,
        delegation_chain=chain,
        chain_hash=_hash(chain) if chain else None,
    )
    return Principal(claims, moment, "override")


def _check_types(
    agent_id: object, task_id: object, orch_id: object, expires_in: object, delegated_by: object, issuer: object,
    audience: object,
) -> None:  # fmt: skip
    from agentwrit_guard.core.claims import Principal

    texts = {"agent_id": "" if agent_id is None else agent_id, "task_id": task_id, "orch_id": orch_id, "issuer": issuer}
    for name, value in texts.items():
        if not isinstance(value, str):
            raise ValueError(f"{name} must be text, got {value!r}")
    if isinstance(expires_in, bool) or not isinstance(expires_in, (int, float)) or not -_FAR < expires_in < _FAR:
        raise ValueError(f"expires_in must be a number of seconds, got {expires_in!r}")
    if delegated_by is not None and not isinstance(delegated_by, Principal):
        raise ValueError(f"delegated_by must be a fake principal, got {delegated_by!r}")
    if (
        isinstance(audience, str)
        or not isinstance(audience, Collection)
        or any(not isinstance(text, str) for text in audience)
    ):
        raise ValueError(f"audience must be a list of texts, got {audience!r}")


def _check_scope(scope: Sequence[str], delegated_by: Principal | None) -> None:
    from agentwrit_guard.core.scopes import Scope

    if isinstance(scope, str) or not isinstance(scope, Collection):
        raise ValueError(f"scope must be a list of scopes, got {scope!r}")
    for text in scope:
        if not isinstance(text, str) or Scope.parse(text) is None:
            raise ValueError(f"{text!r} is not action:resource:identifier")
        if delegated_by is not None and not delegated_by.grant.covers(text):
            raise ValueError(f"{text!r} is not held by the delegator")


def _record(delegator: Principal, at: int) -> DelegationRecord:
    """What a broker notes of the delegator; nobody has signed it."""
    from agentwrit_guard.core.claims import DelegationRecord

    delegated_at = datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return DelegationRecord(delegator.agent_id, delegator.scopes, delegated_at, secrets.token_hex(64))


def _hash(chain: tuple[DelegationRecord, ...]) -> str:
    text = json.dumps([asdict(record) for record in chain], ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
