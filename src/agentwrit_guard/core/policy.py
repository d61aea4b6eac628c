"""What the guard demands of every token, whatever the route."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Policy:
    """Settings that decide. All of them are bound in the key of a cached identity."""

    issuer: str | None
    audience: str | None
    trust_domain: str | None
    principal_kinds: tuple[str, ...]
    max_token_lifetime: int
    chain_loops: str
    cache_ttl: float
    realm: str
    resources: frozenset[str] | None = None
    stale_if_error: float = 0.0


class Keys(Protocol):
    """Pinned keys of the broker, by the thumbprints that are the `kid` of its tokens. See `pins.PinnedKeys`."""

    def __contains__(self, kid: str) -> bool: ...

    def verify(self, kid: str | None, signed: bytes, signature: bytes) -> bool: ...
