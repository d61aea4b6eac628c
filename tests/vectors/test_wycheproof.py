"""Vectors of the Wycheproof collection, read from where they are: they are not part of this project (J-16, J-36, P1).

AGENTWRIT_WYCHEPROOF names a folder with its files `json_web_signature_test.json` and `ed25519_test.json`. Each has
`testGroups`, each group a key and `tests`; a test has a `tcId` and a `result` (`valid`, `invalid`, `acceptable`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from agentwrit_guard import Denied, Guard
from agentwrit_guard.core.jws import parse_jws
from agentwrit_guard.pins import PinnedKeys, thumbprint
from tests.kit.clock import MovableClock
from tests.kit.stub import StubBroker

F = TypeVar("F", bound=Callable[..., Any])
NAMED = os.environ.get("AGENTWRIT_WYCHEPROOF")


def needs(name: str) -> Callable[[F], F]:
    """Skip a test, and say why, where its file is not."""
    there = NAMED is not None and (Path(NAMED) / name).is_file()
    why = "names no folder of Wycheproof vectors" if NAMED is None else f"names a folder without {name}"
    return pytest.mark.skipif(not there, reason=f"AGENTWRIT_WYCHEPROOF {why}")


def vectors(name: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each group with each of its tests."""
    content = json.loads((Path(NAMED or "") / name).read_text(encoding="utf-8"))
    for group in content["testGroups"]:
        for test in group["tests"]:
            yield group, test


def as_token(jws: object) -> str:
    """A vector is compact text, or JSON as the serialisation has it."""
    return jws if isinstance(jws, str) else json.dumps(jws, separators=(",", ":"))


@needs("json_web_signature_test.json")
def test_j_36_no_vector_of_another_algorithm_is_accepted() -> None:
    seen = 0
    asked: list[int] = []
    with StubBroker() as broker:
        guard = Guard(broker.url, clock=MovableClock().clock)
        for _, test in vectors("json_web_signature_test.json"):
            seen += 1
            decision = guard.check([b"Bearer " + as_token(test["jws"]).encode()])
            assert isinstance(decision, Denied), test["tcId"]
            assert decision.status in (400, 401), test["tcId"]
            if broker.calls:
                asked.append(test["tcId"])
                broker.bodies.clear()
        guard.close()
    assert seen > 0
    assert asked == []


@needs("json_web_signature_test.json")
def test_j_36_no_vector_passes_the_structure_check() -> None:
    assert [t["tcId"] for _, t in vectors("json_web_signature_test.json") if parse_jws(as_token(t["jws"]))] == []


@needs("ed25519_test.json")
def test_j_16_a_pinned_key_verifies_exactly_the_valid_signatures() -> None:
    seen = 0
    wrong = []
    for group, test in vectors("ed25519_test.json"):
        # Older editions of the file call the key `key`.
        raw = bytes.fromhex((group.get("publicKey") or group["key"])["pk"])
        keys = PinnedKeys({thumbprint(raw): Ed25519PublicKey.from_public_bytes(raw)})
        signature = bytes.fromhex(test["sig"])
        # The structure check has let 64 bytes through and nothing else.
        verified = len(signature) == 64 and keys.verify(None, bytes.fromhex(test["msg"]), signature)
        seen += 1
        if verified != (test["result"] == "valid"):
            wrong.append(test["tcId"])
    assert seen > 0
    assert wrong == []


def test_j_36_a_vector_of_either_form_is_put_as_a_token() -> None:
    assert as_token("a.b.c") == "a.b.c"
    assert as_token({"payload": "x", "signatures": []}) == '{"payload":"x","signatures":[]}'
