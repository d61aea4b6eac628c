"""Mutations of the JSON texts of header and payload before they are signed (threats J-01 to J-18, J-33)."""

from __future__ import annotations

import json
import random
from typing import Final

from tests.fuzz.draft import Draft

_HEADER: Final = (
    '"alg":"none"', '"alg":"None"', '"alg":"HS256"', '"alg":"Ed25519"', '"alg":"eddsa"', '"alg":" EdDSA"',
    '"alg":["EdDSA"]', '"alg":null', '"typ":"jwt"', '"typ":"at+jwt"', '"typ":"JOSE"', '"typ":null', '"typ":1',
    '"typ":"JWT "', '"kid":null', '"kid":1', '"kid":""', f'"kid":"{"a" * 43}"', f'"kid":"{"a" * 42}"',
    f'"kid":"{"a" * 42}."', f'"kid":"{"a" * 43}\\n"', '"kid":"../../etc/passwd"',
)  # fmt: skip
_PARAMETERS: Final = (
    '"ALG":"EdDSA"', '"Alg":"none"', '"\\u212aid":"x"', '"KID":"x"', '"Typ":"JWT"', '"jwk":{}',
    '"jku":"http://169.254.169.254"', '"x5u":null', '"x5c":[]', '"x5t#S256":"x"', '"X5U":"x"', '"crit":[]',
    '"crit":["exp"]', '"Crit":"x"', '"b64":false', '"b64":true', '"cty":"JWT"', '"zip":"DEF"', '"enc":"A256GCM"',
    '"epk":{}', '"JWK":1', '"x":1', '"iss":"x"', '"url":"x"', '"a\\u006cg":"none"', '"algx":1', '"":0',
    '"n":[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]', '"n":[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]', '"n":NaN', '"n":01', '"n":1e999',
    '"n":"\\ud800"',
)  # fmt: skip
_REFUSED: Final = (
    "jwk", "jku", "crit", "b64", "cty", "zip", "enc", "epk", "apu", "apv", "iv", "tag", "p2s", "p2c", "x5u", "x5c",
    "x5t",
)  # fmt: skip
_ALIASES: Final = (
    '"Exp":9999999999', '"SUB":"x"', '"\\u017fub":"x"', '"ſcope":["read:customers:*"]', '"Scope":null',
    '"i\\u017fs":"x"', '"tas\\u212a_id":"x"', '"task_ID":"x"', '"delegation_Chain":[]', '"Cnf":{}', '"cnf":{}',
    '"cnf":null', '"exp ":1', '" exp":1', '"ехр":1', '"\\u0065xp":1', '"a":1',
)  # fmt: skip
_BYTES: Final = (
    b" ", b"\t\n\r ", b"\x00", b"\x0b", b"\x0c", b"\xa0", b"\xef\xbb\xbf", b"{}", b"x", b",", b"\xff", b"\xc2\xa0",
    b"/**/", b"null",
)  # fmt: skip


def header_value(draft: Draft, rng: random.Random) -> None:
    """A registered member with another value, in place of its own."""
    text = rng.choice(_HEADER)
    name = text.partition(":")[0]
    kept = [f"{key}:{value}" for key, value in draft.head if key != name]
    draft.head_text = ("{" + ",".join([*kept, text]) + "}").encode()


def header_member(draft: Draft, rng: random.Random) -> None:
    name = rng.choice(_REFUSED)
    spelt = rng.choice((name, name, name.upper(), name.title(), name + "x"))
    refused = f'"{spelt}":{rng.choice(("null", "[]", "{}", "0", "true"))}'
    draft.head_text = _added(draft.head_text, rng.choice((refused, rng.choice(_PARAMETERS))), rng)


def header_lacks(draft: Draft, rng: random.Random) -> None:
    kept = [f"{key}:{value}" for key, value in draft.head]
    kept.pop(rng.randrange(len(kept)))
    draft.head_text = ("{" + ",".join(kept) + "}").encode()


def claims_member(draft: Draft, rng: random.Random) -> None:
    draft.text = _added(draft.text, rng.choice(_ALIASES), rng)


def duplicate(draft: Draft, rng: random.Random) -> None:
    """A member twice, the same or another value, first or last; also by an escaped name, and one level down."""
    source = rng.choice((draft.claims, draft.head))
    name, value = rng.choice(source)
    spelt = rng.choice((name, f'"\\u{ord(name[1]):04x}{name[2:]}'))
    member = f"{spelt}:{rng.choice((value, '1', 'null'))}"
    if rng.random() < 0.2:
        member = f'"extra":{{{member},{member}}}'
    if source is draft.head:
        draft.head_text = _added(draft.head_text, member, rng)
    else:
        draft.text = _added(draft.text, member, rng)


def stray_bytes(draft: Draft, rng: random.Random) -> None:
    """Before, behind or anywhere in one of the two: blanks of JSON pass between its marks, nothing else does."""
    text = rng.choice((draft.head_text, draft.text))
    place = rng.choice(
        (0, len(text), 1, len(text) - 1, rng.randrange(len(text) + 1), text.find(b":") + 1, text.find(b","))
    )
    place = max(place, 0)
    _put(draft, text, text[:place] + rng.choice(_BYTES) + text[place:])


def cut(draft: Draft, rng: random.Random) -> None:
    text = rng.choice((draft.head_text, draft.text))
    start = rng.randrange(len(text) + 1)
    _put(draft, text, text[:start] + text[start + rng.choice((1, 1, 2, 9999)) :])


def one_byte(draft: Draft, rng: random.Random) -> None:
    text = bytearray(rng.choice((draft.head_text, draft.text)))
    before = bytes(text)
    if text:
        place = rng.randrange(len(text))
        text[place] = rng.choice(
            (text[place] ^ (1 << rng.randrange(8)), rng.randrange(256), rng.choice(b'"\\{}[]:,0-e.'))
        )
    _put(draft, before, bytes(text))


def reencoded(draft: Draft, rng: random.Random) -> None:
    """Other encodings, and the same value in other words: the signature is made over what is sent."""
    text = rng.choice((draft.head_text, draft.text))
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return
    _put(draft, text, rng.choice((
        text.decode("utf-8", "replace").encode("utf-16"), text.decode("utf-8", "replace").encode("utf-8-sig"),
        json.dumps(value).encode(), json.dumps(value, indent=2).encode(), json.dumps(value, sort_keys=True).encode(),
        json.dumps([value]).encode(), json.dumps(json.dumps(value)).encode(), b"null", b"{}", b"", b"[]", b"1",
    )))  # fmt: skip


def _added(text: bytes, member: str, rng: random.Random) -> bytes:
    """An object with one more member, in front or at the end."""
    new = member.encode("utf-8", "surrogatepass")
    return text[:-1] + b"," + new + b"}" if rng.random() < 0.5 else b"{" + new + b"," + text[1:]


def _put(draft: Draft, before: bytes, after: bytes) -> None:
    if before == draft.head_text:
        draft.head_text = after
    else:
        draft.text = after


MUTATIONS: Final = (
    header_value, header_value, header_member, header_member, header_lacks, claims_member, duplicate, stray_bytes, cut,
    one_byte, reencoded,
)  # fmt: skip
