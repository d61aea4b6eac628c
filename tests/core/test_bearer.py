"""Credentials in (threats H), refusals out."""

from __future__ import annotations

import json
import re
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentwrit_guard import Guard, all_of
from agentwrit_guard.core.bearer import (
    Token,
    is_foreign,
    parse_authorization,
    refuse,
    token_in_query,
    valid_realm,
)
from agentwrit_guard.core.decisions import Denied, Reason
from agentwrit_guard.core.requirements import Shortfall
from tests.core.kit import NONE, REQUEST, bearer, verdict
from tests.kit.tokens import claims, compact, header, sign, token

GOOD = token().encode()
OTHER = token(jti="another").encode()


def of_size(size: int) -> str:
    """A token of exactly so many bytes, filled up by a claim that nobody reads."""
    missing = size - len(sign(compact(header()), compact(claims(x=""))))
    for filler in range(missing * 3 // 4 - 3, missing * 3 // 4 + 3):
        made = sign(compact(header()), compact(claims(x="f" * filler)))
        if len(made) == size:
            return made
    raise AssertionError(size)


CREDENTIALS = [
    pytest.param([], NONE, id="H-01 no header"),
    pytest.param([b""], NONE, id="H-02 empty"),
    pytest.param([b" "], NONE, id="H-02 one blank"),
    pytest.param([b" \t   \t"], NONE, id="H-02 blanks and tabs"),
    pytest.param([b"Bearer"], REQUEST, id="H-03 scheme alone"),
    pytest.param([b"Bearer "], REQUEST, id="H-03 scheme and blank"),
    pytest.param([b"bEARER \t "], REQUEST, id="H-03 scheme and blanks"),
    pytest.param([b"Basic dXNlcjpwYXNz"], NONE, id="H-04 Basic"),
    pytest.param([b"DPoP " + GOOD], NONE, id="H-04 DPoP with a good token"),
    pytest.param([b"Bear " + GOOD], NONE, id="H-04 prefix of ours"),
    pytest.param([b"Bearers " + GOOD], NONE, id="H-04 longer than ours"),
    pytest.param([b"Negotiate"], NONE, id="H-04 scheme without parameters"),
    pytest.param([b"x-bearer " + GOOD], NONE, id="H-04 ours at the end"),
    pytest.param([b"Bearer " + GOOD], "lookup", id="H-05 Bearer"),
    pytest.param([b"bearer " + GOOD], "lookup", id="H-05 bearer"),
    pytest.param([b"BeArEr " + GOOD], "lookup", id="H-05 BeArEr"),
    pytest.param([b"Bearer " + GOOD, b"Bearer " + GOOD], REQUEST, id="H-06 twice the same"),
    pytest.param([b"Bearer " + GOOD, b"Bearer bad"], REQUEST, id="H-06 good then bad"),
    pytest.param([b"Bearer bad", b"Bearer " + GOOD], REQUEST, id="H-06 bad then good"),
    pytest.param([b"Bearer " + GOOD, b""], REQUEST, id="H-06 good then empty"),
    pytest.param([b"", b""], REQUEST, id="H-06 empty twice"),
    pytest.param([b"Basic x", b"Bearer " + GOOD], REQUEST, id="H-06 two schemes"),
    pytest.param([b"Bearer " + GOOD] * 3, REQUEST, id="H-06 three times"),
    pytest.param([b"Bearer " + GOOD + b"," + b"Bearer " + GOOD], REQUEST, id="H-06 joined by a comma"),
    pytest.param([b"Bearer " + GOOD + b", " + b"Bearer " + GOOD], REQUEST, id="H-06 joined by comma and blank"),
    pytest.param([b"Bearer a, Bearer b"], REQUEST, id="H-07 two bearers"),
    pytest.param([b"Bearer a,b"], REQUEST, id="H-07 comma in the token"),
    pytest.param([b"Bearer " + GOOD + b","], REQUEST, id="H-07 trailing comma"),
    pytest.param([b",Bearer " + GOOD], REQUEST, id="H-07 leading comma"),
    pytest.param([b'Digest a="b",c="d"'], REQUEST, id="H-07 comma under another scheme"),
    pytest.param([b"Basic x, Bearer " + GOOD], REQUEST, id="H-07 bearer behind another scheme"),
    pytest.param([b","], REQUEST, id="H-07 nothing but a comma"),
    pytest.param([b"Bearer  " + GOOD], "lookup", id="H-08 two blanks"),
    pytest.param([b"Bearer" + b" " * 40 + GOOD], "lookup", id="H-08 many blanks"),
    pytest.param([b"Bearer\t" + GOOD], REQUEST, id="H-08 tab"),
    pytest.param([b"Bearer \t" + GOOD], REQUEST, id="H-08 blank and tab"),
    pytest.param([b"Bearer " + GOOD + b" " + GOOD], REQUEST, id="H-08 two tokens"),
    pytest.param([b"Bearer " + GOOD + b"\tx"], REQUEST, id="H-08 tab and rest"),
    pytest.param([b"Bearer" + GOOD], NONE, id="H-04 no blank at all"),
    pytest.param([b"Bearer=" + GOOD], REQUEST, id="H-08 no scheme to read"),
    pytest.param([b"Bearer " + GOOD + b" "], "lookup", id="H-09 blank after"),
    pytest.param([b"Bearer " + GOOD + b"\t \t"], "lookup", id="H-09 tabs after"),
    pytest.param([b"Bearer \xe2\x80\x8b" + GOOD], REQUEST, id="H-11 zero width space"),
    pytest.param([b"Bearer " + "tökén".encode()], REQUEST, id="H-11 utf-8"),
    pytest.param([b"Bearer " + GOOD + b"\n"], REQUEST, id="H-13 trailing LF"),
    pytest.param([b"Bearer\r\n " + GOOD], REQUEST, id="H-13 folded"),
    pytest.param([b"Bearer " + GOOD + b"\r\nX-Admin: 1"], REQUEST, id="H-13 injected header"),
    pytest.param([b"\nBearer " + GOOD], REQUEST, id="H-13 leading LF"),
]


@pytest.mark.parametrize("entries, expected", CREDENTIALS)
def test_h_credentials(guard: Guard, entries: list[bytes], expected: str) -> None:
    assert verdict(guard.decide(entries)) == expected


@pytest.mark.parametrize("where", ["before the scheme", "after the scheme", "before", "inside", "after"])
def test_h_10_h_11_h_12_no_byte_but_printable_ascii_is_overlooked(guard: Guard, where: str) -> None:
    for code in [*range(0x20), *range(0x7F, 0x100)]:
        if code == 0x09:
            continue
        byte = bytes([code])
        value = {
            "before the scheme": byte + b"Bearer " + GOOD,
            "after the scheme": b"Bearer" + byte + GOOD,
            "before": b"Bearer " + byte + GOOD,
            "inside": b"Bearer " + GOOD[:200] + byte + GOOD[200:],
            "after": b"Bearer " + GOOD + byte,
        }[where]
        assert verdict(guard.decide([value])) == REQUEST, value


def test_h_15_the_largest_token_is_judged_and_one_byte_more_is_not(guard: Guard) -> None:
    largest = of_size(8192)
    assert verdict(guard.decide(bearer(largest))) == "lookup"
    assert verdict(guard.decide(bearer(largest + "A"))) == REQUEST


@pytest.mark.parametrize("size", [8193, 8449, 61_440, 1_000_000])
@pytest.mark.parametrize("prefix", [b"Bearer ", b"Bearer   ", b""])
def test_h_15_oversized_credentials_are_refused_unread(guard: Guard, size: int, prefix: bytes) -> None:
    denied = guard.decide([prefix + b"a" * size])
    if prefix or size > 8448:
        assert verdict(denied) == REQUEST
        assert isinstance(denied, Denied)
        assert denied.reason is Reason.OVERSIZED_CREDENTIALS


def test_h_15_blanks_do_not_make_a_token_oversized(guard: Guard) -> None:
    assert verdict(guard.decide([b"Bearer  " + of_size(8192).encode() + b"  "])) == "lookup"


def test_h_15_blanks_up_to_256_bytes_with_the_scheme_and_no_more(guard: Guard) -> None:
    largest = of_size(8192).encode()
    assert verdict(guard.decide([b"Bearer" + b" " * 250 + largest])) == "lookup"
    assert verdict(guard.decide([b"Bearer" + b" " * 251 + largest])) == REQUEST


QUERIES = [
    pytest.param(b"access_token=x", True, id="H-16 plain"),
    pytest.param(b"a=1&access_token=", True, id="H-16 empty"),
    pytest.param(b"access_token", True, id="H-16 no equals sign"),
    pytest.param(b"access%5Ftoken=x", True, id="H-16 escaped underscore"),
    pytest.param(b"%61ccess_token=x", True, id="H-16 escaped letter"),
    pytest.param(b"a=1&a=2&b&access_token=x&access_token=y", True, id="H-16 twice"),
    pytest.param(b"", False, id="H-16 no query"),
    pytest.param(b"access=token", False, id="H-16 another name"),
    pytest.param(b"x=access_token", False, id="H-16 as a value"),
    pytest.param(b"my_access_token=x", False, id="H-16 longer name"),
    pytest.param(b"a=%zz%", False, id="H-16 broken escapes"),
    pytest.param(b"\xff\xfe=%ff", False, id="H-16 no text at all"),
]


@pytest.mark.parametrize("query, carries", QUERIES)
def test_h_16_a_token_in_the_query(guard: Guard, query: bytes, carries: bool) -> None:
    assert token_in_query(query) is carries
    assert verdict(guard.decide([b"Bearer " + GOOD], query=query)) == (REQUEST if carries else "lookup")
    assert verdict(guard.decide([], query=query)) == NONE


FOREIGN = [
    pytest.param([], True, id="none"),
    pytest.param([b""], True, id="empty"),
    pytest.param([b"  \t"], True, id="blank"),
    pytest.param([b"Basic dXNlcjpwYXNz"], True, id="Basic"),
    pytest.param([b'Digest username="a", realm="b"'], True, id="Digest with commas"),
    pytest.param([b"Negotiate " + b"a" * 60_000], True, id="a large Kerberos ticket"),
    pytest.param([b"Bearer " + GOOD], False, id="bearer"),
    pytest.param([b"bearer"], False, id="bearer alone"),
    pytest.param([b"Basic x", b"Basic y"], False, id="repeated"),
    pytest.param([b"Basic x", b"Bearer " + GOOD], False, id="hidden behind another entry"),
    pytest.param([b"Basic x, Bearer " + GOOD], False, id="hidden behind a comma"),
    pytest.param([b"Basic x,BEARER\t" + GOOD], False, id="hidden behind a comma, tab"),
    pytest.param([b"Basic\x0b" + GOOD], False, id="no scheme to read"),
    pytest.param([b"Bearer\t" + GOOD], False, id="bearer and tab"),
]


@pytest.mark.parametrize("entries, foreign", FOREIGN)
def test_credentials_that_are_plainly_not_a_bearers(entries: list[bytes], foreign: bool) -> None:
    assert is_foreign(entries) is foreign


def reference(value: bytes) -> str:
    """The rules of H in the words of the catalogue, for values that do not begin with a blank."""
    value = value.rstrip(b" \t")
    scheme, blank, rest = value.partition(b" ")
    if not value:
        return NONE
    if b"," in value:
        return REQUEST
    if scheme.lower() != b"bearer":
        legal = all(0x20 < code < 0x7F and code not in b'"(),/:;<=>?@[\\]{}' for code in scheme)
        return NONE if legal else REQUEST
    while rest[:1] == b" ":
        rest = rest[1:]
    return "token" if blank and rest and all(0x20 < code < 0x7F for code in rest) else REQUEST


@given(
    st.one_of(
        st.binary(max_size=40),
        st.lists(st.sampled_from([b"Bearer", b"bearer", b"Basic", b" ", b"\t", b",", b"a.b.c", b"\xa0", b"\n",
        b"\x0b"]))
        .map(b"".join),
    ).filter(lambda value: value[:1] not in (b" ", b"\t"))
)  # fmt: skip
def test_h_any_value_is_read_by_the_rules(value: bytes) -> None:
    found = parse_authorization([value])
    if isinstance(found, Token):
        assert reference(value) == "token"
        assert found.reveal().encode() in value
    else:
        assert verdict(refuse(found, "r")) == reference(value)


@pytest.mark.parametrize("realm, ok", [("agentwrit", True), ("", True), ("my api!", True), ('a"b', False),
                                       ("a\\b", False), ("a\r\nb", False), ("é", False)])  # fmt: skip
def test_only_a_realm_that_needs_no_escapes_can_stand_in_a_challenge(realm: str, ok: bool) -> None:
    assert valid_realm(realm) is ok


def test_a_request_without_credentials_gets_a_bare_challenge(guard: Guard) -> None:
    denied = guard.decide([])
    assert isinstance(denied, Denied)
    assert dict(denied.headers)["www-authenticate"] == 'Bearer realm="agentwrit"'


CHALLENGE = r'Bearer realm="my api"(, error="(\w+)", error_description="[^"\\]+"(, scope="([^"\\]+)")?)?'


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason.status != 503], ids=lambda one: one.code)
def test_a_challenge_is_one_list_of_quoted_parameters(reason: Reason) -> None:
    shortfall = Shortfall(("read:a:1", "write:a:1"), ("write:a:1",)) if reason is Reason.INSUFFICIENT_SCOPE else None
    challenge = dict(refuse(reason, "my api", shortfall=shortfall).headers)["www-authenticate"]
    match = re.fullmatch(CHALLENGE, challenge)
    assert match is not None, challenge
    assert (match.group(2), match.group(4)) == (reason.error, "read:a:1 write:a:1" if shortfall else None)


@pytest.mark.parametrize("reason", list(Reason), ids=lambda reason: reason.code)
def test_a_refusal_is_the_guards_own_and_without_detail_unless_said_otherwise(reason: Reason) -> None:
    # A realm that no run before had: answers without detail are kept.
    denied = refuse(reason, secrets.token_hex(8))
    assert (denied.reason, denied.status, denied.source) == (reason, reason.status, "guard")
    assert (denied.required, denied.missing, denied.detail) == ((), (), {})


def test_o_02_reasons_of_one_status_answer_alike() -> None:
    answers = {
        (refuse(reason, "r").headers, refuse(reason, "r").body) for reason in Reason if reason.error == "invalid_token"
    }
    assert len(answers) == 1


@pytest.mark.parametrize("reason", list(Reason), ids=lambda reason: reason.code)
def test_l_02_a_refusal_says_nothing_but_fixed_words(reason: Reason) -> None:
    denied = refuse(reason, "r", detail={"value": "canary", "message": "canary"}, source="broker")
    body = json.loads(denied.body)
    assert (denied.status, body["status"], denied.reason) == (reason.status, reason.status, reason)
    assert b"canary" not in denied.body
    assert "canary" not in str(denied.headers)
    assert set(body) == {"type", "title", "status", "detail", "error_code"}
    assert body["type"] == f"urn:agentwrit-guard:error:{body['error_code']}"


@pytest.mark.parametrize(
    "given, shown", [(None, "2"), (0, "1"), (1, "1"), (7, "7"), (30, "30"), (31, "30"), (3600, "30"), (10.0**9, "30")]
)
def test_b_05_retry_after_is_from_1_to_30(given: float | None, shown: str) -> None:
    denied = refuse(Reason.BROKER_UNAVAILABLE, "r", retry_after=given)
    assert dict(denied.headers)["retry-after"] == shown


def test_s_16_required_scopes_stand_in_one_challenge_and_in_the_body() -> None:
    shortfall = Shortfall(("read:a:1", "write:a:1"), ("write:a:1",))
    denied = refuse(Reason.INSUFFICIENT_SCOPE, "r", shortfall=shortfall)
    challenges = [value for name, value in denied.headers if name == "www-authenticate"]
    assert len(challenges) == 1
    assert challenges[0].endswith('scope="read:a:1 write:a:1"')
    body = json.loads(denied.body)
    assert (body["required_scopes"], body["missing_scopes"]) == (["read:a:1", "write:a:1"], ["write:a:1"])


@pytest.mark.parametrize("bad", ['read:a:"', "read:a:\\", "read:a:x\r\nSet-Cookie:y", "read:a:\x7f", "read:a:é"])
def test_s_16_a_scope_that_cannot_stand_in_a_challenge_is_left_out(bad: str) -> None:
    denied = refuse(Reason.INSUFFICIENT_SCOPE, "r", shortfall=Shortfall(("read:a:1", bad), (bad,)))
    challenge = dict(denied.headers)["www-authenticate"]
    assert "scope=" not in challenge
    assert "read:a" not in challenge
    assert b"read:a" not in denied.body
    assert denied.required == ("read:a:1", bad)


def test_s_16_a_hostile_identifier_reaches_no_header(asking: Guard) -> None:
    requirement = all_of("read:customers:{id}", charset=".*")
    denied = asking.check(bearer(token()), requirement, {"id": 'x"y'})
    assert isinstance(denied, Denied)
    assert denied.status == 403
    assert '"y' not in dict(denied.headers)["www-authenticate"]
