"""Words that the tests of the core share."""

from __future__ import annotations

from agentwrit_guard import Allowed, Denied, Lookup


def bearer(token: str) -> list[bytes]:
    return [b"Bearer " + token.encode()]


def verdict(decision: Allowed | Denied | Lookup) -> str:
    """Of a decision: `allowed`, `lookup`, or the status with its error code, as the status map abbreviates them."""
    if isinstance(decision, Allowed):
        return "allowed"
    if isinstance(decision, Lookup):
        return "lookup"
    headers = dict(decision.headers)
    challenge = headers.get("www-authenticate", "")
    assert headers["content-type"] == "application/problem+json"
    assert headers["cache-control"] == "no-store"
    assert ("retry-after" in headers) == (decision.status == 503)
    assert bool(challenge) == (decision.status != 503)
    for error in ("invalid_request", "invalid_token", "insufficient_scope"):
        if f'error="{error}"' in challenge:
            return f"{decision.status} {error}"
    return str(decision.status)


NONE = "401"
REQUEST = "400 invalid_request"
TOKEN = "401 invalid_token"
SCOPE = "403 insufficient_scope"
UNAVAILABLE = "503"
