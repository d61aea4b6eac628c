"""Structure of a token (threats J-01 to J-18, J-33): only a canonical Ed25519-signed JWS is asked about."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from hypothesis import given
from hypothesis import strategies as st

from agentwrit_guard import Allowed, Denied, Guard
from agentwrit_guard.core.decisions import Reason
from agentwrit_guard.core.jws import MAX_TOKEN, is_of_our_kind, parse_jws
from tests.core.kit import REQUEST, TOKEN, bearer, verdict
from tests.kit.stub import StubBroker, invalid
from tests.kit.tokens import KEY, KID, REMOVED, b64, claims, compact, delegated, header, record, sign, token

GOOD = token()
HEADER, PAYLOAD, SIGNATURE = GOOD.split(".")
PUBLIC = KEY.public_key().public_bytes_raw()


def with_header(text: str | bytes) -> str:
    return sign(text.encode() if isinstance(text, str) else text, compact(claims()))


def with_payload(text: str | bytes) -> str:
    return sign(compact(header()), text.encode() if isinstance(text, str) else text)


def hmac_signed(algorithm: str, digest: str, secret: bytes) -> str:
    signed = f"{b64(compact(header(alg=algorithm)))}.{PAYLOAD}"
    return f"{signed}.{b64(hmac.new(secret, signed.encode(), digest).digest())}"


def es256_signed() -> str:
    signed = f"{b64(compact(header(alg='ES256')))}.{PAYLOAD}"
    der = ec.generate_private_key(ec.SECP256R1()).sign(signed.encode(), ec.ECDSA(hashes.SHA256()))
    r, s = utils.decode_dss_signature(der)
    return f"{signed}.{b64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def rs256_signed() -> str:
    signed = f"{b64(compact(header(alg='RS256')))}.{PAYLOAD}"
    key = rsa.generate_private_key(65537, 2048)
    return f"{signed}.{b64(key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def head(**changes: object) -> str:
    return token(head=header(**changes))


JWK = json.dumps({"crv": "Ed25519", "kty": "OKP", "x": b64(PUBLIC)}, separators=(",", ":"))

BAD = [
    *[pytest.param(head(alg=alg), id=f"J-01 alg {alg}") for alg in ("none", "None", "NONE", "nOnE", "")],
    pytest.param(f"{HEADER}.{PAYLOAD}.", id="J-01 empty signature"),
    pytest.param(f"{b64(compact(header(alg='none')))}.{PAYLOAD}.", id="J-01 none and an empty signature"),
    pytest.param(f"{b64(compact(header(alg='none')))}.{PAYLOAD}.{SIGNATURE}", id="J-01 none and an old signature"),
    pytest.param(f"{HEADER}.{PAYLOAD}", id="J-01 no signature"),
    *[
        pytest.param(hmac_signed(alg, digest, secret), id=f"J-02 {alg} by {name}")
        for alg, digest in (("HS256", "sha256"), ("HS384", "sha384"), ("HS512", "sha512"))
        for name, secret in (("raw key", PUBLIC), ("base64url", b64(PUBLIC).encode()), ("JWK", JWK.encode()))
    ],
    pytest.param(es256_signed(), id="J-03 ES256"),
    pytest.param(rs256_signed(), id="J-03 RS256"),
    *[pytest.param(head(alg=alg), id=f"J-03 alg {alg}") for alg in ("Ed25519", "ES512", "PS256", "ML-DSA-44")],
    *[
        pytest.param(head(alg=alg), id=f"J-04 alg {alg!a}")
        for alg in ("Ed448", " EdDSA", "EdDSA ", "EdDSA\x00", "eddsa", "EDDSA", "\u0395dDSA", ["EdDSA"], 7, True, {})
    ],
    pytest.param(head(alg=None), id="J-04 alg null"),
    pytest.param(head(alg=REMOVED), id="J-05 alg missing"),
    *[
        pytest.param(with_header(text), id=f"J-05 header {text!a}")
        for text in ("{}", "[]", '"EdDSA"', "null", "1", '{"alg":"EdDSA"', '{"alg":"EdDSA"}}', "not json",
                     '{"alg":"EdDSA"}\n{}', "{'alg':'EdDSA'}", '{"alg":"EdDSA",}', '{"alg":"EdDSA"/**/}')
    ],
    pytest.param(with_header(b"\xef\xbb\xbf" + compact(header())), id="J-05 UTF-8 BOM"),
    pytest.param(with_header('{"alg":"EdDSA"}'.encode("utf-16")), id="J-05 UTF-16"),
    pytest.param(with_header('{"alg":"EdDSA"}'.encode("utf-32-le")), id="J-05 UTF-32"),
    pytest.param(with_header(b'{"alg":"EdDSA","x":"\xff"}'), id="J-05 invalid UTF-8"),
    pytest.param(with_header(b'{"alg":"EdDSA","x":"\xc0\xae"}'), id="J-05 overlong UTF-8"),
    pytest.param(with_header(b'{"alg":"EdDSA","x":"\xed\xa0\x80"}'), id="J-05 surrogate as UTF-8"),
    pytest.param(with_header('{"alg":"none","alg":"EdDSA"}'), id="J-06 alg twice, good last"),
    pytest.param(with_header('{"alg":"EdDSA","alg":"none"}'), id="J-06 alg twice, good first"),
    pytest.param(with_header('{"alg":"EdDSA","x":{"y":1,"y":1}}'), id="J-06 twice, deeper"),
    pytest.param(with_header('{"alg":"EdDSA","\\u0061lg":"EdDSA"}'), id="J-06 twice, once escaped"),
    *[
        pytest.param(head(**{name: "EdDSA"}), id=f"J-06 header {name!a}")
        for name in ("ALG", "Alg", "aLg", "TYP", "Kid", "KID", "\u212aid")
    ],
    *[
        pytest.param(token(**{name: "x"}), id=f"J-06 claim {name!a}")
        for name in ("SUB", "Exp", "IAT", "Jti", "\u017fub", "\u017fcope", "tas\u212a_id", "Delegation_Chain",
                     "chain_ha\u017fh", "ISS", "AUD", "NBF", "SID", "Orch_ID")
    ],
    pytest.param(with_payload(compact(claims())[:-1] + b',"sub":"admin"}'), id="J-06 sub twice"),
    pytest.param(with_payload(compact(claims())[:-1] + b',"x":1,"x":1}'), id="J-06 unknown claim twice"),
    *[
        pytest.param(head(kid=kid), id=f"J-07 kid {str(kid)[:24]!a}")
        for kid in ("../../etc/passwd", "\n[AA:AUDIT:OK] x", "k" * 5000, "", KID + "\n", KID[:-1], KID + "A",
                    KID[:-1] + "+", 7, [KID])
    ],
    pytest.param(head(kid=None), id="J-07 kid null"),
    *[
        pytest.param(head(**{name: value}), id=f"J-08 {name} {value!a:.20}")
        for name in ("jwk", "jku", "x5u", "x5c", "x5t", "x5t#S256", "X5U", "JWK", "jw\u212a", "x5-new")
        for value in ({}, "http://169.254.169.254/keys", None, [], "")
    ],
    *[
        pytest.param(head(**{name: value}), id=f"J-09 {name} {value!a}")
        for name in ("crit", "CRIT")
        for value in (["exp"], ["b64"], ["x"], [], "x", None)
    ],
    pytest.param(head(b64=False, crit=["b64"]), id="J-10 b64 with crit"),
    *[pytest.param(head(b64=value), id=f"J-10 b64 {value}") for value in (False, True, None)],
    pytest.param(f"{HEADER}..{SIGNATURE}", id="J-10 detached"),
    *[
        pytest.param(head(typ=typ), id=f"J-11 typ {typ!a}")
        for typ in ("at+jwt", "JOSE", "dpop+jwt", "application/jwt", "", " JWT", "JWT\n", None, 1, ["JWT"], "J\u0057T ")
    ],
    *[
        pytest.param(head(**{name: value}), id=f"J-12 {name}")
        for name, value in (("cty", "JWT"), ("zip", "DEF"), ("enc", "A128GCM"), ("epk", {}), ("p2c", 10**9),
                            ("p2s", "x"), ("iv", "x"), ("tag", "x"), ("apu", "x"), ("apv", "x"), ("ZIP", "DEF"))
    ],
    pytest.param(f"{HEADER}.{PAYLOAD}.{PAYLOAD}.{PAYLOAD}.{SIGNATURE}", id="J-12 five parts"),
    *[
        pytest.param(text, id=f"J-13 {name}")
        for name, text in (
            ("0 parts", "x"), ("1 dot", "."), ("2 dots", ".."), ("3 dots", "..."), ("4 parts", f"{GOOD}.{SIGNATURE}"),
            ("trailing dot", f"{GOOD}."), ("leading dot", f".{GOOD}"), ("no header", f".{PAYLOAD}.{SIGNATURE}"),
            ("header only", HEADER), ("prefix kept", f"Bearer:{GOOD}"),
        )
    ],
    pytest.param(
        json.dumps({"payload": PAYLOAD, "protected": HEADER, "signature": SIGNATURE}), id="J-13 JSON serialised"
    ),
    pytest.param(f"{HEADER}=.{PAYLOAD}.{SIGNATURE}", id="J-14 padded header"),
    pytest.param(f"{HEADER}.{PAYLOAD}==.{SIGNATURE}", id="J-14 padded payload"),
    pytest.param(f"{HEADER}.{PAYLOAD}.{SIGNATURE}==", id="J-14 padded signature"),
    pytest.param(f"{HEADER}.{PAYLOAD}.{SIGNATURE[:-2]}==", id="J-14 padded to the right length"),
    pytest.param(f"{HEADER}.{PAYLOAD}.+{SIGNATURE[1:]}", id="J-14 plus"),
    pytest.param(f"{HEADER}.{PAYLOAD}./{SIGNATURE[1:]}", id="J-14 slash"),
    pytest.param(f"{HEADER[:9]}\n{HEADER[9:]}.{PAYLOAD}.{SIGNATURE}", id="J-14 LF in the header"),
    pytest.param(f"{HEADER}.{PAYLOAD[:9]} {PAYLOAD[9:]}.{SIGNATURE}", id="J-14 blank in the payload"),
    pytest.param(f"{HEADER}.{PAYLOAD}.{SIGNATURE[:-1]}\n", id="J-14 LF at the end"),
    pytest.param(f"{HEADER}.{PAYLOAD}.{SIGNATURE}\n", id="J-14 LF after the end"),
    pytest.param(f"{HEADER}.{PAYLOAD}.{SIGNATURE[:-1]}\u0660", id="J-14 a digit of another script"),
    pytest.param(f"{HEADER}.{PAYLOAD}.{b64(b's' * 63)}", id="J-16 63 bytes"),
    pytest.param(f"{HEADER}.{PAYLOAD}.{b64(b's' * 65)}", id="J-16 65 bytes"),
    pytest.param(f"{HEADER}.{PAYLOAD}.{SIGNATURE[:-1]}", id="J-16 85 characters"),
    *[
        pytest.param(with_payload(text), id=f"J-18 payload {text[:12]!a}")
        for text in ("", "null", "[]", '"x"', "1", "true", "{", "{}x", "\ufeff{}", "{'a':1}", '{"a":.5}', '{"a":01}',
                     '{"a":NaN}', '{"a":Infinity}', '{"a":-Infinity}', '{"a":"\t"}', '{"a":1}\x00')
    ],
    pytest.param(with_payload('{"x":' + "[" * 16 + "]" * 16 + "}"), id="J-18 depth 17"),
    pytest.param(with_payload('{"x":' + '{"y":' * 1000 + "1" + "}" * 1001), id="J-18 depth 1000"),
    pytest.param(with_payload("[" * 5000), id="J-18 depth 5,000, unclosed"),
    pytest.param(with_payload(compact(claims())[:-1] + b',"x":' + b"1" * 5000 + b"}"), id="J-18 a number of 5,000"),
    pytest.param(with_payload(compact(claims())[:-1] + b',"x":0.' + b"1" * 100 + b"}"), id="J-18 a long fraction"),
    pytest.param(with_payload(compact(claims())[:-1] + b',"x":"\\ud800"}'), id="J-33 in an unknown claim"),
    pytest.param(with_payload(compact(claims())[:-1] + b',"\\udfff":1}'), id="J-33 as a name"),
    pytest.param(with_payload(compact(claims(jti="JTI")).replace(b"JTI", b"a\\uD800b")), id="J-33 in jti"),
    pytest.param(with_payload(compact(claims(scope=["S"])).replace(b'"S"', b'"read:a:\\udc00"')), id="J-33 in scope"),
    pytest.param(with_header('{"alg":"EdDSA","x":"\\udead"}'), id="J-33 in the header"),
]  # fmt: skip


@pytest.mark.parametrize("text", BAD)
def test_j_structure_is_refused_unasked(guard: Guard, text: str) -> None:
    assert parse_jws(text) is None
    decision = guard.decide([b"Bearer " + text.encode()])
    blank = any(not 0x20 < code < 0x7F or code == 0x2C for code in text.encode())
    assert verdict(decision) == (REQUEST if blank or len(text) > MAX_TOKEN or not text else TOKEN)
    assert isinstance(decision, Denied)
    if not blank and len(text) <= MAX_TOKEN:
        assert decision.reason is Reason.MALFORMED_TOKEN


GOOD_ONES = [
    pytest.param(head(kid=REMOVED), id="J-07 no kid"),
    pytest.param(head(kid="-" * 43), id="J-07 another thumbprint"),
    pytest.param(head(typ=REMOVED), id="J-11 no typ"),
    pytest.param(head(typ="jwt"), id="J-11 jwt"),
    pytest.param(head(typ="Jwt"), id="J-11 Jwt"),
    pytest.param(head(nonce="x", x={"a": [1]}), id="J-32 unknown header members"),
    pytest.param(with_header('{ "alg" :\t"EdDSA"\r\n}'), id="J-05 white space of JSON"),
    pytest.param(with_header('{"\\u0061lg":"EdDS\\u0041"}'), id="J-06 escapes alone"),
    pytest.param(token(x={"y": [[[[[[[[[[[[[["deep"]]]]]]]]]]]]]]}), id="J-18 depth 16"),
    pytest.param(token(x="[[[[[[[[[[[[[[[[[[[[[[[[{{{{{{{{"), id="J-18 brackets in a string"),
    pytest.param(token(x='\\"[[[[[[[[[[[[[[[[[[[["'), id="J-18 brackets behind escapes"),
    pytest.param(token(x=int("9" * 64)), id="J-18 a number of 64"),
    pytest.param(with_payload(compact(claims())[:-1] + b',"x":1e400,"y":-0.5E-3}'), id="J-18 floats nobody reads"),
    pytest.param(with_payload(compact(claims())[:-1] + b',"x":"\\ud83d\\ude00"}'), id="J-33 a surrogate pair"),
    pytest.param(token(__proto__={"admin": True}, __class__="x"), id="J-34 hostile names"),
    pytest.param(token(x=2**63, y=-(2**63)), id="J-34 edge integers"),
]  # fmt: skip


@pytest.mark.parametrize("text", GOOD_ONES)
def test_j_structure_that_passes_still_needs_the_brokers_word(guard: Guard, text: str) -> None:
    assert parse_jws(text) is not None
    assert verdict(guard.decide(bearer(text))) == "lookup"


def spellings(segment: str, unused: int) -> list[str]:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet.index(segment[-1])
    return [segment[:-1] + alphabet[last | bits] for bits in range(1, 2**unused)]


def test_j_15_one_token_has_one_spelling(asking: Guard, stub: StubBroker) -> None:
    assert verdict(asking.check(bearer(GOOD))) == "allowed"
    others = [f"{HEADER}.{PAYLOAD}.{tail}" for tail in spellings(SIGNATURE, 4)]
    assert len(others) == 15
    for filler in ("", "x", "xx"):
        first, middle, last = token(x=filler).split(".")
        unused = {0: 0, 2: 4, 3: 2}[len(middle) % 4]
        others += [f"{first}.{tail}.{last}" for tail in spellings(middle, unused)] if unused else []
    for text in others:
        assert parse_jws(text) is None
        assert verdict(asking.check(bearer(text))) == TOKEN, text
    assert stub.calls == 1


def test_j_17_no_flipped_bit_rides_on_a_cached_token(asking: Guard, stub: StubBroker) -> None:
    assert verdict(asking.check(bearer(GOOD))) == "allowed"
    stub.answer = invalid
    text = GOOD.encode()
    for index in range(len(text)):
        for bit in range(8):
            flipped = bytearray(text)
            flipped[index] ^= 1 << bit
            decision = asking.decide([b"Bearer " + bytes(flipped)])
            assert not isinstance(decision, Allowed), (index, bit)
    assert verdict(asking.decide(bearer(GOOD))) == "allowed"


@pytest.mark.parametrize("make_token", [
    lambda: "A" * 8193,
    lambda: "." * 100_000,
    lambda: f"{HEADER}.{b64(b'[' * 200_000)}.{SIGNATURE}",
    lambda: with_payload("{" + ",".join(f'"k{n}":1' for n in range(1_000_000)) + "}"),
], ids=["J-13 just too long", "J-13 100,000 dots", "J-18 nesting of 200,000", "J-18 a million keys"])  # fmt: skip
def test_j_oversized_tokens_are_refused_by_the_parser_itself(make_token: Callable[[], str]) -> None:
    assert parse_jws(make_token()) is None


def test_a_parsed_token_is_not_shown() -> None:
    jws = parse_jws(GOOD)
    assert jws is not None
    assert repr(jws) == "Jws()"
    assert (jws.kid, jws.payload, jws.payload_text) == (KID, claims(), compact(claims()).decode())


@given(st.text(max_size=200) | st.text(alphabet="AQgw_-.=eyJ", max_size=300))
def test_j_37_any_text_is_refused_without_a_crash(text: str) -> None:
    assert parse_jws(text) is None


@given(st.binary(max_size=120), st.binary(max_size=120))
def test_j_any_signed_bytes_give_an_answer(head_bytes: bytes, payload: bytes) -> None:
    parse_jws(sign(head_bytes, payload))
    is_of_our_kind(sign(head_bytes, payload))


OURS = [
    pytest.param(GOOD, True, id="good"),
    pytest.param(GOOD[:-10], True, id="cut short"),
    pytest.param(f"{HEADER}.{PAYLOAD}", True, id="without a signature"),
    pytest.param(token(sub="admin"), True, id="an admin's"),
    pytest.param(token(sub="app:x"), True, id="an app's"),
    pytest.param(token(sub="SPIFFE://x"), True, id="SPIFFE in capitals"),
    pytest.param(token(head=header(alg="none")), True, id="our subject, no algorithm"),
    pytest.param(token(head=header(alg="HS256")), True, id="our subject, another algorithm"),
    pytest.param(f"!!.{PAYLOAD}.x", True, id="our subject, a broken header"),
    pytest.param(f"!{HEADER}.{PAYLOAD[:5]}!!{PAYLOAD[5:]}.x", True, id="characters that a decoder overlooks"),
    pytest.param(f"{HEADER}.!!.x", True, id="our algorithm, a broken payload"),
    pytest.param(token(head=header(alg="EDDSA"), sub=REMOVED), True, id="our algorithm in capitals, no subject"),
    pytest.param(token(sub=7), True, id="a subject of another type"),
    pytest.param(token(delegated(record())), True, id="delegated"),
    pytest.param(token(sub="user@example.com"), False, id="EdDSA of somebody else"),
    pytest.param(token(head=header(alg="RS256"), sub="auth0|1"), False, id="a human's"),
    pytest.param(token(head=header(alg="RS256"), sub="admin"), False, id="another issuer's admin"),
    pytest.param(token(head=header(alg=["EdDSA"]), sub=REMOVED), False, id="no algorithm to read"),
    pytest.param("opaque-session-key", False, id="opaque"),
    pytest.param("", False, id="empty"),
    pytest.param("[].[].[]", False, id="no objects"),
    pytest.param(f"{b64(b'[' * 5000)}.{b64(b'{' * 3000)}.x", False, id="nesting bombs"),
    pytest.param(f"{b64(b'[1]')}.{b64(b'[2]')}.x", False, id="lists"),
]


@pytest.mark.parametrize("text, ours", OURS)
def test_whether_a_bearer_means_to_be_ours(text: str, ours: bool) -> None:
    assert is_of_our_kind(text) is ours


def test_a_bearer_of_any_length_is_ours_by_its_subject() -> None:
    for length in range(20):
        made = token(head=header(alg="none", x="x" * length), y="y" * length)
        assert is_of_our_kind(made), length


def test_j_02_the_public_key_is_what_the_forger_has() -> None:
    thumbprint = b64(hashlib.sha256(JWK.encode()).digest())
    assert len(thumbprint) == len(KID)
    assert parse_jws(token(head=header(kid=thumbprint))) is not None
