"""Bearer credentials in, refusals out: the only text of RFC 6750, RFC 9110 (11.6) and RFC 9457 in the package.

Credentials are read as bytes, all entries of the header at once, and nothing is trimmed but SP and TAB (threats H).
A refusal's words come from a closed set, so that an expired, a revoked and a forged token look alike (O-02).
"""

from __future__ import annotations

import functools
import http
import json
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final
from urllib.parse import parse_qsl

from agentwrit_guard.core.decisions import Allowed, Denied, Reason
from agentwrit_guard.core.jws import MAX_TOKEN
from agentwrit_guard.core.redacted import Redacted
from agentwrit_guard.core.requirements import Shortfall

DEFAULT_RETRY_AFTER: Final = 2
_MAX_RETRY_AFTER: Final = 30

_MAX_VALUE: Final = MAX_TOKEN + 256
_BEARER = re.compile(rb"bearer +([\x21-\x2b\x2d-\x7e]+)[ \t]*", re.IGNORECASE)
_SCHEME = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?: |[ \t]*\Z)")
_BLANK = re.compile(rb"[ \t]*")
_HIDDEN_BEARER = re.compile(rb",[ \t]*bearer[ \t]", re.IGNORECASE)
_SCOPE_TOKEN = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
_REALM = re.compile(r"[\x20\x21\x23-\x5b\x5d-\x7e]*")


class Token:
    """A bearer token that no repr, format or pickle shows. `reveal()` is for hashing and asking."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = Redacted(text)

    def reveal(self) -> Redacted:
        return self._text

    def __repr__(self) -> str:
        return "Token(redacted)"

    def __reduce__(self) -> str:
        raise TypeError("a token is not pickled")


def parse_authorization(entries: Sequence[bytes]) -> Token | Reason:
    """The token of the one Authorization entry of a request, or why there is none (RFC 6750, 2.1)."""
    if len(entries) != 1:
        return Reason.REPEATED_CREDENTIALS if entries else Reason.NO_CREDENTIALS
    value = entries[0]
    if len(value) > _MAX_VALUE:
        return Reason.OVERSIZED_CREDENTIALS
    bearer = _BEARER.fullmatch(value)
    if bearer is not None:
        token = bearer.group(1)
        return Token(token.decode("ascii")) if len(token) <= MAX_TOKEN else Reason.OVERSIZED_CREDENTIALS
    if _BLANK.fullmatch(value):
        return Reason.NO_CREDENTIALS
    scheme = _SCHEME.match(value)
    if b"," in value or scheme is None or scheme.group(1).lower() == b"bearer":
        return Reason.MALFORMED_CREDENTIALS
    return Reason.NO_CREDENTIALS


def plain_bearer(entries: Sequence[bytes]) -> bytes | None:
    """What stands behind `Bearer ` in the one entry, unchecked: good only to recognise a token seen before."""
    if len(entries) == 1:
        value = entries[0]
        if value.startswith(b"Bearer ") and len(value) <= _MAX_VALUE:
            return value[7:]
    return None


def is_foreign(entries: Sequence[bytes]) -> bool:
    """Whether the credentials are plainly not a bearer's: none, or one entry of another scheme, commas and all."""
    if not entries:
        return True
    if len(entries) != 1:
        return False
    scheme = _SCHEME.match(entries[0])
    if scheme is None:
        return _BLANK.fullmatch(entries[0]) is not None
    return scheme.group(1).lower() != b"bearer" and not _HIDDEN_BEARER.search(entries[0])


def token_in_query(query: bytes) -> bool:
    """Whether a query string carries an `access_token` (RFC 6750, 2.3): never read, and refused beside a header."""
    if b"access_token" not in query and b"%" not in query:
        return False
    return any(name == "access_token" for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True))


def valid_realm(realm: str) -> bool:
    return _REALM.fullmatch(realm) is not None


@functools.lru_cache(maxsize=256)
def _fixed(reason: Reason, realm: str) -> Denied:
    return _denied(reason, realm, (), (), {})


def refuse(
    reason: Reason,
    realm: str,
    *,
    shortfall: Shortfall | None = None,
    retry_after: float | None = None,
    detail: Mapping[str, str] | None = None,
    source: str = "guard",
    of: Allowed | None = None,
) -> Denied:
    """The whole answer for a reason. Scopes are echoed only if RFC 6750 lets them stand in a challenge (S-16).

    `of` is the identity that is refused, where it is one that the broker vouches for; then it tells the source.
    """
    if shortfall is None and retry_after is None and not detail and source == "guard" and of is None:
        return _fixed(reason, realm)
    required, missing = shortfall or ((), ())
    return _denied(reason, realm, required, missing, detail or {}, retry_after, source, of)


def _denied(
    reason: Reason,
    realm: str,
    required: tuple[str, ...],
    missing: tuple[str, ...],
    detail: Mapping[str, str],
    retry_after: float | None = None,
    source: str = "guard",
    of: Allowed | None = None,
) -> Denied:
    challengeable = all(_SCOPE_TOKEN.fullmatch(scope) for scope in required)
    shown = required if challengeable else ()
    headers = [("content-type", "application/problem+json"), ("cache-control", "no-store")]
    if reason.status == 503:
        seconds = DEFAULT_RETRY_AFTER if retry_after is None else min(max(retry_after, 1), _MAX_RETRY_AFTER)
        headers.append(("retry-after", str(int(seconds))))
    else:
        headers.append(("www-authenticate", _challenge(reason, realm, shown)))
    body: dict[str, object] = {
        "type": f"urn:agentwrit-guard:error:{reason.error or _CODES[reason.status]}",
        "title": http.HTTPStatus(reason.status).phrase,
        "status": reason.status,
        "detail": _DETAILS[reason.status],
        "error_code": reason.error or _CODES[reason.status],
    }
    if shown:
        body["required_scopes"], body["missing_scopes"] = list(required), list(missing)
    text = json.dumps(body, separators=(",", ":")).encode()
    told = source if of is None else of.source
    principal = None if of is None else of.principal
    return Denied(
        reason.status, reason, tuple(headers), text, required, missing, told, MappingProxyType(dict(detail)), principal
    )


def _challenge(reason: Reason, realm: str, scopes: tuple[str, ...]) -> str:
    parts = [f'Bearer realm="{realm}"']
    if reason.error is not None:
        parts += [f'error="{reason.error}"', f'error_description="{_DETAILS[reason.status]}"']
    if scopes:
        parts.append(f'scope="{" ".join(scopes)}"')
    return ", ".join(parts)


_CODES: Final = {401: "unauthorized", 503: "temporarily_unavailable"}
_DETAILS: Final = {
    400: "The request carries its credentials in a way that cannot be read",
    401: "A valid agent access token for this API is needed to go further",
    403: "The agent access token is valid but does not reach this request",
    503: "The access token cannot be validated right now, try again later",
}
