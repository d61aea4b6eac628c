"""Tokens as they are issued: header, claims, order, omission (contract section 4)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from agentwrit_guard.devbroker import DevBroker
from agentwrit_guard.devbroker.tokens import thumbprint
from tests.broker.kit import SCOPE, Client
from tests.broker.wire import dumps, payload_of, unb64url
from tests.kit.clock import Time

_RECORDED = Path(__file__).parent.parent / "vectors" / "data" / "wire.json"
_COMMON = ["iss", "sub", "exp", "nbf", "iat", "jti", "scope"]
_APP = ["app:launch-tokens:*", "app:agents:*", "app:audit:read"]
_ADMIN = ["admin:launch-tokens:*", "admin:revoke:*", "admin:audit:*"]


def issued(client: Client) -> dict[str, str]:
    """One token of every kind."""
    app = client.broker.app(scopes=SCOPE, name="plain-app")
    login = client.post("/v1/app/auth", {"client_id": app.client_id, "client_secret": app.client_secret})
    agent = client.agent()
    return {
        "agent": agent.token,
        "app": login.json()["access_token"],
        "admin": client.admin,
        "delegated": client.delegated(agent.token, agent.agent_id),
        "delegated by an app": client.delegated(login.json()["access_token"], agent.agent_id, _APP),
        "renewed": client.post("/v1/token/renew", None, client.agent().token).json()["access_token"],
    }


def members(kind: str, *, audience: bool) -> list[str]:
    names = ["iss", "sub", "aud", *_COMMON[2:]] if audience else _COMMON[:]
    if kind in ("agent", "delegated", "renewed"):
        names += ["task_id", "orch_id"]
    if kind.startswith("delegated"):
        names += ["delegation_chain", "chain_hash"]
    return names


@pytest.mark.parametrize("settings", [{}, {"audience": "https://api.example", "issuer": "https://broker.example"}])
def test_header_and_claims(clock: Time, settings: dict[str, Any]) -> None:
    with DevBroker(clock=clock, **settings) as broker, Client(broker) as client:
        for kind, token in issued(client).items():
            header, payload, signature = token.split(".")
            assert unb64url(header).decode() == f'{{"alg":"EdDSA","typ":"JWT","kid":"{broker.kid}"}}'
            broker.public_key.verify(unb64url(signature), f"{header}.{payload}".encode())
            assert re.fullmatch("[A-Za-z0-9_-]{85}[AQgw]", signature)
            claims = payload_of(token)
            assert unb64url(payload).decode() == dumps(claims)
            assert list(claims) == members(kind, audience="audience" in settings)
            assert claims["iss"] == settings.get("issuer", "")
            assert claims.get("aud") == ([settings["audience"]] if settings else None)
            assert (claims["nbf"], claims["iat"]) == (1_800_000_000, 1_800_000_000)
            assert re.fullmatch("[0-9a-f]{32}", claims["jti"])
            assert client.post("/v1/token/validate", {"token": token}).json() == {"valid": True, "claims": claims}


def test_principals(client: Client) -> None:
    claims = {kind: payload_of(token) for kind, token in issued(client).items()}
    assert re.fullmatch("spiffe://agentwrit.local/agent/orch/task/[0-9a-f]{16}", claims["agent"]["sub"])
    assert re.fullmatch("app:app-plain-app-[0-9a-f]{6}", claims["app"]["sub"])
    assert claims["admin"]["sub"] == "admin"
    assert (claims["app"]["scope"], claims["admin"]["scope"]) == (_APP, _ADMIN)
    assert [one["exp"] - one["iat"] for one in claims.values()] == [300, 1800, 300, 60, 60, 300]
    assert len({one["jti"] for one in claims.values()}) == len(claims)


def test_login_replies(client: Client) -> None:
    app = client.broker.app(scopes=SCOPE)
    login = {"client_id": app.client_id, "client_secret": app.client_secret}
    common = ["access_token", "expires_in", "token_type"]
    of_app = client.post("/v1/app/auth", login).json()
    assert (list(of_app), of_app["token_type"], of_app["scopes"]) == ([*common, "scopes"], "Bearer", _APP)
    of_admin = client.post("/v1/admin/auth", {"secret": client.broker.admin_secret}).json()
    assert (list(of_admin), of_admin["token_type"]) == (common, "Bearer")


def test_kid_is_the_thumbprint_of_the_key(broker: DevBroker) -> None:
    meta = json.loads(_RECORDED.read_text(encoding="utf-8"))["meta"]
    assert thumbprint(Ed25519PublicKey.from_public_bytes(unb64url(meta["public_key_b64url"]))) == meta["kid"]
    assert broker.kid == thumbprint(broker.public_key)
    assert broker.kid != DevBroker().kid
