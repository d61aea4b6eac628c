"""How the client reaches the broker, checked when it is made and not at the first call."""

from __future__ import annotations

from agentwrit_guard.brokerurl import broker_url as checked_url
from agentwrit_guard.client import checks
from agentwrit_guard.errors import ConfigurationError
from agentwrit_guard.transport import LinkOptions


def link_options(
    broker_url: str,
    *,
    timeout: float,
    allow_http: bool = False,
    user_agent: str | None = None,
    ca_file: str | None = None,
    client_cert: str | None = None,
    client_key: str | None = None,
) -> LinkOptions:
    """ConfigurationError names the argument that cannot be used."""
    for name, value in (("ca_file", ca_file), ("client_cert", client_cert), ("client_key", client_key)):
        if value is not None:
            checks.text(name, value)
    if client_key is not None and client_cert is None:
        raise ConfigurationError("client_key is set without client_cert")
    return LinkOptions(
        checked_url(broker_url, allow_http=checks.flag("allow_http", allow_http)),
        timeout=checks.timeout(timeout),
        user_agent=None if user_agent is None else checks.user_agent(user_agent),
        ca_file=ca_file,
        client_cert=client_cert,
        client_key=client_key,
    )
