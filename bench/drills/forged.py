"""Forged tokens in numbers, where the broker's key is pinned: it never hears of them (X-02, X-05)."""

from __future__ import annotations

import itertools
import random
import tempfile
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from agentwrit_guard import Guard
from agentwrit_guard.pins import thumbprint
from bench.drills.findings import Findings
from bench.drills.pouring import ROOM, Make, pour, trap
from bench.drills.tokens import HEAD, claims, encoded, packed, signature, signed

CONTROLS = 3


def run(count: int) -> Findings:
    """The pinned key is of this run's making. At the end, tokens that it has signed show that calls are seen."""
    key, dice = Ed25519PrivateKey.generate(), random.Random(2)
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    head = {**HEAD, "kid": thumbprint(raw)}
    with trap() as nobody, tempfile.TemporaryDirectory() as folder:
        pem = Path(folder) / "broker.pem"
        pem.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        guard = Guard(nobody.url, pinned_keys=[str(pem)], timeout=0.2)
        poured = pour(guard, kinds(key, head, dice), count)
        calls = nobody.came
        for number in range(CONTROLS):
            guard.check([b"Bearer " + signed(key, head, claims(f"control-{number}"))])
        seen = nobody.came - calls
        guard.close()
    return Findings(
        {
            "tokens": poured.count,
            "refused": dict(poured.refused),
            "broker calls": calls,
            f"broker calls for {CONTROLS} tokens with a good signature": seen,
            "a second and core": round(poured.rate),
            "by kind": dict(poured.rates),
            "memory before and at most (MiB)": [round(poured.before, 1), round(poured.most, 1)],
        },
        {
            "0 let in": poured.allowed == 0,
            "0 broker calls": calls == 0,
            "calls would have been seen": seen >= CONTROLS,
            f"at most {ROOM:g} MiB of growth": poured.growth <= ROOM,
        },
    )


def kinds(key: Ed25519PrivateKey, head: Mapping[str, object], dice: random.Random) -> dict[str, Make]:
    """Tokens with nothing but their signature against them, each another one every time."""
    forger = Ed25519PrivateKey.generate()
    heads = {"pinned": packed(head), "foreign": packed(HEAD), "none": packed({"alg": "EdDSA", "typ": "JWT"})}
    theirs = [encoded(forger.sign(dice.randbytes(200))) for _ in range(1000)]
    ours = [signed(key, head, claims(dice.randbytes(16).hex())).rpartition(b".")[2] for _ in range(1000)]
    number = itertools.count()

    def made(named: str, last: bytes) -> list[bytes]:
        # In its last digits each differs from all others, and from the one that was signed.
        payload = packed(claims(f"{next(number):032x}"))
        return [b"Bearer " + heads[named] + b"." + payload + b"." + last]

    return {
        "random signature": lambda: made("pinned", encoded(signature(dice))),
        "random signature, no key named": lambda: made("none", encoded(signature(dice))),
        "another key named": lambda: made("foreign", encoded(signature(dice))),
        "signature by another key": lambda: made("pinned", dice.choice(theirs)),
        "signature of another token": lambda: made("pinned", dice.choice(ours)),
        "signed by another key": lambda: [b"Bearer " + signed(forger, head, claims(f"{next(number):032x}"))],
    }
