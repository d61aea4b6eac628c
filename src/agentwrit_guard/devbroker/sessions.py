"""Credentials for tokens: admin auth, app auth, and the launch tokens that admins and apps hand out (section 5)."""

from __future__ import annotations

import secrets

from starlette.responses import Response

from agentwrit_guard.devbroker import scopes, times
from agentwrit_guard.devbroker.call import ADMIN_AUDIT, ADMIN_LAUNCH, ADMIN_REVOKE, APP_LAUNCH, Call
from agentwrit_guard.devbroker.problems import Problem, rate_limited, reply
from agentwrit_guard.devbroker.state import LaunchToken, digest

# The same three for every app: what it may ask of the broker, not its ceiling.
_APP_SCOPES = [APP_LAUNCH, "app:agents:*", "app:audit:read"]
_ADMIN_SCOPES = [ADMIN_LAUNCH, ADMIN_REVOKE, ADMIN_AUDIT]
_AGENT_TTL = 300
_LAUNCH_TTL = 30


def admin_auth(call: Call) -> Response:
    """POST /v1/admin/auth: limited by address before the body is judged."""
    if call.broker.settings.rate_limits and not call.broker.admin_buckets.take(_address(call), call.now):
        raise rate_limited(1)
    fields = call.fields(trailing=False)
    secret, client, old_secret = map(fields.text, ("secret", "client_id", "client_secret"))
    if not secret and (client or old_secret):
        detail = 'Admin auth format changed. Use {"secret": "..."} instead of client_id/client_secret'
        raise Problem(400, detail)
    if not secret:
        raise Problem(400, "secret is required")
    if not call.broker.is_admin_secret(secret):
        _count(call, "failure")
        call.broker.audit.append(call.now, "admin_auth_failed", "failed admin authentication attempt", outcome="denied")
        raise Problem(401, "invalid credentials")
    token, claims = call.broker.issue("admin", _ADMIN_SCOPES, call.broker.settings.admin_token_ttl)
    _count(call, "success")
    call.broker.metrics.count("agentwrit_tokens_issued_total", "kind", "admin")
    call.broker.audit.append(call.now, "admin_auth", "admin authenticated as admin")
    return reply({"access_token": token, "expires_in": claims.exp - claims.iat, "token_type": "Bearer"})


def app_auth(call: Call) -> Response:
    """POST /v1/app/auth: limited by client id before the secret is checked, so wrong secrets lock the app out."""
    fields = call.fields()
    client, secret = fields.text("client_id"), fields.text("client_secret")
    if not client or not secret:
        # Whether such a request uses up the bucket was not measured; without a client id there is none.
        raise Problem(400, "client_id and client_secret are required")
    if call.broker.settings.rate_limits and not call.broker.app_buckets.take(client, call.now):
        raise rate_limited(60)
    app = call.broker.app_of_client(client, secret)
    if app is None:
        # A client id that is unknown may be a secret in the wrong field: it is not written down.
        detail = f"client_id={client}" if call.broker.is_client(client) else "unknown client_id"
        call.broker.audit.append(call.now, "app_auth_failed", detail, outcome="denied")
        raise Problem(401, "Authentication failed")
    token, claims = call.broker.issue(f"app:{app.app_id}", _APP_SCOPES, app.token_ttl)
    call.broker.metrics.count("agentwrit_tokens_issued_total", "kind", "app")
    call.broker.audit.append(call.now, "app_authenticated", f"app={app.name} client_id={client}")
    return reply(
        {
            "access_token": token,
            "expires_in": claims.exp - claims.iat,
            "token_type": "Bearer",
            "scopes": _APP_SCOPES,
        }
    )


def app_launch(call: Call) -> Response:
    """POST /v1/app/launch-tokens: within the app's ceiling, also for an app that has been de-registered."""
    claims = call.bearer(APP_LAUNCH)
    name, policy, ttl = _launch_fields(call)
    app = call.broker.apps.get(claims.sub.removeprefix("app:")) if claims.sub.startswith("app:") else None
    if app is None:
        # What the broker says to an agent that holds this scope was not measured.
        raise Problem(403, "only a registered app may create launch tokens here")
    if not scopes.covers_all(app.scopes, policy.allowed_scope):
        asked = f"agent={name} requested={scopes.bracketed(policy.allowed_scope)}"
        call.broker.audit.append(call.now, "scope_ceiling_exceeded", asked, outcome="denied", agent_id=claims.sub)
        ceiling = scopes.bracketed(app.scopes)
        raise Problem(403, f"requested scopes exceed app ceiling; allowed: {ceiling}")
    return _launch(call, name, policy, ttl)


def admin_launch(call: Call) -> Response:
    """POST /v1/admin/launch-tokens: no ceiling, and no look at the form of the scopes."""
    call.bearer(ADMIN_LAUNCH)
    return _launch(call, *_launch_fields(call))


def _launch_fields(call: Call) -> tuple[str, LaunchToken, int]:
    fields = call.fields()
    name, allowed = fields.text("agent_name"), fields.texts("allowed_scope")
    max_ttl, ttl, single_use = fields.integer("max_ttl"), fields.integer("ttl"), fields.boolean("single_use")
    if not name:
        raise Problem(400, "agent_name is required")
    if not allowed:
        raise Problem(400, "allowed_scope must not be empty")
    policy = LaunchToken(
        allowed_scope=allowed,
        # Not capped here: a token's lifetime is cut when it is issued.
        max_ttl=max_ttl if max_ttl and max_ttl > 0 else _AGENT_TTL,
        single_use=single_use is not False,
        expires_at=0,
    )
    return name, policy, ttl if ttl and ttl > 0 else _LAUNCH_TTL


def _launch(call: Call, name: str, policy: LaunchToken, ttl: int) -> Response:
    token = secrets.token_hex(32)
    # Whether the broker caps a launch token's own lifetime was not measured.
    policy.expires_at = min(call.now + ttl, times.LAST)
    call.broker.launch_tokens[digest(token)] = policy
    call.broker.metrics.count("agentwrit_launch_tokens_created_total")
    detail = f"agent={name} scopes={scopes.bracketed(policy.allowed_scope)} max_ttl={policy.max_ttl}"
    call.broker.audit.append(call.now, "launch_token_issued", detail)
    return reply(
        {
            "launch_token": token,
            "expires_at": times.seconds(policy.expires_at),
            "policy": {"allowed_scope": policy.allowed_scope, "max_ttl": policy.max_ttl},
        },
        201,
    )


def _address(call: Call) -> str:
    forwarded = call.request.headers.get("x-forwarded-for", "").split(",")[0].strip()
    return forwarded or (call.request.client.host if call.request.client else "")


def _count(call: Call, status: str) -> None:
    call.broker.metrics.count("agentwrit_admin_auth_total", "status", status)
