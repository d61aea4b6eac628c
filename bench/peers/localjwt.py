"""Libraries that check signature and times of a token here, each time, with a key that is prepared once."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import jwt
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import OKPKey
from joserfc.jwt import JWTClaimsRegistry
from joserfc.jwt import decode as joserfc_decode

from bench.peers.tokens import Issued

_ALGORITHMS = ["EdDSA"]


def with_pyjwt(token: Issued) -> Callable[[str], dict[str, Any]]:
    """PyJWT's `decode`: signature, exp, nbf and iat. It raises for a token that is not good."""
    key = token.key

    def decode(text: str) -> dict[str, Any]:
        claims: dict[str, Any] = jwt.decode(text, key, algorithms=_ALGORITHMS)
        return claims

    assert decode(token.text) == token.claims
    try:
        decode(token.tampered)
    except jwt.InvalidSignatureError:
        return decode
    raise AssertionError("PyJWT let a tampered token in")


def with_joserfc(token: Issued) -> Callable[[str], dict[str, Any]]:
    """joserfc's `decode`, and its registry for exp, nbf and iat. It raises for a token that is not good."""
    key, times = joserfc_key(token), JWTClaimsRegistry(exp={"essential": True})

    def decode(text: str) -> dict[str, Any]:
        claims: dict[str, Any] = joserfc_decode(text, key, algorithms=_ALGORITHMS).claims
        times.validate(claims)
        return claims

    assert decode(token.text) == token.claims
    try:
        decode(token.tampered)
    except JoseError:
        return decode
    raise AssertionError("joserfc let a tampered token in")


def joserfc_key(token: Issued) -> Any:
    """The broker's key as joserfc has it, and Authlib with it.

    joserfc warns of the algorithm's name, EdDSA, which RFC 9864 has replaced. The broker's tokens have no other.
    """
    warnings.filterwarnings("ignore", "EdDSA is deprecated", SecurityWarning)
    return OKPKey.import_key(token.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
