"""Registration: the order of its checks, and what each refusal uses up (contract section 5)."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.broker.kit import SCOPE, Client, problem
from tests.kit.clock import Time

MISSING = (400, "invalid_request", "missing required field")
MISSING_SCOPE = (400, "invalid_request", "missing required field: requested_scope")
BEYOND = (403, "scope_violation", "requested scope exceeds allowed scope")
FAILED = (500, "internal_error", "registration failed")
KEY, SIGNATURE = "invalid Ed25519 public key", "nonce signature verification failed"


def denied(detail: str) -> tuple[int, str, str]:
    return 401, "unauthorized", detail


@pytest.mark.parametrize(
    ("changes", "refusal", "used_up"),
    [
        pytest.param({"task_id": None}, MISSING, set(), id="missing field"),
        pytest.param({"requested_scope": []}, MISSING_SCOPE, set(), id="empty scope"),
        pytest.param(
            {"launch_token": "0" * 64}, denied("launch token: launch token not found"), set(), id="unknown launch token"
        ),
        pytest.param({"requested_scope": ["write:data:1"]}, BEYOND, set(), id="scope violation"),
        pytest.param({"requested_scope": ["read:data:1", ""]}, BEYOND, set(), id="empty scope among others"),
        pytest.param({"public_key": "!"}, denied(f"{KEY}: base64 decode failed"), {"nonce"}, id="key is no base64"),
        pytest.param({"public_key": "AAAA"}, denied(f"{KEY}: wrong key size"), {"nonce"}, id="key of the wrong size"),
        pytest.param(
            {"signature": "!"}, denied(f"{SIGNATURE}: base64 decode failed"), {"nonce"}, id="signature is no base64"
        ),
        pytest.param({"signature": "AAAA"}, denied(SIGNATURE), {"nonce"}, id="signature of the wrong length"),
        pytest.param({"signature": "A" * 86 + "=="}, denied(SIGNATURE), {"nonce"}, id="wrong signature"),
        *(
            pytest.param({name: bad}, FAILED, {"nonce", "launch token"}, id=f"{name} {bad!a}")
            for name in ("task_id", "orch_id")
            for bad in ("..", ".", " ", "a/b", "a b", "é", "a\n", "a%20", "\u0000")
        ),
        pytest.param({}, None, {"nonce", "launch token"}, id="success"),
        pytest.param({"task_id": "A-z_0.9", "orch_id": "..."}, None, {"nonce", "launch token"}, id="odd ids"),
    ],
)
def test_refusals_and_what_they_use_up(
    client: Client, changes: dict[str, Any], refusal: tuple[int, str, str] | None, used_up: set[str]
) -> None:
    launch_token, nonce = client.launch(), client.nonce()
    reply = client.register(launch_token, nonce=nonce, **changes)
    said = None if reply.status_code == 200 else problem(reply)
    assert said == refusal

    consumed = set()
    again = client.register(client.launch(), nonce=nonce)
    if again.status_code != 200:
        assert problem(again) == denied("nonce: nonce already consumed")
        consumed.add("nonce")
    again = client.register(launch_token)
    if again.status_code != 200:
        assert problem(again) == denied("launch token: launch token already consumed")
        consumed.add("launch token")
    assert consumed == used_up


@pytest.mark.parametrize(
    "name", ["launch_token", "nonce", "public_key", "signature", "orch_id", "task_id", "requested_scope"]
)
def test_every_field_is_required(client: Client, name: str) -> None:
    body = client.registration(client.launch())
    expected = MISSING_SCOPE if name == "requested_scope" else MISSING
    empty: object = [] if name == "requested_scope" else ""
    for changed in ({**body, name: None}, {**body, name: empty}, {k: v for k, v in body.items() if k != name}):
        assert problem(client.post("/v1/register", changed)) == expected
    assert client.post("/v1/register", body).status_code == 200


def test_checks_come_in_the_brokers_order(client: Client) -> None:
    wrong = {
        "task_id": "",
        "requested_scope": ["write:data:1"],
        "launch_token": "0" * 64,
        "public_key": "!",
        "signature": "!",
    }
    launch_token, nonce = client.launch(), "0" * 64
    said = []
    for repaired in ({"task_id": ".."}, {"launch_token": launch_token}, {"requested_scope": SCOPE}):
        said.append(problem(client.register("unused", nonce=nonce, **wrong))[2])
        wrong.update(repaired)
    said.append(problem(client.register("unused", nonce=nonce, **wrong))[2])
    for repaired in ("public_key", "signature"):
        said.append(problem(client.register("unused", **wrong))[2])
        del wrong[repaired]
    said.append(problem(client.register("unused", **wrong))[2])
    said.append(problem(client.register("unused", **wrong))[2])
    assert said == [
        "missing required field",
        "launch token: launch token not found",
        "requested scope exceeds allowed scope",
        "nonce: nonce not found or expired",
        f"{KEY}: base64 decode failed",
        f"{SIGNATURE}: base64 decode failed",
        "registration failed",
        "launch token: launch token already consumed",
    ]


def test_signature_covers_the_bytes_and_not_the_hex_text(client: Client) -> None:
    nonce, key = client.nonce(), Ed25519PrivateKey.generate()
    public = base64.b64encode(key.public_key().public_bytes_raw()).decode()
    signed = base64.b64encode(key.sign(nonce.encode())).decode()
    refused = client.register(client.launch(), nonce=nonce, public_key=public, signature=signed)
    assert problem(refused) == denied(SIGNATURE)


def test_same_key_registers_again_under_another_id(client: Client) -> None:
    key = Ed25519PrivateKey.generate()
    public = base64.b64encode(key.public_key().public_bytes_raw()).decode()
    ids = set()
    for _ in range(2):
        nonce = client.nonce()
        signed = base64.b64encode(key.sign(bytes.fromhex(nonce))).decode()
        reply = client.register(client.launch(), nonce=nonce, public_key=public, signature=signed).json()
        assert list(reply) == ["agent_id", "access_token", "expires_in"]
        assert re.fullmatch("spiffe://agentwrit.local/agent/orch/task/[0-9a-f]{16}", reply["agent_id"])
        ids.add(reply["agent_id"])
    assert len(ids) == 2


def test_launch_token_for_many_agents_survives_a_bad_id(client: Client) -> None:
    launch_token = client.launch(single_use=False)
    assert problem(client.register(launch_token, task_id="..")) == FAILED
    ids = {client.register(launch_token).json()["agent_id"] for _ in range(3)}
    assert len(ids) == 3


def test_ids_are_unbounded(client: Client) -> None:
    reply = client.register(client.launch(), orch_id="o" * 3000)
    assert reply.status_code == 200
    assert client.valid(reply.json()["access_token"])


def test_launch_token_and_nonce_run_out(client: Client, clock: Time) -> None:
    nonce, launch_token, long_lived = client.nonce(), client.launch(ttl=5), client.launch(ttl=60)
    clock.now += 5.5
    refused = client.register(launch_token, nonce=nonce)
    assert problem(refused) == denied("launch token: launch token expired")
    clock.now += 25
    refused = client.register(long_lived, nonce=nonce)
    assert problem(refused) == denied("nonce: nonce not found or expired")
