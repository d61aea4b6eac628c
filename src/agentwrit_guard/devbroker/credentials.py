"""Credentials of apps and agents. Agents' are made without HTTP: the broker's own ceremony, step by step, in process.

The endpoints are called as they are, so rules, registry, metrics and audit log are those of the wire.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from starlette.requests import Request
from starlette.responses import Response

from agentwrit_guard.devbroker import agents, jsonbody, sessions
from agentwrit_guard.devbroker.call import ADMIN_LAUNCH, Call
from agentwrit_guard.devbroker.problems import Problem
from agentwrit_guard.devbroker.state import Broker

_ADMIN_SECONDS = 60


@dataclass(frozen=True)
class AppCredentials:
    """What an operator gives to a developer. `repr` does not show the secret."""

    client_id: str
    client_secret: str = field(repr=False)
    app_id: str


@dataclass(frozen=True)
class AgentCredentials:
    """An agent as its program knows it. `repr` does not show the token."""

    agent_id: str
    access_token: str = field(repr=False)


def register(broker: Broker, *, scope: Sequence[str], orch_id: str, task_id: str, ttl: int) -> AgentCredentials:
    """A new agent, with the three calls that an operator and the agent make. Problem where the broker would refuse."""
    admin, _ = broker.issue("admin", (ADMIN_LAUNCH,), _ADMIN_SECONDS)
    policy = {"agent_name": f"{orch_id}-{task_id}", "allowed_scope": list(scope), "max_ttl": ttl}
    launch = _said(broker, sessions.admin_launch, policy, bearer=admin)
    nonce = _said(broker, agents.challenge)["nonce"]
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    registered = _said(
        broker,
        agents.register,
        {
            "launch_token": launch["launch_token"],
            "nonce": nonce,
            "public_key": base64.b64encode(public).decode(),
            "signature": base64.b64encode(key.sign(bytes.fromhex(nonce))).decode(),
            "orch_id": orch_id,
            "task_id": task_id,
            "requested_scope": list(scope),
        },
    )
    return AgentCredentials(registered["agent_id"], registered["access_token"])


def delegate(broker: Broker, delegator: str, *, to: str, scope: Sequence[str], ttl: int) -> AgentCredentials:
    """The token that the bearer of `delegator` gives to an agent. Problem where the broker would refuse."""
    wanted = {"delegate_to": to, "scope": list(scope), "ttl": ttl}
    given = _said(broker, agents.delegate, wanted, bearer=delegator)
    return AgentCredentials(to, given["access_token"])


def _said(
    broker: Broker,
    endpoint: Callable[[Call], Response],
    body: Mapping[str, object] | None = None,
    *,
    bearer: str | None = None,
) -> dict[str, Any]:
    headers = [] if bearer is None else [(b"authorization", f"Bearer {bearer}".encode())]
    request = Request({"type": "http", "method": "POST", "headers": headers})
    try:
        response = endpoint(Call(broker, request, json.dumps(body or {}).encode()))
    except jsonbody.Malformed:
        raise Problem(400, "malformed JSON body") from None
    said: dict[str, Any] = json.loads(bytes(response.body))
    return said
