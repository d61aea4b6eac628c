"""The life of an issued token: validate, renew, release (contract section 5)."""

from __future__ import annotations

import math
import secrets
from dataclasses import replace

from starlette.responses import Response

from agentwrit_guard.devbroker.call import Call
from agentwrit_guard.devbroker.problems import Problem, reply
from agentwrit_guard.devbroker.tokens import Claims, InvalidToken


def validate(call: Call) -> Response:
    """POST /v1/token/validate: no authentication, no limit, no audit event, and no look at the audience."""
    token = call.fields().text("token")
    if not token:
        raise Problem(400, "token field is required")
    try:
        claims = call.broker.verified(token)
    except InvalidToken:
        return reply({"valid": False, "error": "token is invalid or expired"})
    return reply({"valid": True, "claims": claims.wire()})


def renew(call: Call) -> Response:
    """POST /v1/token/renew: one winner a token, app and admin tokens too; the body is ignored."""
    old = call.bearer()
    iat = math.floor(call.now)
    lifetime = old.exp - old.iat
    # The lifetime is kept as it was; whether the broker cuts it to a lowered maximum was not measured.
    new = replace(old, exp=iat + lifetime, nbf=iat, iat=iat, jti=secrets.token_hex(16))
    call.broker.revoke("token", old.jti)
    call.broker.metrics.count("agentwrit_tokens_issued_total", "kind", "renewed")
    _record(call, "token_renewed", new)
    return reply({"access_token": call.broker.signer.sign(new), "expires_in": lifetime})


def release(call: Call) -> Response:
    """POST /v1/token/release: a second one is 401, not the 403 of the docs.

    Apps and admins may as well; for apps that was not measured.
    """
    claims = call.bearer()
    call.broker.revoke("token", claims.jti)
    _record(call, "token_released", claims)
    return Response(status_code=204)


def _record(call: Call, event: str, claims: Claims) -> None:
    call.broker.audit.append(
        call.now,
        event,
        f"jti={claims.jti}",
        agent_id=claims.sub,
        task_id=claims.task_id,
        orch_id=claims.orch_id,
    )
