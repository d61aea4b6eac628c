"""The broker's public keys, where an operator has handed them over: forged tokens die here, without a call.

The broker publishes its key nowhere (contract 1), so it comes in files: PEM, a JWK, or a JWK Set (RFC 7517, 8037).
A verified signature lets nobody in: only the broker knows what is revoked.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from agentwrit_guard.core import strictjson
from agentwrit_guard.core.edwards import weakness
from agentwrit_guard.errors import ConfigurationError

_LARGEST: Final = 64 * 1024
_BLOCK = re.compile(rb"-----BEGIN PUBLIC KEY-----\s[\s\S]*?-----END PUBLIC KEY-----")
_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}")


class PinnedKeys:
    """Public keys by thumbprint (RFC 7638), which is the `kid` of the broker's tokens."""

    def __init__(self, keys: dict[str, Ed25519PublicKey]) -> None:
        self._keys = keys

    @classmethod
    def load(cls, files: Sequence[str], thumbprints: Sequence[str] = ()) -> PinnedKeys:
        """Every key of the files, or of those the ones with these thumbprints.

        ConfigurationError for a file that cannot be read, holds no key or a private one, for a key that is not
        Ed25519 or must not be trusted, and for a thumbprint that no key has.
        """
        found = {thumbprint(raw): Ed25519PublicKey.from_public_bytes(raw) for path in files for raw in _read(path)}
        for wanted in thumbprints:
            if not _THUMBPRINT.fullmatch(wanted):
                raise ConfigurationError(f"pinned_thumbprints has {wanted!r}, which is no RFC 7638 thumbprint")
            if wanted not in found:
                raise ConfigurationError(
                    f"pinned_thumbprints has {wanted}, but the keys of pinned_keys are {', '.join(sorted(found))}"
                )
        return cls({kid: key for kid, key in found.items() if not thumbprints or kid in thumbprints})

    def __contains__(self, kid: str) -> bool:
        return kid in self._keys

    @property
    def thumbprints(self) -> tuple[str, ...]:
        return tuple(sorted(self._keys))

    def verify(self, kid: str | None, signed: bytes, signature: bytes) -> bool:
        """Whether one of the keys made the signature. A `kid` names the only one that is tried."""
        keys = [self._keys[kid]] if kid in self._keys else [] if kid is not None else list(self._keys.values())
        return any(_verifies(key, signed, signature) for key in keys)


def thumbprint(raw: bytes) -> str:
    """RFC 7638, of the 32 bytes of a public key."""
    text = f'{{"crv":"Ed25519","kty":"OKP","x":"{_encoded(raw)}"}}'
    return _encoded(hashlib.sha256(text.encode()).digest())


def _verifies(key: Ed25519PublicKey, signed: bytes, signature: bytes) -> bool:
    try:
        key.verify(signature, signed)
    except InvalidSignature:
        return False
    return True


def _read(path: str) -> Iterator[bytes]:
    """The raw public keys of one file, each fit to be trusted."""
    try:
        with open(path, "rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise ConfigurationError(f"pinned_keys names {path}, which cannot be read: {error.strerror}") from None
    if len(content) > _LARGEST:
        raise ConfigurationError(f"pinned_keys names {path}, which is over {_LARGEST} bytes")
    if b"PRIVATE KEY" in content:
        raise ConfigurationError(f"pinned_keys names {path}, which holds a private key; it wants the public one")
    found = list(_from_jwk(path, content) if content.lstrip()[:1] == b"{" else _from_pem(path, content))
    if not found:
        raise ConfigurationError(f"pinned_keys names {path}, which holds no public key in PEM or JWK form")
    for raw in found:
        why = weakness(raw)
        if why is not None:
            raise ConfigurationError(f"pinned_keys names {path}, which has a key that must not be trusted: {why}")
    yield from found


def _from_pem(path: str, content: bytes) -> Iterator[bytes]:
    for block in _BLOCK.findall(content):
        try:
            key = load_pem_public_key(block)
        except ValueError as error:
            raise ConfigurationError(f"pinned_keys names {path}, whose PEM cannot be read: {error}") from None
        if not isinstance(key, Ed25519PublicKey):
            raise ConfigurationError(f"pinned_keys names {path}, which has a key that is not Ed25519")
        yield key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def _from_jwk(path: str, content: bytes) -> Iterator[bytes]:
    try:
        document = strictjson.loads(content)
    except ValueError:
        raise ConfigurationError(f"pinned_keys names {path}, which is not strict JSON") from None
    members = document.get("keys", [document]) if isinstance(document, dict) else []
    for jwk in members if isinstance(members, list) else []:
        if not isinstance(jwk, dict) or jwk.get("kty") != "OKP" or jwk.get("crv") != "Ed25519":
            raise ConfigurationError(f"pinned_keys names {path}, which has a JWK that is not kty OKP, crv Ed25519")
        if "d" in jwk:
            raise ConfigurationError(f"pinned_keys names {path}, which holds a private key; it wants the public one")
        if jwk.get("use", "sig") != "sig" or jwk.get("alg", "EdDSA") not in ("EdDSA", "Ed25519"):
            raise ConfigurationError(f"pinned_keys names {path}, which has a JWK that is not for EdDSA signatures")
        yield _decoded(path, jwk.get("x"))


def _decoded(path: str, x: object) -> bytes:
    text = x if isinstance(x, str) else ""
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        raw = b""
    if _encoded(raw) != text or len(raw) != 32:
        raise ConfigurationError(f"pinned_keys names {path}, which has a JWK whose x is not 32 bytes of base64url")
    return raw


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
