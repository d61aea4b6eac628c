"""Agents: challenge, registration, delegation (contract sections 5 and 6)."""

from __future__ import annotations

import base64
import re
import secrets

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from starlette.responses import Response

from agentwrit_guard.devbroker import scopes
from agentwrit_guard.devbroker.call import Call
from agentwrit_guard.devbroker.problems import Problem, reply
from agentwrit_guard.devbroker.state import LaunchToken, Nonce, digest

_NONCE_TTL = 30
_DELEGATED_TTL = 60
_MAX_DEPTH = 5
_ID = re.compile(r"[A-Za-z0-9._-]+")
_STANDARD_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")


def challenge(call: Call) -> Response:
    """GET /v1/challenge: a nonce that is good for one registration."""
    nonce = secrets.token_hex(32)
    call.broker.nonces[nonce] = Nonce(call.now + _NONCE_TTL)
    return reply({"nonce": nonce, "expires_in": _NONCE_TTL})


def register(call: Call) -> Response:
    """POST /v1/register. The order of the steps is the broker's: it decides what a refusal has used up."""
    fields = call.fields()
    names = ("launch_token", "nonce", "public_key", "signature", "orch_id", "task_id")
    values = [fields.text(name) for name in names]
    requested = fields.texts("requested_scope")
    if not all(values):
        raise Problem(400, "missing required field")
    if not requested:
        raise Problem(400, "missing required field: requested_scope")
    launch_token, nonce, public_key, signature, orch_id, task_id = values

    launch = _launch_token(call, launch_token)
    if not scopes.covers_all(launch.allowed_scope, requested):
        _violation(call, task_id, orch_id, requested)
    _use_nonce(call, nonce)
    _check_signature(public_key, signature, nonce)
    launch.consumed = launch.single_use
    if not all(_ID.fullmatch(part) and part not in (".", "..") for part in (orch_id, task_id)):
        # Too late for the caller: launch token and nonce are gone by now.
        call.broker.metrics.count("agentwrit_registrations_total", "status", "failure")
        raise Problem(500, "registration failed")

    domain = call.broker.settings.trust_domain
    agent_id = f"spiffe://{domain}/agent/{orch_id}/{task_id}/{secrets.token_hex(8)}"
    token, claims = call.broker.issue(agent_id, requested, launch.max_ttl, task_id=task_id, orch_id=orch_id)
    call.broker.agents.add(agent_id)
    call.broker.metrics.count("agentwrit_registrations_total", "status", "success")
    call.broker.metrics.count("agentwrit_tokens_issued_total", "kind", "agent")
    detail = f"agent registered scope={scopes.bracketed(requested)}"
    for event in ("agent_registered", "token_issued"):
        call.broker.audit.append(call.now, event, detail, agent_id=agent_id, task_id=task_id, orch_id=orch_id)
    return reply({"agent_id": agent_id, "access_token": token, "expires_in": claims.exp - claims.iat})


def delegate(call: Call) -> Response:
    """POST /v1/delegate: any valid token may, apps and admins too, to anyone in the registry, itself too.

    In which order scope, depth and delegate are checked was not measured.
    """
    bearer = call.bearer()
    fields = call.fields()
    to, wanted, ttl = fields.text("delegate_to"), fields.texts("scope"), fields.integer("ttl")
    if not to or not wanted:
        # The docs promise a 400.
        raise Problem(500, "delegation failed")
    if not scopes.covers_all(bearer.scope or (), wanted):
        call.broker.audit.append(
            call.now,
            "delegation_attenuation_violation",
            f"delegation from {bearer.sub} to {to} scope={scopes.bracketed(wanted)}",
            outcome="denied",
            agent_id=bearer.sub,
            task_id=bearer.task_id,
            orch_id=bearer.orch_id,
        )
        raise Problem(403, "delegated scope exceeds delegator scope", "scope_violation")
    if len(bearer.delegation_chain) >= _MAX_DEPTH:
        raise Problem(403, "delegation depth limit exceeded", "scope_violation")
    if to not in call.broker.agents:
        raise Problem(404, "delegate agent not found")
    # Not bounded by the bearer's own exp: a token of a minute may hand out one of a day.
    token, claims = call.broker.issue(to, wanted, ttl if ttl and ttl > 0 else _DELEGATED_TTL, parent=bearer)
    depth = len(claims.delegation_chain)
    call.broker.metrics.count("agentwrit_tokens_issued_total", "kind", "delegated")
    call.broker.audit.append(
        call.now,
        "delegation_created",
        f"delegation from {bearer.sub} to {to} scope={scopes.bracketed(wanted)} depth={depth}",
        agent_id=to,
        task_id=claims.task_id,
        orch_id=claims.orch_id,
        deleg_depth=depth,
        deleg_chain_hash=claims.chain_hash,
    )
    chain = [record.wire() for record in claims.delegation_chain]
    return reply({"access_token": token, "expires_in": claims.exp - claims.iat, "delegation_chain": chain})


def _launch_token(call: Call, token: str) -> LaunchToken:
    launch = call.broker.launch_tokens.get(digest(token))
    why = ""
    if launch is None:
        why = "not found"
    elif launch.consumed:
        why = "already consumed"
    elif call.now > launch.expires_at:
        why = "expired"
    if launch is None or why:
        detail = f"launch token {why}"
        call.broker.audit.append(call.now, "launch_token_denied", detail, outcome="denied")
        # The broker says it twice.
        raise Problem(401, f"launch token: {detail}")
    return launch


def _violation(call: Call, task_id: str, orch_id: str, requested: list[str]) -> None:
    call.broker.audit.append(
        call.now,
        "registration_policy_violation",
        f"requested scope exceeds allowed scope: {scopes.bracketed(requested)}",
        outcome="denied",
        task_id=task_id,
        orch_id=orch_id,
    )
    raise Problem(403, "requested scope exceeds allowed scope", "scope_violation")


def _use_nonce(call: Call, nonce: str) -> None:
    kept = call.broker.nonces.get(nonce)
    if kept is None or call.now > kept.expires_at:
        raise Problem(401, "nonce: nonce not found or expired")
    if kept.consumed:
        raise Problem(401, "nonce: nonce already consumed")
    kept.consumed = True


def _check_signature(public_key: str, signature: str, nonce: str) -> None:
    key = _unb64(public_key)
    if key is None:
        raise Problem(401, "invalid Ed25519 public key: base64 decode failed")
    if len(key) != 32:
        raise Problem(401, "invalid Ed25519 public key: wrong key size")
    signed = _unb64(signature)
    if signed is None:
        raise Problem(401, "nonce signature verification failed: base64 decode failed")
    try:
        # Over the 32 bytes that the nonce spells in hex, not over its text.
        Ed25519PublicKey.from_public_bytes(key).verify(signed, bytes.fromhex(nonce))
    except (InvalidSignature, ValueError):
        raise Problem(401, "nonce signature verification failed") from None


def _unb64(text: str) -> bytes | None:
    packed = text.replace("\r", "").replace("\n", "")
    if _STANDARD_BASE64.fullmatch(packed) is None or len(packed) % 4:
        return None
    return base64.b64decode(packed)
