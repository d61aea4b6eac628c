"""Tokens that look like a broker's, and that nobody has signed."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentwrit_guard.core.claims import Principal


def fake_token(principal: Principal) -> str:
    """A well-formed token with the claims of `principal`. A guard has to ask about it, and a broker says no."""
    # As at a broker, what is empty is left out; `iss` and `scope` stand always.
    claims = {name: value for name, value in asdict(principal.claims).items() if value or name in ("iss", "scope")}
    header = {"alg": "EdDSA", "typ": "JWT"}
    # 64 bytes are 86 characters, as an Ed25519 signature is.
    return f"{_encoded(header)}.{_encoded(claims)}.{secrets.token_urlsafe(64)}"


def _encoded(members: Mapping[str, object]) -> str:
    text = json.dumps(members, ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()
