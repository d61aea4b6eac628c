"""The broker's base URL, checked once at start-up and brought to one form (threats CFG-01 to CFG-04, B-08)."""

from __future__ import annotations

import ipaddress
import logging
import re
import socket
from urllib.parse import urlsplit

from agentwrit_guard.errors import ConfigurationError

_events = logging.getLogger("agentwrit_guard.events")

_SEGMENT = re.compile(r"[A-Za-z0-9._~-]+")
_NETLOC = re.compile(r"(?:\[[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*\]|[^\[\]:]+)(?::[0-9]*)?")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
_NUMERIC = re.compile(r"(?:.*\.)?(?:[0-9]+|0[xX][0-9A-Fa-f]*)")
_METADATA_NAMES = ("metadata", "metadata.google.internal", "instance-data")
_METADATA_ADDRESSES = ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def broker_url(url: object, *, allow_http: bool = False) -> str:
    """`url` without trailing slashes. ConfigurationError names what is wrong with it.

    `https`, or `http` on loopback; elsewhere `http` needs `allow_http=True`, because tokens travel in the clear, and
    is warned of at every start. Link-local and metadata addresses are refused: no broker lives there, and a token
    sent there is gone.
    """

    def refuse(why: str) -> ConfigurationError:
        return ConfigurationError(f"broker_url {url!r} {why}")

    if not isinstance(url, str) or not url:
        raise ConfigurationError(f"broker_url must be a URL such as https://broker.example, got {url!r}")
    if "@" in url:
        # Said before anything that repeats the URL: there is a password in it.
        raise ConfigurationError("broker_url carries user info; credentials belong in client_id and client_secret")
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise refuse("has characters outside printable ASCII; give an international name in its xn-- form")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise refuse(f"is not a URL: {error}") from None
    if parts.scheme not in ("http", "https"):
        raise refuse("must start with https:// (or http:// on loopback)")
    if "?" in url or "#" in url:
        raise refuse("has a query or fragment")
    path = parts.path.rstrip("/")
    if any(not _SEGMENT.fullmatch(text) or text in (".", "..") for text in path.split("/")[1:]):
        raise refuse("has a path that is not plain segments")
    if port == 0 or not _NETLOC.fullmatch(parts.netloc):
        raise refuse("has no host, or not one name or plain address")
    host = (parts.hostname or "").lower()
    loopback = _loopback(host, url)
    if parts.scheme == "http" and not loopback:
        if not allow_http:
            raise refuse("sends tokens in the clear; use https, or set allow_http (AGENTWRIT_ALLOW_HTTP=1)")
        _events.warning(
            "allow_http is set: tokens travel to %s unencrypted", host, extra={"event": "insecure_broker_url"}
        )
    if host == "localhost":
        _warn_of_a_strange_localhost()
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}{'' if port is None else f':{port}'}{path}"


def _warn_of_a_strange_localhost() -> None:
    """The name is taken for this machine; a hosts file or resolver may say otherwise."""
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo("localhost", None, type=socket.SOCK_STREAM)}
    except OSError:
        return
    strange = sorted(text for text in found if not ipaddress.ip_address(text.partition("%")[0]).is_loopback)
    if strange:
        _events.warning(
            "broker_url names localhost, which resolves to %s; tokens would leave this machine", ", ".join(strange),
            extra={"event": "insecure_broker_url"},
        )  # fmt: skip


def _loopback(host: str, url: object) -> bool:
    """Whether `host` is this machine; ConfigurationError if it is no host, or none that a broker can have."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if not _HOST.fullmatch(host) or _NUMERIC.fullmatch(host):
            raise ConfigurationError(f"broker_url {url!r} has no host, or not one name or plain address") from None
        if host in _METADATA_NAMES:
            raise ConfigurationError(f"broker_url {url!r} names a metadata service") from None
        return host == "localhost"
    inner = _embedded(address)
    if any(str(one) in _METADATA_ADDRESSES or one.is_link_local or one.is_multicast for one in (address, inner)):
        raise ConfigurationError(f"broker_url {url!r} is a link-local, metadata or multicast address")
    return inner.is_loopback


def _embedded(address: _Address) -> _Address:
    """The IPv4 address that an IPv6 one leads to: mapped, compatible, 6to4 or NAT64. Else the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped or address.sixtofour:
        return address.ipv4_mapped or address.sixtofour or address
    if address in _NAT64 or (int(address) >> 32 == 0 and int(address) > 1):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address
