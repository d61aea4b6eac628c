"""The token that all contenders are shown: one of an agent's, of 760 bytes, signed with Ed25519."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from bench.drills.tokens import HEAD, claims, signed

TOKEN_BYTES: Final = 760
CUSTOMER: Final = "7291"
SCOPE: Final = f"read:customers:{CUSTOMER}"
_JTI: Final = "57cef72249661b21c4979c2acb445d26"


@dataclass(frozen=True)
class Issued:
    """A token, what it says, and the key that it can be checked with."""

    text: str = field(repr=False)
    claims: Mapping[str, object]
    key: Ed25519PublicKey

    @property
    def tampered(self) -> str:
        """The same token, with another signature."""
        payload, _, signature = self.text.rpartition(".")
        return f"{payload}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"


def issued() -> Issued:
    """A new token that is good for 50 minutes: one of its scopes is lengthened until the size is right."""
    key = Ed25519PrivateKey.generate()
    for length in range(1, 400):
        said = claims(_JTI, scope=[SCOPE, "write:notes:" + "n" * length])
        text = signed(key, HEAD, said).decode()
        if len(text) >= TOKEN_BYTES:
            return Issued(text, said, key.public_key())
    raise AssertionError("no scope length gives a token of this size")
