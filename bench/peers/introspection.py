"""FastMCP's verifier that asks an introspection endpoint (RFC 7662), with its cache on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastmcp.server.auth.providers.introspection import IntrospectionTokenVerifier

from bench.peers.issuer import CLIENT_ID, Issuer
from bench.peers.tokens import Issued

_TTL = 300


async def cached_introspection(issuer: Issuer, token: Issued) -> Callable[[str], Awaitable[Any]]:
    """`verify_token`, which has asked for this token once and knows it from now on. None is its no."""
    verifier = IntrospectionTokenVerifier(
        introspection_url=issuer.introspection_url,
        client_id=CLIENT_ID,
        client_secret=issuer.client_secret,
        cache_ttl_seconds=_TTL,
    )
    verify: Callable[[str], Awaitable[Any]] = verifier.verify_token
    assert await verify(token.tampered) is None, "FastMCP let a tampered token in"
    found = await verify(token.text)
    assert found is not None, "FastMCP refused the token"
    assert found.subject == token.claims["sub"]
    return verify
