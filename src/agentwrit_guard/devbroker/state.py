"""What the broker remembers, in memory: apps, launch tokens, nonces, agents, revocations.

Secrets and launch tokens are kept as digests only, so no repr, log or dump of the state can show one.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agentwrit_guard.devbroker import times
from agentwrit_guard.devbroker.audit import AuditLog
from agentwrit_guard.devbroker.limits import Buckets
from agentwrit_guard.devbroker.metrics import Metrics
from agentwrit_guard.devbroker.tokens import Claims, InvalidToken, Signer

LEVELS = ("token", "agent", "task", "chain")


@dataclass(frozen=True)
class Settings:
    """The broker's settings that show on the wire (contract section 1); lifetimes in seconds."""

    audience: str = ""
    issuer: str = ""
    trust_domain: str = "agentwrit.local"
    max_ttl: int = 86400
    admin_token_ttl: int = 300
    app_token_ttl: int = 1800
    rate_limits: bool = True


@dataclass
class App:
    """An app record. Times are RFC 3339 texts, as the wire shows them."""

    app_id: str
    name: str
    client_id: str
    secret_digest: bytes = field(repr=False)
    scopes: list[str]
    token_ttl: int
    created_at: str
    updated_at: str
    status: str = "active"
    deregistered_at: str = ""


@dataclass
class LaunchToken:
    """What a launch token allows; `expires_at` in unix seconds, `max_ttl` is the lifetime of the agent's token."""

    # Unchecked text of a caller, who may have put a secret there.
    allowed_scope: list[str] = field(repr=False)
    max_ttl: int
    single_use: bool
    expires_at: float
    consumed: bool = False


@dataclass
class Nonce:
    """A challenge; `expires_at` in unix seconds."""

    expires_at: float
    consumed: bool = False


class Broker:
    """All state of one broker. Hold `lock` around anything that reads and then writes."""

    def __init__(self, settings: Settings, admin_secret: str, clock: Callable[[], float]) -> None:
        self.settings = settings
        self.lock: threading.RLock = threading.RLock()
        self.clock = clock
        self.signer: Signer = Signer()
        self.audit: AuditLog = AuditLog()
        self.apps: dict[str, App] = {}
        self.revoked: set[tuple[str, str]] = set()
        self._admin_digest = digest(admin_secret)
        self.restart()

    def restart(self) -> None:
        """Lose what the real broker keeps in memory only; key, apps, revocations and audit log stay (section 9).

        Measured for the agents alone; nonces, launch tokens, rate limits and counters are taken to be lost as well.
        """
        with self.lock:
            self.metrics: Metrics = Metrics()
            self.admin_buckets: Buckets = Buckets(rate=5, burst=10)
            self.app_buckets: Buckets = Buckets(rate=10 / 60, burst=3)
            self.agents: set[str] = set()
            self.nonces: dict[str, Nonce] = {}
            self.launch_tokens: dict[bytes, LaunchToken] = {}
            self.started_at: float = self.clock()
            self.events_loaded: int = len(self.audit)

    def is_admin_secret(self, secret: str) -> bool:
        """Constant in time. A secret of more than 72 bytes never matches: the broker hashes with bcrypt."""
        same = hmac.compare_digest(self._admin_digest, digest(secret))
        return same and len(secret.encode()) <= 72

    def is_client(self, client_id: str) -> bool:
        """Whether some app, active or not, has this client id."""
        return any(app.client_id == client_id for app in self.apps.values())

    def app_of_client(self, client_id: str, secret: str) -> App | None:
        """The active app of these credentials, found in the same time for every kind of refusal."""
        app = next((app for app in self.apps.values() if app.client_id == client_id), None)
        expected = app.secret_digest if app else digest("")
        same = hmac.compare_digest(expected, digest(secret))
        return app if app is not None and same and app.status == "active" else None

    def issue(
        self,
        sub: str,
        scope: Iterable[str] | None,
        ttl: int,
        *,
        task_id: str = "",
        orch_id: str = "",
        parent: Claims | None = None,
    ) -> tuple[str, Claims]:
        """A new token and its claims, `ttl` cut to the broker's maximum.

        With a `parent` it is a delegated one: the parent's task, orchestrator and audience, the chain longer by it.
        """
        now = self.clock()
        iat = math.floor(now)
        audience = (self.settings.audience,) if self.settings.audience else ()
        claims = Claims(
            iss=self.settings.issuer,
            sub=sub,
            aud=parent.aud if parent else audience,
            exp=iat + min(ttl, self.settings.max_ttl),
            nbf=iat,
            iat=iat,
            jti=secrets.token_hex(16),
            scope=None if scope is None else tuple(scope),
            task_id=parent.task_id if parent else task_id,
            orch_id=parent.orch_id if parent else orch_id,
            delegation_chain=parent.delegation_chain if parent else (),
        )
        if parent is not None:
            # The record holds what the delegator held, not what it gave.
            claims = claims.with_record(self.signer.record(parent.sub, parent.scope, now))
        return self.signer.sign(claims), claims

    def verified(self, token: str) -> Claims:
        """The claims of a token that is valid to validate: signed, in time, not revoked. InvalidToken otherwise."""
        claims = self.signer.verify(token, issuer=self.settings.issuer, now=self.clock())
        marks = {("token", claims.jti), ("agent", claims.sub), ("task", claims.task_id)}
        if claims.delegation_chain:
            # Only the root counts: revoking a middle member's chain reaches nothing.
            marks.add(("chain", claims.delegation_chain[0].agent))
        if not self.revoked.isdisjoint(marks):
            raise InvalidToken
        return claims

    def revoke(self, level: str, target: str) -> None:
        """Revoke for good, tokens issued later included; `level` is one of LEVELS."""
        self.revoked.add((level, target))
        self.metrics.count("agentwrit_tokens_revoked_total", "level", level)

    def load(self, given: Mapping[str, Any]) -> None:
        """Add recorded state in the form of the wire vectors' `given`: apps, launch_tokens, nonces, agents, revoked."""
        with self.lock:
            for app in given.get("apps", ()):
                secret = app.get("client_secret") or secrets.token_hex(32)
                kept = ("app_id", "name", "client_id", "token_ttl", "created_at", "updated_at", "status")
                self.apps[app["app_id"]] = App(
                    secret_digest=digest(secret),
                    scopes=list(app["scopes"]),
                    deregistered_at=app["updated_at"] if app["status"] == "inactive" else "",
                    **{name: app[name] for name in kept},
                )
            for launch in given.get("launch_tokens", ()):
                policy = {name: value for name, value in launch.items() if name != "launch_token"}
                self.launch_tokens[digest(launch["launch_token"])] = LaunchToken(**policy)
            for nonce in given.get("nonces", ()):
                self.nonces[nonce["nonce"]] = Nonce(nonce["expires_at"], nonce["consumed"])
            self.agents.update(given.get("agents", ()))
            self.revoked.update((entry["level"], entry["target"]) for entry in given.get("revoked", ()))

    def stamp(self) -> str:
        """Now, as app records show it."""
        return times.seconds(self.clock())


def digest(secret: str) -> bytes:
    """What is kept of a secret, and what it is looked up and compared by."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
