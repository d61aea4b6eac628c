"""The broker's old and new key, the files that pin them, and what a pinned key must mean. No code of the guard."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.fuzz.strict import one_object, segment
from tests.kit.tokens import KEY, b64

OLD: Final = "mUgzPMSCUIl032h7VzIH1UI883RdYSKOolzbkUHAuUU"
NEW: Final = "GGMXPGmA3CW78cNbUoOpggKvNJCrPmXILNUPqHlS8F4"
KEYS: Final = {OLD: KEY, NEW: Ed25519PrivateKey.from_private_bytes(b"n" * 32)}
"""By RFC 7638 thumbprint, which is the `kid` of the broker's tokens."""

FILES: Final = {"old.pem": (OLD,), "new.jwk": (NEW,), "both.jwks": (OLD, NEW)}
"""What `pinned_keys` of a case may name: files by the thumbprints of the keys in them."""

ORDER: Final = 2**252 + 27742317777372353535851937790883648493  # RFC 8032, 5.1: L

_PUBLIC: Final = {kid: key.public_key() for kid, key in KEYS.items()}


def signed(token: str, policy: Mapping[str, Any]) -> bool:
    """J-07, J-16, J-17, J-35: by one of the pinned keys, if there are any, and by the very one that `kid` names."""
    if not policy["pinned_keys"]:
        return True
    pinned = {kid for name in policy["pinned_keys"] for kid in FILES[name]}
    pinned &= set(policy["pinned_thumbprints"] or pinned)
    body, _, signature = token.rpartition(".")
    named = one_object(segment(body.partition(".")[0])).get("kid")
    return any(named in (None, kid) and verifies(kid, body, segment(signature)) for kid in pinned)


def verifies(kid: str, body: str, signature: bytes) -> bool:
    try:
        _PUBLIC[kid].verify(signature, body.encode())
    except InvalidSignature:
        return False
    return int.from_bytes(signature[32:], "little") < ORDER


def signer(kid: str) -> Callable[[str], str]:
    """Gives the signature of a token's first two segments by one of the keys."""
    return lambda body: b64(KEYS[kid].sign(body.encode()))


def write(folder: str, name: str) -> str:
    """The path of a file of `FILES`, written as its ending says."""
    path = Path(folder, name)
    if name.endswith(".pem"):
        data = [_PUBLIC[kid].public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo) for kid in FILES[name]]
        path.write_bytes(b"".join(data))
        return str(path)
    jwks = [{"kty": "OKP", "crv": "Ed25519", "x": b64(_PUBLIC[kid].public_bytes_raw())} for kid in FILES[name]]
    path.write_text(json.dumps({"keys": jwks} if name.endswith(".jwks") else jwks[0]), encoding="utf-8")
    return str(path)
