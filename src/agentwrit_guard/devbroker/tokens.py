"""Tokens: claims, and the key that signs and verifies them (contract section 4).

Verification is as lenient as the broker's: `typ` and `crit` are ignored, `kid` may be missing, member names match
whatever their case, CR, LF and stray bits in the signature segment do not matter, `aud`, `iat` and the chain are never
looked at.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from dataclasses import dataclass, replace
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from agentwrit_guard.devbroker import jsonbody, times

_URL_ALPHABET = re.compile(r"[A-Za-z0-9_-]*")


class InvalidToken(Exception):
    """The token is not valid; why is never told, as in the broker."""


@dataclass(frozen=True)
class Record:
    """One link of a delegation chain. `scope` is what the delegator held; None is written as `null`."""

    agent: str
    scope: tuple[str, ...] | None
    delegated_at: str
    signature: str

    def wire(self) -> dict[str, Any]:
        """The members in their order, an empty signature left out."""
        content: dict[str, Any] = {
            "agent": self.agent,
            "scope": _list(self.scope),
            "delegated_at": self.delegated_at,
            "signature": self.signature,
        }
        if not self.signature:
            del content["signature"]
        return content


@dataclass(frozen=True)
class Claims:
    """A token's payload. Empty strings and tuples are claims that are left out; only `scope` can be `null`."""

    iss: str
    sub: str
    aud: tuple[str, ...]
    exp: int
    nbf: int
    iat: int
    jti: str
    scope: tuple[str, ...] | None
    sid: str = ""
    task_id: str = ""
    orch_id: str = ""
    delegation_chain: tuple[Record, ...] = ()
    chain_hash: str = ""

    def wire(self) -> dict[str, Any]:
        """The members in their order: a token's payload, and `claims` in the reply of validate."""
        content: dict[str, Any] = {
            "iss": self.iss,
            "sub": self.sub,
            "aud": _list(self.aud),
            "exp": self.exp,
            "nbf": self.nbf,
            "iat": self.iat,
            "jti": self.jti,
            "sid": self.sid,
            "scope": _list(self.scope),
            "task_id": self.task_id,
            "orch_id": self.orch_id,
            "delegation_chain": [record.wire() for record in self.delegation_chain],
            "chain_hash": self.chain_hash,
        }
        for name in ("aud", "sid", "task_id", "orch_id", "delegation_chain", "chain_hash"):
            if not content[name]:
                del content[name]
        return content

    def with_record(self, record: Record) -> Claims:
        """The same claims, the chain longer by `record` and hashed anew."""
        chain = (*self.delegation_chain, record)
        text = jsonbody.dumps([one.wire() for one in chain])
        return replace(self, delegation_chain=chain, chain_hash=hashlib.sha256(text.encode()).hexdigest())


class Signer:
    """The broker's one key: signs tokens and records, and says which tokens are its own."""

    def __init__(self, key: Ed25519PrivateKey | None = None) -> None:
        self.private_key: Ed25519PrivateKey = key or Ed25519PrivateKey.generate()
        self.public_key: Ed25519PublicKey = self.private_key.public_key()
        self.kid: str = thumbprint(self.public_key)

    def sign(self, claims: Claims) -> str:
        """The compact token of `claims`."""
        header = json.dumps({"alg": "EdDSA", "typ": "JWT", "kid": self.kid}, separators=(",", ":"))
        signed = f"{b64url(header.encode())}.{b64url(jsonbody.dumps(claims.wire()).encode())}"
        return f"{signed}.{b64url(self.private_key.sign(signed.encode()))}"

    def record(self, agent: str, scope: tuple[str, ...] | None, at: float) -> Record:
        """A signed delegation record; `at` is in unix seconds."""
        delegated_at = times.nanoseconds(at)
        # The comma is ambiguous, and the delegate is not covered: so it is at the broker.
        text = f"{agent}|{','.join(scope or ())}|{delegated_at}"
        return Record(agent, scope, delegated_at, self.private_key.sign(text.encode()).hex())

    def verify(self, token: str, *, issuer: str, now: float) -> Claims:
        """The claims of a token that this key signed and that is in time; revocation and audience are not looked at."""
        try:
            header, payload, signature = token.split(".")
            self._check_header(jsonbody.fields(_unb64url(header), trailing=False))
            self.public_key.verify(_unb64url(signature), f"{header}.{payload}".encode())
            claims = _claims(jsonbody.fields(_unb64url(payload), trailing=False))
        except (ValueError, InvalidSignature):
            raise InvalidToken from None
        second = math.floor(now)
        # The whole of second `exp` counts as valid: RFC 7519 would refuse from its start on.
        in_time = claims.exp > 0 and claims.nbf <= second <= claims.exp
        if not in_time or not claims.sub or not claims.jti or (issuer and claims.iss != issuer):
            raise InvalidToken
        return claims

    def _check_header(self, header: jsonbody.Fields) -> None:
        if header.text("alg") != "EdDSA" or header.text("kid") not in ("", self.kid):
            raise InvalidToken


def thumbprint(key: Ed25519PublicKey) -> str:
    """RFC 7638: the `kid` of a public key."""
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    jwk = {"crv": "Ed25519", "kty": "OKP", "x": b64url(raw)}
    return b64url(hashlib.sha256(json.dumps(jwk, separators=(",", ":")).encode()).digest())


def b64url(data: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unb64url(text: str) -> bytes:
    # CR and LF are skipped and the unused bits of the last character may be anything: so decodes the broker.
    packed = text.replace("\r", "").replace("\n", "")
    if _URL_ALPHABET.fullmatch(packed) is None:
        raise ValueError("not base64url")
    return base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4))


def _claims(payload: jsonbody.Fields) -> Claims:
    chain = payload.objects("delegation_chain")
    return Claims(
        iss=payload.text("iss"),
        sub=payload.text("sub"),
        aud=tuple(payload.texts("aud") or ()),
        exp=payload.integer("exp") or 0,
        nbf=payload.integer("nbf") or 0,
        iat=payload.integer("iat") or 0,
        jti=payload.text("jti"),
        sid=payload.text("sid"),
        scope=_tuple(payload.texts("scope")),
        task_id=payload.text("task_id"),
        orch_id=payload.text("orch_id"),
        delegation_chain=tuple(_record(record) for record in chain or ()),
        chain_hash=payload.text("chain_hash"),
    )


def _record(record: jsonbody.Fields) -> Record:
    return Record(
        agent=record.text("agent"),
        scope=_tuple(record.texts("scope")),
        delegated_at=times.rewritten(record.text("delegated_at", times.ZERO)),
        signature=record.text("signature"),
    )


def _tuple(items: list[str] | None) -> tuple[str, ...] | None:
    return None if items is None else tuple(items)


def _list(items: tuple[str, ...] | None) -> list[str] | None:
    return None if items is None else list(items)
