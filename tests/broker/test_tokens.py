"""Which tokens the twin calls valid, and how it writes their claims."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agentwrit_guard.devbroker import DevBroker
from agentwrit_guard.devbroker.scopes import covers
from tests.broker.kit import Client
from tests.broker.wire import b64url, given_to
from tests.kit.clock import Time

_DATA = Path(__file__).parent.parent / "vectors" / "data"
_TOKENS = json.loads((_DATA / "tokens.json").read_text(encoding="utf-8"))
_COVER = json.loads((_DATA / "scope_cover.json").read_text(encoding="utf-8"))

NOW = 1_800_000_000
PLAIN: dict[str, Any] = {
    "iss": "",
    "sub": "spiffe://agentwrit.local/agent/o/t/0011223344556677",
    "exp": NOW + 60,
    "nbf": NOW,
    "iat": NOW,
    "jti": "ab" * 16,
    "scope": ["read:data:*"],
    "task_id": "t",
    "orch_id": "o",
}


def forge(broker: DevBroker, payload: Any, *, key: Ed25519PrivateKey | None = None, **header: Any) -> str:
    """A token by the twin's key, or by another; `payload` is an object or raw text."""
    head = {"alg": "EdDSA", "typ": "JWT", "kid": broker.kid} | header
    text = payload if isinstance(payload, str) else json.dumps(payload)
    signed = ".".join(b64url(part.encode()) for part in (json.dumps(head), text))
    return f"{signed}.{b64url((key or broker.private_key).sign(signed.encode()))}"


def judged(client: Client, token: str) -> dict[str, Any] | None:
    reply = client.post("/v1/token/validate", {"token": token}).json()
    claims: dict[str, Any] | None = reply.get("claims")
    assert (claims is not None) == reply["valid"]
    return claims


@pytest.mark.parametrize(
    "header", [{"typ": 5, "crit": ["x"]}, {"kid": ""}, {"kid": None}, {"x": {}}, {"kid": "?", "KID": ""}]
)
def test_headers_that_are_forgiven(client: Client, header: dict[str, Any]) -> None:
    assert judged(client, forge(client.broker, PLAIN, **header)) == PLAIN


@pytest.mark.parametrize(
    "header", [{"alg": "eddsa"}, {"alg": "none"}, {"alg": "Ed25519"}, {"alg": None}, {"kid": "other"}, {"kid": 1}]
)
def test_headers_that_are_not(client: Client, header: dict[str, Any]) -> None:
    assert judged(client, forge(client.broker, PLAIN, **header)) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": 0},
        {"exp": -1},
        {"exp": None},
        {"exp": NOW - 1},
        {"exp": float(NOW + 60)},
        {"exp": str(NOW + 60)},
        {"exp": True},
        {"exp": 2**63},
        {"nbf": NOW + 1},
        {"iat": "now"},
        {"sub": ""},
        {"jti": None},
        {"aud": "https://api.example"},
        {"scope": "read:data:*"},
        {"scope": [1]},
        {"delegation_chain": {}},
        {"delegation_chain": [{"delegated_at": "yesterday"}]},
        {"delegation_chain": [{"delegated_at": ""}]},
        {"delegation_chain": [{"delegated_at": "2026-02-30T00:00:00Z"}]},
        {"delegation_chain": [{"delegated_at": "2026-01-01T00:00:00,5Z"}]},
    ],
)
def test_claims_that_are_refused(client: Client, clock: Time, changes: dict[str, Any]) -> None:
    clock.now = NOW
    assert judged(client, forge(client.broker, PLAIN | changes)) is None


@pytest.mark.parametrize(
    ("changes", "written"),
    [
        ({"exp": NOW}, {}),
        ({"exp": 2**63 - 1}, {}),
        ({"iat": NOW + 3600}, {}),
        ({"nbf": None}, {"nbf": 0}),
        ({"scope": None}, {}),
        ({"scope": ["a", None]}, {"scope": ["a", ""]}),
        ({"aud": ["x"]}, {}),
        ({"unknown": 1}, {"unknown": ...}),
        ({"aud": []}, {"aud": ...}),
        ({"task_id": ""}, {"task_id": ...}),
        ({"chain_hash": "00"}, {}),
        ({"delegation_chain": []}, {"delegation_chain": ...}),
    ],
)
def test_claims_are_written_anew(client: Client, clock: Time, changes: dict[str, Any], written: dict[str, Any]) -> None:
    clock.now = NOW
    sent = PLAIN | changes
    expected = {name: value for name, value in (sent | written).items() if value is not ...}
    assert judged(client, forge(client.broker, sent)) == expected


@pytest.mark.parametrize(
    ("sent", "written"),
    [
        ("2026-01-01T00:00:00.120000000Z", "2026-01-01T00:00:00.12Z"),
        ("2026-01-01T00:00:00.000Z", "2026-01-01T00:00:00Z"),
        ("2026-01-01T00:00:00+02:00", "2026-01-01T00:00:00+02:00"),
        ("2026-01-01T00:00:00-00:00", "2026-01-01T00:00:00Z"),
    ],
)
def test_record_times_are_written_anew(client: Client, clock: Time, sent: str, written: str) -> None:
    clock.now = NOW
    record = {"agent": "a", "scope": None, "delegated_at": sent, "signature": ""}
    claims = judged(client, forge(client.broker, PLAIN | {"delegation_chain": [record]}))
    assert claims is not None
    assert claims["delegation_chain"] == [{"agent": "a", "scope": None, "delegated_at": written}]


def test_payload_is_one_object_with_folded_names(client: Client, clock: Time) -> None:
    clock.now = NOW
    text = json.dumps(PLAIN)
    folded = text.replace('"sub"', '"\u017fUB"').replace('"jti"', '"JTI":"first","Jti"')
    assert judged(client, forge(client.broker, folded)) == PLAIN
    assert judged(client, forge(client.broker, f" {text}\n")) == PLAIN
    assert judged(client, forge(client.broker, f"{text}x")) is None
    assert judged(client, forge(client.broker, f"[{text}]")) is None


def test_spellings_of_one_token(client: Client) -> None:
    token = client.agent().token
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    spellings = [
        token[:-1] + char for char in alphabet if alphabet.index(char) // 16 == alphabet.index(token[-1]) // 16
    ]
    assert len(spellings) == 16
    for spelling in (*spellings, f"{token}\r\n", f"{token[:-5]}\n{token[-5:]}"):
        assert client.valid(spelling)
    header, rest = token.split(".", 1)
    for spelling in (f"{token}=", f" {token}", f"Bearer {token}", f"{token}.", f"{header}\n.{rest}", f"{token} "):
        assert not client.valid(spelling)


def test_token_of_another_key(client: Client, clock: Time) -> None:
    clock.now = NOW
    assert judged(client, forge(client.broker, PLAIN, key=Ed25519PrivateKey.generate())) is None


@pytest.mark.parametrize("case", _TOKENS["tokens"], ids=lambda case: case["name"])
def test_twin_judges_recorded_tokens_as_the_broker_did(case: dict[str, Any]) -> None:
    meta = _TOKENS["meta"]
    settings = {name: meta[name] for name in ("issuer", "audience", "trust_domain")}
    with DevBroker(**settings, clock=lambda: meta["freeze_at"]) as broker, Client(broker) as client:
        for name, level in (("jti", "token"),) if case["name"] == "revoked" else ():
            broker.revoke(level, case["claims"][name])
        reply = client.post("/v1/token/validate", {"token": given_to(broker, meta, case["token"])})
        assert reply.text == case["broker"]["body"]


@pytest.mark.parametrize(("requested", "held", "covered"), _COVER["cases"])
def test_scopes_cover_as_recorded(requested: str, held: str, covered: bool) -> None:
    assert covers(held, requested) is covered
