"""Tokens passed on to other agents, with part of the scope (contract section 6)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic

from agentwrit_guard.client import checks, flows
from agentwrit_guard.client.callers import AsyncCaller, C, Caller
from agentwrit_guard.client.values import Delegated
from agentwrit_guard.core.claims import DelegationRecord
from agentwrit_guard.core.redacted import Redacted
from agentwrit_guard.core.wire import Flow
from agentwrit_guard.errors import AgentWritError


@dataclass(frozen=True)
class _Delegation(Generic[C]):
    access_token: str = field(repr=False)
    expires_in: int
    delegation_chain: list[DelegationRecord] = field(hash=False)
    _caller: C | None = field(default=None, repr=False, compare=False)

    @property
    def bearer_header(self) -> dict[str, str]:
        return header(self.access_token)

    def _bound(self) -> C:
        if self._caller is None:
            raise AgentWritError("this token was not delegated through an app, so it has no broker to ask")
        return self._caller


class DelegatedToken(_Delegation[Caller]):
    """A token for another agent, with part of the delegator's scope, good for `expires_in` seconds from its issue.

    `delegation_chain` has the root first and the delegator last. The token lives on when the delegator's is
    released, renewed or revoked by agent; revoke the chain to end it (contract 7).
    """

    def delegate(
        self, delegate_to: str, scope: list[str] | tuple[str, ...], *, ttl: int | None = None
    ) -> DelegatedToken:
        """The next hop, made with this token as its delegate would. The fifth hop is the last."""
        caller = self._bound()
        return DelegatedToken(*caller.run(delegation(self.access_token, delegate_to, scope, ttl)), caller)


class AsyncDelegatedToken(_Delegation[AsyncCaller]):
    """As DelegatedToken."""

    async def delegate(
        self, delegate_to: str, scope: list[str] | tuple[str, ...], *, ttl: int | None = None
    ) -> AsyncDelegatedToken:
        caller = self._bound()
        return AsyncDelegatedToken(*await caller.run(delegation(self.access_token, delegate_to, scope, ttl)), caller)


def delegation(token: str, delegate_to: str, scope: list[str] | tuple[str, ...], ttl: int | None) -> Flow[Delegated]:
    return flows.delegate(
        token,
        checks.text("delegate_to", delegate_to),
        checks.scope_list("scope", scope),
        None if ttl is None else checks.seconds("ttl", ttl),
    )


def header(token: str) -> dict[str, str]:
    return {"Authorization": Redacted(f"Bearer {token}")}
