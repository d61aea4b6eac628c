"""Pinned broker keys: forged tokens die here, a bad key at start-up; the broker is still asked (threats J, CFG-07)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from agentwrit_guard import Allowed, Denied
from agentwrit_guard.errors import ConfigurationError
from tests.core.conftest import GuardMaker
from tests.core.kit import TOKEN, bearer, verdict
from tests.kit.stub import StubBroker, invalid
from tests.kit.tokens import KEY, b64, claims, compact, header, sign, token

OTHER_KEY = Ed25519PrivateKey.from_private_bytes(b"o" * 32)


def raw(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


def pem(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def jwk(key: Ed25519PrivateKey, **changes: object) -> dict[str, object]:
    return {"kty": "OKP", "crv": "Ed25519", "x": b64(raw(key)), **changes}


def thumbprint(key: Ed25519PrivateKey) -> str:
    from hashlib import sha256

    return b64(sha256(f'{{"crv":"Ed25519","kty":"OKP","x":"{b64(raw(key))}"}}'.encode()).digest())


def issued(key: Ed25519PrivateKey = KEY, kid: str | None = "own", **changes: Any) -> str:
    named = thumbprint(key) if kid == "own" else kid
    head = header(kid=named) if named is not None else {"alg": "EdDSA", "typ": "JWT"}
    return sign(compact(head), compact(claims(**changes)), key)


@pytest.fixture
def pinned(tmp_path: Path) -> str:
    path = tmp_path / "broker.pem"
    path.write_bytes(pem(KEY))
    return str(path)


@pytest.mark.parametrize("kid", ["own", None])
def test_own_tokens_are_asked_about_and_pass(make: GuardMaker, stub: StubBroker, pinned: str, kid: str | None) -> None:
    guard = make(stub.url, pinned_keys=[pinned])
    assert isinstance(guard.check(bearer(issued(kid=kid))), Allowed)
    assert stub.calls == 1


def test_a_good_signature_is_no_reason_to_accept(make: GuardMaker, stub: StubBroker, pinned: str) -> None:
    stub.answer = invalid
    guard = make(stub.url, pinned_keys=[pinned])
    decision = guard.check(bearer(issued()))
    assert isinstance(decision, Denied)
    assert (decision.reason.code, stub.calls) == ("rejected_by_broker", 1)


@pytest.mark.parametrize(
    ("forged", "reason"),
    [
        (issued(OTHER_KEY), "unknown_key"),
        (issued(OTHER_KEY, kid=None), "bad_signature"),
        (issued(OTHER_KEY, kid=thumbprint(KEY)), "bad_signature"),
        (issued(KEY, kid=thumbprint(OTHER_KEY)), "unknown_key"),
        (issued().rpartition(".")[0] + "." + b64(bytes(64)), "bad_signature"),
        (issued().rpartition(".")[0] + "." + b64(b"\xff" * 64), "bad_signature"),
        (".".join([*issued().split(".")[:1], *issued(sub="spiffe://agentwrit.local/agent/a/b/c").split(".")[1:2],
                   *issued().split(".")[2:]]), "bad_signature"),
    ],
)  # fmt: skip
def test_j_35_forged_tokens_die_without_a_call(
    make: GuardMaker, stub: StubBroker, pinned: str, forged: str, reason: str
) -> None:
    guard = make(stub.url, pinned_keys=[pinned])
    decision = guard.check(bearer(forged))
    assert verdict(decision) == TOKEN
    assert isinstance(decision, Denied)
    assert (decision.reason.code, stub.calls) == (reason, 0)


def test_b_20_a_new_key_is_an_event(
    make: GuardMaker, stub: StubBroker, pinned: str, caplog: pytest.LogCaptureFixture
) -> None:
    guard = make(stub.url, pinned_keys=[pinned])
    for text in (issued(OTHER_KEY), issued(OTHER_KEY, kid=None)):
        decision = guard.check(bearer(text))
        assert isinstance(decision, Denied)
        guard.record(decision, phase="middleware", front="asgi", method="GET", path="/", request_id="r")
        assert not any(part in caplog.text for part in text.split("."))
    assert [entry.event for entry in caplog.records] == ["key_rotated", "bad_signature"]  # type: ignore[attr-defined]
    assert "pinned_keys" in caplog.text


def test_malleated_signature_is_refused(make: GuardMaker, stub: StubBroker, pinned: str) -> None:
    """S plus the group's order is another spelling of the same signature (RFC 8032, 5.1.7)."""
    order = 2**252 + 27742317777372353535851937790883648493
    text, _, last = issued().rpartition(".")
    import base64

    signature = base64.urlsafe_b64decode(last + "==")
    bigger = (int.from_bytes(signature[32:], "little") + order).to_bytes(32, "little")
    guard = make(stub.url, pinned_keys=[pinned])
    assert verdict(guard.check(bearer(f"{text}.{b64(signature[:32] + bigger)}"))) == TOKEN
    assert stub.calls == 0


FORMS: dict[str, Any] = {
    "pem": lambda one, two: pem(one) + b"a word between\n" + pem(two),
    "jwk set": lambda one, two: json.dumps({"keys": [jwk(one, use="sig", alg="EdDSA"), jwk(two, kid="any")]}).encode(),
}


@pytest.mark.parametrize("form", FORMS)
def test_two_keys_in_one_file_during_a_rotation(make: GuardMaker, stub: StubBroker, tmp_path: Path, form: str) -> None:
    path = tmp_path / "keys"
    path.write_bytes(FORMS[form](KEY, OTHER_KEY))
    guard = make(stub.url, pinned_keys=[str(path)])
    for key in (KEY, OTHER_KEY):
        for kid in ("own", None):
            assert isinstance(guard.check(bearer(issued(key, kid))), Allowed)


def test_two_files(make: GuardMaker, stub: StubBroker, tmp_path: Path) -> None:
    (tmp_path / "one.jwk").write_text(json.dumps(jwk(KEY)))
    (tmp_path / "two.pem").write_bytes(pem(OTHER_KEY))
    guard = make(stub.url, pinned_keys=[str(tmp_path / "one.jwk"), str(tmp_path / "two.pem")])
    assert isinstance(guard.check(bearer(issued(KEY))), Allowed)
    assert isinstance(guard.check(bearer(issued(OTHER_KEY))), Allowed)


def test_thumbprint_narrows(make: GuardMaker, stub: StubBroker, tmp_path: Path) -> None:
    path = tmp_path / "keys.pem"
    path.write_bytes(pem(KEY) + pem(OTHER_KEY))
    guard = make(stub.url, pinned_keys=[str(path)], pinned_thumbprints=[thumbprint(KEY)])
    assert isinstance(guard.check(bearer(issued(KEY))), Allowed)
    assert verdict(guard.check(bearer(issued(OTHER_KEY)))) == TOKEN


def test_identities_of_other_pins_are_not_found(make: GuardMaker, stub: StubBroker, pinned: str) -> None:
    """C-26: the pins are part of what an identity is kept under. Shown by two guards that never share one."""
    with_pin, without = make(stub.url, pinned_keys=[pinned]), make(stub.url)
    forged = issued(OTHER_KEY)
    assert isinstance(without.check(bearer(forged)), Allowed)  # the stub likes every token
    assert verdict(with_pin.check(bearer(forged))) == TOKEN


SMALL = {
    "zero": bytes(32),
    "identity": (1).to_bytes(32, "little"),
    "order 8": bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    "not canonical": (2**255 - 19 + 1).to_bytes(32, "little"),
    "no point": (7).to_bytes(32, "little"),
}


def as_jwk(x: bytes) -> bytes:
    return json.dumps({"kty": "OKP", "crv": "Ed25519", "x": b64(x)}).encode()


PRIVATE = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
EC = generate_private_key(SECP256R1()).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
BAD: dict[str, tuple[bytes, str]] = {
    **{f"weak: {name}": (as_jwk(x), "must not be trusted") for name, x in SMALL.items() if name != "no point"},
    "empty": (b"", "no public key"),
    "words": (b"hello", "no public key"),
    "private pem": (PRIVATE, "private key"),
    "private jwk": (json.dumps(jwk(KEY, d=b64(b"k" * 32))).encode(), "private key"),
    "elliptic curve": (EC, "not Ed25519"),
    "broken pem": (pem(KEY).replace(b"MCow", b"AAAA"), "PEM"),
    "json that is cut": (b'{"kty": "OKP"', "strict JSON"),
    "json with a name twice": (b'{"kty":"OKP","kty":"OKP"}', "strict JSON"),
    "wrong kty": (json.dumps(jwk(KEY, kty="EC")).encode(), "kty OKP"),
    "wrong crv": (json.dumps(jwk(KEY, crv="X25519")).encode(), "kty OKP"),
    "for encryption": (json.dumps(jwk(KEY, use="enc")).encode(), "EdDSA signatures"),
    "wrong alg": (json.dumps(jwk(KEY, alg="HS256")).encode(), "EdDSA signatures"),
    "short x": (json.dumps(jwk(KEY, x=b64(bytes(31)))).encode(), "32 bytes"),
    "padded x": (json.dumps(jwk(KEY, x=b64(raw(KEY)) + "=")).encode(), "32 bytes"),
    "x is a number": (json.dumps(jwk(KEY, x=7)).encode(), "32 bytes"),
    "empty set": (b'{"keys": []}', "no public key"),
    "set of words": (b'{"keys": ["a"]}', "kty OKP"),
    "set that is none": (b'{"keys": 7}', "no public key"),
    "one good, one bad": (pem(KEY) + EC, "not Ed25519"),
    "too long": (b" " * 70_000, "over 65536"),
}


@pytest.mark.parametrize("name", BAD)
def test_cfg_07_a_bad_key_fails_at_start_up(make: GuardMaker, tmp_path: Path, name: str) -> None:
    content, text = BAD[name]
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=f"pinned_keys.*{text}"):
        make(pinned_keys=[str(path)])


def test_cfg_07_a_file_that_cannot_be_read(make: GuardMaker, tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(ConfigurationError, match=r"pinned_keys names .* cannot be read"):
            make(pinned_keys=[str(path)])


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"pinned_keys": "/one/path"}, "pinned_keys must be a list"),
        ({"pinned_keys": [""]}, "pinned_keys must be a list of non-empty"),
        ({"pinned_keys": [7]}, "pinned_keys must be a list"),
        ({"pinned_thumbprints": ["x" * 43]}, "pinned_thumbprints is set without pinned_keys"),
    ],
)
def test_cfg_07_settings(make: GuardMaker, settings: Any, text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        make(**settings)


@pytest.mark.parametrize(("wanted", "text"), [("x" * 43, "but the keys of pinned_keys are"), ("short", "no RFC 7638")])
def test_cfg_07_a_thumbprint_that_no_key_has(make: GuardMaker, pinned: str, wanted: str, text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        make(pinned_keys=[pinned], pinned_thumbprints=[wanted])


def test_environment_spells_lists_with_commas(
    monkeypatch: pytest.MonkeyPatch, stub: StubBroker, pinned: str, make: GuardMaker
) -> None:
    from agentwrit_guard import Guard

    monkeypatch.setenv("AGENTWRIT_BROKER_URL", stub.url)
    monkeypatch.setenv("AGENTWRIT_PINNED_KEYS", f"{pinned} , {pinned}")
    monkeypatch.setenv("AGENTWRIT_RESOURCES", "orders, customers")
    settings = Guard.from_env().settings
    assert settings.pinned_keys == (pinned, pinned)
    assert settings.resources == ("customers", "orders")
    assert os.environ["AGENTWRIT_PINNED_KEYS"]


def test_a_token_of_the_tests_is_signed_as_the_broker_does() -> None:
    assert token().count(".") == 2
