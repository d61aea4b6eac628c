"""Validation without an app: anyone who reaches the broker may ask about a token."""

from __future__ import annotations

from agentwrit_guard.client import flows
from agentwrit_guard.client.options import link_options
from agentwrit_guard.client.values import ValidateResult
from agentwrit_guard.link import AsyncLink, Link


def validate(
    broker_url: str,
    token: str,
    *,
    timeout: float = 10.0,
    allow_http: bool = False,
    ca_file: str | None = None,
    client_cert: str | None = None,
    client_key: str | None = None,
) -> ValidateResult:
    """The broker's word on a token; TransportError means that nothing is known about it.

    For scripts: each call opens a connection of its own. A service keeps an app, or lets a `Guard` decide.
    """
    link = Link(
        link_options(
            broker_url,
            timeout=timeout,
            allow_http=allow_http,
            ca_file=ca_file,
            client_cert=client_cert,
            client_key=client_key,
        )
    )
    try:
        return link.run(flows.validate(token))
    finally:
        link.close()


async def avalidate(
    broker_url: str,
    token: str,
    *,
    timeout: float = 10.0,
    allow_http: bool = False,
    ca_file: str | None = None,
    client_cert: str | None = None,
    client_key: str | None = None,
) -> ValidateResult:
    """As `validate`, for asyncio."""
    link = AsyncLink(
        link_options(
            broker_url,
            timeout=timeout,
            allow_http=allow_http,
            ca_file=ca_file,
            client_cert=client_cert,
            client_key=client_key,
        )
    )
    try:
        return await link.run(flows.validate(token))
    finally:
        await link.aclose()
