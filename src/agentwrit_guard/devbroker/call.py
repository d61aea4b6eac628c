"""One request as the endpoints see it, and the bearer check of the broker's own endpoints (contract section 3)."""

from __future__ import annotations

from dataclasses import dataclass, field

from starlette.requests import Request

from agentwrit_guard.devbroker import jsonbody, scopes
from agentwrit_guard.devbroker.problems import Problem
from agentwrit_guard.devbroker.state import Broker
from agentwrit_guard.devbroker.tokens import Claims, InvalidToken

ADMIN_LAUNCH = "admin:launch-tokens:*"
ADMIN_REVOKE = "admin:revoke:*"
ADMIN_AUDIT = "admin:audit:*"
APP_LAUNCH = "app:launch-tokens:*"


@dataclass(frozen=True)
class Call:
    """A request whose body has been read. Endpoints are plain functions of it, run under the broker's lock."""

    broker: Broker
    request: Request = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def now(self) -> float:
        """Unix seconds on the broker's clock."""
        return self.broker.clock()

    def fields(self, *, trailing: bool = True) -> jsonbody.Fields:
        """The members of the body; the media type is never looked at."""
        return jsonbody.fields(self.body, trailing=trailing)

    def bearer(self, required: str | None = None) -> Claims:
        """The claims of the caller's token, with a scope that covers `required` if that is given."""
        header = self.request.headers.get("authorization", "")
        if not header:
            raise Problem(401, "missing authorization header")
        # The name alone, its space trimmed by the server, is no scheme either (not measured).
        if not header.startswith("Bearer "):
            raise Problem(401, "invalid authorization scheme")
        try:
            claims = self.broker.verified(header.removeprefix("Bearer "))
        except InvalidToken:
            self._denied("token verification failed")
            # Revoked ones too: the docs' 403 never comes.
            raise Problem(401, "token verification failed") from None
        audience = self.broker.settings.audience
        if audience and audience not in claims.aud:
            self._denied("token audience mismatch")
            raise Problem(401, "token audience mismatch")
        if required is not None and not scopes.covers_all(claims.scope or (), [required]):
            self.broker.audit.append(
                self.now,
                "scope_violation",
                f"token lacks required scope: {required}",
                outcome="denied",
                agent_id=claims.sub,
                task_id=claims.task_id,
                orch_id=claims.orch_id,
            )
            raise Problem(403, f"token lacks required scope: {required}", "insufficient_scope")
        return claims

    def _denied(self, why: str) -> None:
        self.broker.audit.append(self.now, "token_auth_failed", why, outcome="denied")
