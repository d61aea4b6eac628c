"""Structure of a compact JWS, reject-only (RFC 7515, RFC 8725; threats J-01 to J-18, J-33).

A token that passes has one spelling and one meaning for every parser behind us. It is not thereby good: only the
broker's word makes it so.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, field
from typing import Final

from agentwrit_guard.core.claims import KNOWN_CLAIMS
from agentwrit_guard.core.strictjson import loads

MAX_TOKEN: Final = 8192

_SEGMENT = re.compile(r"[A-Za-z0-9_-]+")
_KID = re.compile(r"[A-Za-z0-9_-]{43}")
_SIGNATURE_LENGTH: Final = 86
_HEADER: Final = ("alg", "typ", "kid")
# Members that would change the key, the algorithm or the meaning of the payload, whatever their value.
_REFUSED: Final = frozenset(
    (
        "jwk",
        "jku",
        "crit",
        "b64",
        "cty",
        "zip",
        "enc",
        "epk",
        "apu",
        "apv",
        "iv",
        "tag",
        "p2s",
        "p2c",
        "skid",
        "cnf",
    )
)


@dataclass(frozen=True)
class Jws:
    """A well-formed token, taken apart. Nothing of it is shown in a repr."""

    kid: str | None = field(repr=False)
    signature: bytes = field(repr=False)
    payload: dict[str, object] = field(repr=False)
    payload_text: str = field(repr=False)


def parse_jws(token: str) -> Jws | None:
    """The parts of a token, None if it is not one canonical Ed25519-signed JWS with a JSON object for a payload."""
    if len(token) > MAX_TOKEN:
        return None
    segments = token.split(".")
    if len(segments) != 3 or len(segments[2]) != _SIGNATURE_LENGTH:
        return None
    try:
        header_bytes, payload_bytes, signature = (_decode(segment) for segment in segments)
        header, payload = loads(header_bytes), loads(payload_bytes)
    except ValueError:
        return None
    if not isinstance(header, dict) or not isinstance(payload, dict):
        return None
    if _has_alias(header, _HEADER) or _has_alias(payload, KNOWN_CLAIMS) or not _header_is_ours(header):
        return None
    kid = header.get("kid")
    return Jws(kid if isinstance(kid, str) else None, signature, payload, payload_bytes.decode())


def is_of_our_kind(token: str) -> bool:
    """Whether a bearer means to be an AgentWrit token, well made or not, so that it must be judged here.

    It is if its payload names a subject of AgentWrit's forms, or if its algorithm is ours and its subject is not
    plainly somebody else's. Reads leniently on purpose: a broken token of ours must not pass for a foreign one.
    """
    header, payload = ([*(_lenient(segment) for segment in token.split(".")[:2]), {}, {}])[:2]
    algorithm, subject = header.get("alg"), payload.get("sub")
    if isinstance(subject, str):
        if subject.lower().startswith("spiffe:"):
            return True
        if subject != "admin" and not subject.startswith("app:"):
            return False
    return isinstance(algorithm, str) and algorithm.lower() == "eddsa"


def _lenient(segment: str) -> dict[str, object]:
    try:
        # The decoder overlooks what is no base64, and padding beyond what is due, which that makes hard to count.
        value = json.loads(base64.urlsafe_b64decode(f"{segment}==="))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _decode(segment: str) -> bytes:
    """Base64url without padding, and only its one canonical spelling (RFC 4648, 3.5)."""
    if not _SEGMENT.fullmatch(segment):
        raise ValueError("not base64url")
    data = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    if base64.urlsafe_b64encode(data).rstrip(b"=") != segment.encode():
        raise ValueError("not canonical")
    return data


def _has_alias(members: dict[str, object], names: tuple[str, ...]) -> bool:
    """Whether a member is another spelling of a registered name: the broker reads names without regard to case."""
    return any(name not in names and name.casefold() in names for name in members)


def _header_is_ours(header: dict[str, object]) -> bool:
    if header.get("alg") != "EdDSA":
        return False
    if "typ" in header and not (isinstance(typ := header["typ"], str) and typ.upper() == "JWT"):
        return False
    if "kid" in header and not (isinstance(kid := header["kid"], str) and _KID.fullmatch(kid)):
        return False
    return not any(name.casefold() in _REFUSED or name.casefold().startswith("x5") for name in header)
