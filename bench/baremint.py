"""An agent got by bare requests: what creating one takes at the least, with an HTTP client and a key (contract 5)."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ORCHESTRATION: Final = "bench"
_MAX_TTL: Final = 300


class Credentials(Protocol):
    """Of an app."""

    @property
    def client_id(self) -> str: ...
    @property
    def client_secret(self) -> str: ...


@dataclass(frozen=True)
class Desk:
    """A broker, as one that has logged in there asks it. A refusal is a KeyError: there is no member to be read."""

    url: str
    headers: dict[str, str] = field(repr=False)

    @classmethod
    def logged_in(cls, url: str, app: Credentials) -> Desk:
        body = {"client_id": app.client_id, "client_secret": app.client_secret}
        with httpx.Client() as client:
            said = client.post(f"{url}/v1/app/auth", json=body).json()
        return cls(url, {"Authorization": f"Bearer {said['access_token']}"})

    def mint(self, client: httpx.Client, task: str, scope: list[str]) -> str:
        """The token of a new agent."""
        key = Ed25519PrivateKey.generate()
        order = _order(task, scope)
        launched = client.post(f"{self.url}/v1/app/launch-tokens", json=order, headers=self.headers).json()
        challenged = client.get(f"{self.url}/v1/challenge").json()
        proof = _proof(key, launched["launch_token"], challenged["nonce"], task, scope)
        token: str = client.post(f"{self.url}/v1/register", json=proof).json()["access_token"]
        return token

    async def amint(self, client: httpx.AsyncClient, task: str, scope: list[str]) -> str:
        key = Ed25519PrivateKey.generate()
        order = _order(task, scope)
        launched = (await client.post(f"{self.url}/v1/app/launch-tokens", json=order, headers=self.headers)).json()
        challenged = (await client.get(f"{self.url}/v1/challenge")).json()
        proof = _proof(key, launched["launch_token"], challenged["nonce"], task, scope)
        token: str = (await client.post(f"{self.url}/v1/register", json=proof)).json()["access_token"]
        return token


def _order(task: str, scope: list[str]) -> dict[str, Any]:
    return {"agent_name": f"{ORCHESTRATION}/{task}", "allowed_scope": scope, "max_ttl": _MAX_TTL}


def _proof(key: Ed25519PrivateKey, launch_token: str, nonce: str, task: str, scope: list[str]) -> dict[str, Any]:
    return {
        "launch_token": launch_token,
        "nonce": nonce,
        "public_key": base64.b64encode(key.public_key().public_bytes_raw()).decode(),
        "signature": base64.b64encode(key.sign(bytes.fromhex(nonce))).decode(),
        "orch_id": ORCHESTRATION,
        "task_id": task,
        "requested_scope": scope,
    }
