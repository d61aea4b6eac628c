"""Ed25519 keys of agents, over `cryptography`.

An agent's key proves its registration and nothing after it: the token is a bearer token (contract section 5, register).
"""

from __future__ import annotations

import base64

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from agentwrit_guard.errors import CryptoError


class AgentKey:
    """A private key as registration uses it. CryptoError for a key that is not Ed25519."""

    __slots__ = ("_private",)

    def __init__(self, private_key: Ed25519PrivateKey) -> None:
        if not isinstance(private_key, Ed25519PrivateKey):
            raise CryptoError(f"private_key must be an Ed25519PrivateKey, got {type(private_key).__name__}")
        self._private = private_key

    @classmethod
    def generate(cls) -> AgentKey:
        try:
            return cls(Ed25519PrivateKey.generate())
        except UnsupportedAlgorithm as error:
            raise CryptoError(f"this build of cryptography has no Ed25519: {error}") from None

    @property
    def public_key(self) -> str:
        """Standard base64 of the 32 raw bytes."""
        return base64.b64encode(self._private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()

    def sign_nonce(self, nonce: str) -> str:
        """Standard base64 of the signature over the hex-decoded nonce, not over its text."""
        try:
            challenge = bytes.fromhex(nonce)
        except ValueError:
            raise CryptoError("the nonce is not hex") from None
        return base64.b64encode(self._private.sign(challenge)).decode()
