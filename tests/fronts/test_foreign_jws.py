"""Tokens of other algorithms and other forms of JWS, each made as well as it can be made (threats J-36).

None of these is a class that a published collection of vectors has and we do not; `tests/vectors/test_wycheproof.py`
reads such a collection where there is one.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.fronts.expect import expect
from tests.fronts.test_table import get, raw
from tests.kit.fronts import FRONTS, Front
from tests.kit.stub import StubBroker
from tests.kit.tokens import KEY, b64, claims, compact, header, sign

PUBLIC = KEY.public_key()
RSA = rsa.generate_private_key(65537, 2048)
RSA_PEM = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
PEM = PUBLIC.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
JWK = compact({"crv": "Ed25519", "kty": "OKP", "x": b64(PUBLIC.public_bytes_raw())})
SHA2 = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}


def jws(algorithm: str, signer: Callable[[bytes], bytes], **members: Any) -> str:
    signed = f"{b64(compact(header(alg=algorithm, **members)))}.{b64(compact(claims()))}"
    return f"{signed}.{b64(signer(signed.encode()))}"


def mac(bits: str, secret: bytes) -> Callable[[bytes], bytes]:
    return lambda signed: hmac.digest(secret, signed, f"sha{bits}")


def ecdsa(curve: ec.EllipticCurve, bits: str) -> Callable[[bytes], bytes]:
    key = ec.generate_private_key(curve)
    size = (curve.key_size + 7) // 8

    def signer(signed: bytes) -> bytes:
        r, s = utils.decode_dss_signature(key.sign(signed, ec.ECDSA(SHA2[bits])))
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")

    return signer


def pkcs1(bits: str) -> Callable[[bytes], bytes]:
    return lambda signed: RSA.sign(signed, padding.PKCS1v15(), SHA2[bits])


def pss(bits: str) -> Callable[[bytes], bytes]:
    how = padding.PSS(padding.MGF1(SHA2[bits]), padding.PSS.DIGEST_LENGTH)
    return lambda signed: RSA.sign(signed, how, SHA2[bits])


SECRETS = {"empty key": b"", "raw public key": PUBLIC.public_bytes_raw(), "PEM": PEM, "RSA PEM": RSA_PEM, "JWK": JWK}
FOREIGN = {
    **{f"HS{bits} by {name}": jws(f"HS{bits}", mac(bits, secret)) for bits in SHA2 for name, secret in SECRETS.items()},
    **{f"RS{bits}": jws(f"RS{bits}", pkcs1(bits)) for bits in SHA2},
    **{f"PS{bits}": jws(f"PS{bits}", pss(bits)) for bits in SHA2},
    "ES256": jws("ES256", ecdsa(ec.SECP256R1(), "256")),
    "ES384": jws("ES384", ecdsa(ec.SECP384R1(), "384")),
    "ES512": jws("ES512", ecdsa(ec.SECP521R1(), "512")),
    "ES256K": jws("ES256K", ecdsa(ec.SECP256K1(), "256")),
    "ES256 of r = s = 0": jws("ES256", lambda _: bytes(64)),
    "Ed448": jws("EdDSA", ed448.Ed448PrivateKey.generate().sign),
    "Ed25519 by its new name": jws("Ed25519", KEY.sign),
    "none": jws("none", lambda _: b""),
    "none, signed": jws("none", KEY.sign),
    "nOnE": jws("nOnE", lambda _: b""),
    "EdDSA, empty signature": jws("EdDSA", lambda _: b""),
    "ES256, signed by EdDSA": jws("ES256", KEY.sign),
    "a key of its own": jws("EdDSA", KEY.sign, jwk=json.loads(JWK)),
}
SIGNED = sign(compact(header()), compact(claims()))
HEADER, PAYLOAD, SIGNATURE = SIGNED.split(".")
SIGNATURES = [{"protected": HEADER, "signature": SIGNATURE}]
FORMS = {
    "flattened JSON": {"payload": PAYLOAD, "protected": HEADER, "signature": SIGNATURE},
    "general JSON": {"payload": PAYLOAD, "signatures": SIGNATURES},
    "unprotected header": {"payload": PAYLOAD, "header": header(), "signature": SIGNATURE},
    "two signatures": {"payload": PAYLOAD, "signatures": SIGNATURES * 2},
}


def unencoded(text: str, head: dict[str, Any]) -> str:
    """RFC 7797: the payload stands in the token, or beside it, as it is."""
    first = b64(compact({**header(), **head}))
    return f"{first}.{text}.{b64(KEY.sign(f'{first}.{text}'.encode()))}"


B64 = {"b64": False, "crit": ["b64"]}
OTHER_FORMS = {
    **{name: compact(value).decode() for name, value in FORMS.items()},
    **{f"{name}, encoded": b64(compact(value)) for name, value in FORMS.items()},
    "unencoded payload": unencoded("agent", B64),
    "unencoded JSON": unencoded(compact(claims()).decode(), B64),
    "unencoded and not critical": unencoded("agent", {"b64": False}),
    "encoded, but said not to be": unencoded(PAYLOAD, B64),
    "detached": unencoded("", {}),
    "detached and unencoded": unencoded("", B64),
    "encrypted": ".".join([b64(compact({"alg": "dir", "enc": "A128GCM"})), "", "AAAA", "AAAA", "AAAA"]),
    "nested": sign(compact(header(cty="JWT")), SIGNED.encode()),
}
ALL = {**FOREIGN, **OTHER_FORMS}


@pytest.fixture(scope="module")
def _one_broker() -> Iterator[StubBroker]:
    with StubBroker() as stub:
        yield stub


@pytest.fixture
def broker(_one_broker: StubBroker) -> StubBroker:
    """One for all of this file: to start and to stop one takes longer than a case."""
    return _one_broker


@pytest.mark.parametrize("name", FRONTS)
def test_j_36_no_other_algorithm_and_no_other_form_is_asked_about(
    make_front: Callable[..., Front], broker: StubBroker, name: str
) -> None:
    front = make_front(name)
    for text in ALL.values():
        # Written out as JSON it has commas, which no bearer token has.
        status = 400 if "," in text else 401
        expect(front, broker, get(raw(b"Bearer " + text.encode())), status)


def test_j_36_but_for_the_algorithm_they_are_good(make_front: Callable[..., Front], broker: StubBroker) -> None:
    expect(make_front("asgi"), broker, get(raw(b"Bearer " + SIGNED.encode())), 200, calls=1)
    assert len(ALL) > 45
