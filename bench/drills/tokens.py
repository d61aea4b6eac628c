"""Tokens of a drill's own making, and what stands in those of a broker."""

from __future__ import annotations

import base64
import json
import random
import time
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KID = "YhXq58Ot6tT48hoGHjcvfN9VSTXfEB8GLtng0gLfhWg"
HEAD: Mapping[str, object] = {"alg": "EdDSA", "typ": "JWT", "kid": KID}


def claims(jti: str, **changes: object) -> dict[str, object]:
    """Claims that nothing speaks against, but for `changes`."""
    now = int(time.time())
    return {
        "iss": "", "sub": "spiffe://agentwrit.local/agent/drill/x/4addb01b452d86c3", "exp": now + 3000,
        "nbf": now, "iat": now, "jti": jti, "scope": ["read:customers:7291"], "task_id": "x", "orch_id": "drill",
        **changes,
    }  # fmt: skip


def encoded(data: bytes) -> bytes:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def packed(members: object) -> bytes:
    """A segment of a token that says this."""
    return encoded(json.dumps(members, separators=(",", ":")).encode())


def signature(dice: random.Random) -> bytes:
    """64 bytes that a verifier has to compute with: their second half is a number below the order of the curve."""
    return dice.randbytes(63) + bytes([dice.randrange(16)])


def signed(key: Ed25519PrivateKey, head: Mapping[str, object], payload: Mapping[str, object]) -> bytes:
    text = packed(head) + b"." + packed(payload)
    return text + b"." + encoded(key.sign(text))


def claims_of(credentials: bytes) -> dict[str, Any]:
    """What a well-formed token says, signed or not; `credentials` as in the header."""
    part = credentials.split(b".")[1]
    said: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4)))
    return said
