"""A plain HTTP client for the twin: one method a call, nothing hidden."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agentwrit_guard.devbroker import DevBroker

SCOPE = ["read:data:*"]


@dataclass(frozen=True)
class Holder:
    agent_id: str
    token: str

    @property
    def claims(self) -> dict[str, Any]:
        return claims_of(self.token)


class Client:
    def __init__(self, broker: DevBroker) -> None:
        self.broker = broker
        self.http = httpx.Client(base_url=broker.url, trust_env=False)
        self._admin = ""

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.http.close()

    def post(self, path: str, content: Any = None, token: str = "", **headers: str) -> httpx.Response:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token:
            sent["Authorization"] = f"Bearer {token}"
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return self.http.post(path, content=b"" if content is None else body, headers=sent)

    def get(self, path: str, token: str = "") -> httpx.Response:
        return self.http.get(path, headers={"Authorization": f"Bearer {token}"} if token else {})

    @property
    def admin(self) -> str:
        """An admin token, asked for once."""
        if not self._admin:
            self._admin = self.post("/v1/admin/auth", {"secret": self.broker.admin_secret}).json()["access_token"]
        return self._admin

    def launch(self, scope: list[str] = SCOPE, **policy: Any) -> str:
        content = {"agent_name": "agent", "allowed_scope": scope, **policy}
        token: str = self.post("/v1/admin/launch-tokens", content, self.admin).json()["launch_token"]
        return token

    def nonce(self) -> str:
        nonce: str = self.get("/v1/challenge").json()["nonce"]
        return nonce

    def registration(self, launch_token: str, /, **changes: Any) -> dict[str, Any]:
        """The body of a registration that succeeds, but for `changes`; None leaves a field out."""
        key = Ed25519PrivateKey.generate()
        nonce = changes.pop("nonce", None) or self.nonce()
        body = {
            "launch_token": launch_token,
            "nonce": nonce,
            "public_key": base64.b64encode(key.public_key().public_bytes_raw()).decode(),
            "signature": base64.b64encode(key.sign(bytes.fromhex(nonce))).decode(),
            "orch_id": "orch",
            "task_id": "task",
            "requested_scope": SCOPE,
            **changes,
        }
        return {name: value for name, value in body.items() if value is not None}

    def register(self, launch_token: str, /, **changes: Any) -> httpx.Response:
        return self.post("/v1/register", self.registration(launch_token, **changes))

    def agent(self, task_id: str = "task", scope: list[str] = SCOPE, **policy: Any) -> Holder:
        launch_token = self.launch(scope, **policy)
        reply = self.register(launch_token, task_id=task_id, requested_scope=scope).json()
        return Holder(reply["agent_id"], reply["access_token"])

    def delegate(self, token: str, to: str, scope: list[str] = SCOPE, **more: Any) -> httpx.Response:
        return self.post("/v1/delegate", {"delegate_to": to, "scope": scope, **more}, token)

    def delegated(self, token: str, to: str, scope: list[str] = SCOPE, **more: Any) -> str:
        issued: str = self.delegate(token, to, scope, **more).json()["access_token"]
        return issued

    def valid(self, token: str) -> bool:
        answer: bool = self.post("/v1/token/validate", {"token": token}).json()["valid"]
        return answer


def claims_of(token: str) -> dict[str, Any]:
    segment = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    return claims


def problem(reply: httpx.Response) -> tuple[int, str, str]:
    content = reply.json()
    return reply.status_code, content["error_code"], content["detail"]
