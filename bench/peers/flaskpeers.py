"""Authlib's resource protector for Flask, with two validators of bearer tokens.

Authlib's own validators for JWTs (RFC 7523, RFC 9068) take only algorithms that joserfc recommends, which EdDSA is not,
and want claims that tokens of the broker do not have. So the first is one of them with a `authenticate_token` of ours
that asks joserfc for EdDSA and for an `exp`, and is theirs in all the rest.
"""

from __future__ import annotations

from typing import Any

import httpx
from authlib.integrations.flask_oauth2 import ResourceProtector
from authlib.oauth2.rfc7523 import JWTBearerTokenValidator
from authlib.oauth2.rfc7662 import IntrospectTokenValidator
from joserfc.errors import JoseError

from bench.peers.issuer import CLIENT_ID, Issuer
from bench.peers.localjwt import joserfc_key, with_joserfc
from bench.peers.tokens import Issued


class _Signed(JWTBearerTokenValidator):  # type: ignore[misc]
    """Checks signature and times of each token that comes."""

    def __init__(self, token: Issued) -> None:
        super().__init__(joserfc_key(token))
        self._decode = with_joserfc(token)

    def authenticate_token(self, token_string: str) -> Any:
        try:
            return self.token_cls(self._decode(token_string))
        except JoseError:
            return None


class _Introspected(IntrospectTokenValidator):  # type: ignore[misc]
    """Asks the endpoint once for each token, and keeps the answer in a dict for ever: no validator can do less."""

    def __init__(self, issuer: Issuer) -> None:
        super().__init__()
        self._issuer = issuer
        self._known: dict[str, dict[str, Any]] = {}

    def introspect_token(self, token_string: str) -> dict[str, Any]:
        known = self._known.get(token_string)
        if known is None:
            auth = (CLIENT_ID, self._issuer.client_secret)
            answer = httpx.post(self._issuer.introspection_url, data={"token": token_string}, auth=auth)
            known = self._known[token_string] = answer.raise_for_status().json()
        return known


def protector(validator: Any) -> Any:
    """Authlib's decorator for views, `require_oauth()`, that trusts this validator."""
    require_oauth = ResourceProtector()
    require_oauth.register_token_validator(validator)
    return require_oauth


def signed(token: Issued) -> Any:
    return protector(_Signed(token))


def introspected(issuer: Issuer) -> Any:
    return protector(_Introspected(issuer))
