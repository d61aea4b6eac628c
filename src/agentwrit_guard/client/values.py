"""What goes into a flow and what comes out of one. No repr shows a token or a secret."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agentwrit_guard.client import checks
from agentwrit_guard.core.claims import AgentClaims, DelegationRecord
from agentwrit_guard.keys import AgentKey


@dataclass(frozen=True)
class HealthStatus:
    """What the broker says of itself; `uptime` is in seconds. It does not prove that validation works."""

    status: str
    version: str
    uptime: int
    db_connected: bool
    audit_events_count: int


@dataclass(frozen=True)
class ValidateResult:
    """The broker's word on a token, and no more: it checks neither audience nor kind of principal (contract 4).

    `claims` are there when `valid`, `error` when not. App and admin tokens are valid too, with `task_id` and
    `orch_id` None. To let requests in, use a `Guard`.
    """

    valid: bool
    claims: AgentClaims | None = None
    error: str | None = None


class AppCredentials(NamedTuple):
    """A new app's credentials. The broker shows the secret this once."""

    client_id: str
    client_secret: str

    def __repr__(self) -> str:
        return f"AppCredentials(client_id={self.client_id!r})"


@dataclass(frozen=True)
class Login:
    """A token of an app or an operator, good for `expires_in` seconds."""

    access_token: str = field(repr=False)
    expires_in: int


@dataclass(frozen=True)
class Order:
    """An agent to be created: checked arguments, and the key that will sign."""

    orch_id: str
    task_id: str
    scope: list[str]
    key: AgentKey = field(repr=False)
    max_ttl: int
    name: str

    @classmethod
    def checked(
        cls,
        orch_id: str,
        task_id: str,
        requested_scope: list[str] | tuple[str, ...],
        private_key: Ed25519PrivateKey | None,
        max_ttl: int,
        label: str | None,
    ) -> Order:
        """ConfigurationError, or CryptoError for the key, before anything is sent."""
        return cls(
            checks.path_id("orch_id", orch_id),
            checks.path_id("task_id", task_id),
            checks.scope_list("requested_scope", requested_scope),
            AgentKey.generate() if private_key is None else AgentKey(private_key),
            checks.seconds("max_ttl", max_ttl),
            f"{orch_id}/{task_id}" if label is None else checks.text("label", label),
        )


class Issued(NamedTuple):
    """An agent's token as the broker handed it out."""

    access_token: str
    expires_in: int
    claims: AgentClaims

    def __repr__(self) -> str:
        return f"Issued(sub={self.claims.sub!r}, expires_in={self.expires_in})"


class Minted(NamedTuple):
    """A new agent, in the order of `Agent`'s arguments. `scope` is what the token says."""

    agent_id: str
    access_token: str
    expires_in: int
    scope: list[str]
    task_id: str
    orch_id: str

    def __repr__(self) -> str:
        return f"Minted(agent_id={self.agent_id!r}, expires_in={self.expires_in})"


class Delegated(NamedTuple):
    """A delegated token, in the order of `DelegatedToken`'s arguments."""

    access_token: str
    expires_in: int
    delegation_chain: list[DelegationRecord]

    def __repr__(self) -> str:
        return f"Delegated(expires_in={self.expires_in}, delegation_chain={self.delegation_chain!r})"
