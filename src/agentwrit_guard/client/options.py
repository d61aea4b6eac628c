"""How the client reaches the broker, checked when it is made and not at the first call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from agentwrit_guard.brokerurl import broker_url as checked_url
from agentwrit_guard.client import checks
from agentwrit_guard.errors import ConfigurationError
from agentwrit_guard.settings import PREFIX, switch
from agentwrit_guard.transport import LinkOptions

_NEEDED: Final = ("broker_url", "client_id", "client_secret")
_REACH: Final = ("ca_file", "client_cert", "client_key")


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


def from_environment(environ: Mapping[str, str], options: Mapping[str, Any]) -> dict[str, Any]:
    """Keywords for an app: `options`, and from the environment what they leave out."""
    found: dict[str, Any] = {name: environ.get(PREFIX + name.upper()) for name in (*_NEEDED, *_REACH)}
    allow_http = environ.get(f"{PREFIX}ALLOW_HTTP")
    if allow_http:
        try:
            found["allow_http"] = switch(allow_http)
        except ValueError:
            raise ConfigurationError(f"{PREFIX}ALLOW_HTTP cannot be read: {allow_http!r}") from None
    keywords = {**{name: value for name, value in found.items() if value}, **options}
    for name in _NEEDED:
        if name not in keywords:
            raise ConfigurationError(f"{name} is not set; give it, or set {PREFIX}{name.upper()}")
    return keywords
