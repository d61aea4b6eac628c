"""Tokens for tests: any header and payload, signed by a key of the tests' own."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

NOW = 1_800_000_000
KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
KID = "YhXq58Ot6tT48hoGHjcvfN9VSTXfEB8GLtng0gLfhWg"
AGENT = "spiffe://agentwrit.local/agent/orch-1/task-1/4addb01b452d86c3"
OTHER = "spiffe://agentwrit.local/agent/orch-2/task-2/5addb01b452d86c3"
REMOVED: Any = object()


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def compact(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def claims(**changes: Any) -> dict[str, Any]:
    """A plain agent's payload at NOW, with members changed, added, or taken out by REMOVED."""
    payload: dict[str, Any] = {
        "iss": "",
        "sub": AGENT,
        "exp": NOW + 300,
        "nbf": NOW,
        "iat": NOW,
        "jti": "57cef72249661b21c4979c2acb445d26",
        "scope": ["read:customers:7291"],
        "task_id": "task-1",
        "orch_id": "orch-1",
    }
    payload.update(changes)
    return {name: value for name, value in payload.items() if value is not REMOVED}


def header(**changes: Any) -> dict[str, Any]:
    members = {"alg": "EdDSA", "typ": "JWT", "kid": KID, **changes}
    return {name: value for name, value in members.items() if value is not REMOVED}


def sign(header_bytes: bytes, payload_bytes: bytes, key: Ed25519PrivateKey = KEY) -> str:
    signed = f"{b64(header_bytes)}.{b64(payload_bytes)}"
    return f"{signed}.{b64(key.sign(signed.encode()))}"


def token(payload: Mapping[str, Any] | None = None, head: Mapping[str, Any] | None = None, **changes: Any) -> str:
    return sign(compact(head or header()), compact(claims(**changes) if payload is None else payload))


def record(agent: str = OTHER, scope: tuple[str, ...] = ("read:customers:*",), **changes: Any) -> dict[str, Any]:
    made = {
        "agent": agent,
        "scope": list(scope),
        "delegated_at": "2027-01-15T08:00:00.28491112Z",
        "signature": "ab" * 64,
        **changes,
    }
    return {name: value for name, value in made.items() if value is not REMOVED}


def delegated(*records: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A payload with a chain and the hash that fits it."""
    chain = list(records)
    return claims(**{"delegation_chain": chain, "chain_hash": hashlib.sha256(compact(chain)).hexdigest(), **changes})
