from __future__ import annotations

import base64

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agentwrit_guard.errors import CryptoError
from agentwrit_guard.keys import AgentKey

# RFC 8032, 7.1, test 3: the message is two bytes.
_SECRET = bytes.fromhex("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7")
_PUBLIC = bytes.fromhex("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025")
_SIGNATURE = bytes.fromhex(
    "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
    "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
)


def test_public_key_and_signature_over_the_decoded_nonce() -> None:
    key = AgentKey(Ed25519PrivateKey.from_private_bytes(_SECRET))
    assert base64.b64decode(key.public_key, validate=True) == _PUBLIC
    assert base64.b64decode(key.sign_nonce("af82"), validate=True) == _SIGNATURE


def test_generated_keys_differ() -> None:
    assert AgentKey.generate().public_key != AgentKey.generate().public_key


@pytest.mark.parametrize("key", [None, b"bytes", generate_private_key(SECP256R1())], ids=["none", "bytes", "ec"])
def test_other_keys_are_refused(key: object) -> None:
    with pytest.raises(CryptoError, match="must be an Ed25519PrivateKey"):
        AgentKey(key)


def test_nonce_that_is_not_hex() -> None:
    with pytest.raises(CryptoError, match="not hex"):
        AgentKey.generate().sign_nonce("zz")


def test_library_without_ed25519(monkeypatch: pytest.MonkeyPatch) -> None:
    class Without(Ed25519PrivateKey):
        @classmethod
        def generate(cls) -> Ed25519PrivateKey:
            raise UnsupportedAlgorithm("no")

    monkeypatch.setattr("agentwrit_guard.keys.Ed25519PrivateKey", Without)
    with pytest.raises(CryptoError, match="no Ed25519"):
        AgentKey.generate()
