"""Mutations of claims: types, times round the clock, parties, scopes, chain members (threats J-19 to J-32, D-03)."""

from __future__ import annotations

import json
import random
from typing import Any, Final

from tests.fuzz.draft import Draft, compact
from tests.fuzz.goods import AUDIENCE, ISSUER, agent, wider

_VALUES: Final = (
    "null", "true", "false", "0", "1", "-1", "1.5", "1e10", "1800000300.0", '""', '"x"', "[]", "{}", '["x"]', "[1]",
    '[["x"]]', "[null]", '{"x":1}', '"1800000300"', "9007199254740991", "9007199254740992", "18446744073709551616",
    "-0", "NaN", "Infinity", "1" * 64, "1" * 65, "1" * 5000, "1." + "0" * 70, '"a\\u0000b"', '"a\\u0085b"',
    '"\\ud800"', '"\\ud83d\\ude00"', '"é"', '[""]',
)  # fmt: skip
_NAMES: Final = (
    "iss", "sub", "aud", "exp", "nbf", "iat", "jti", "sid", "scope", "task_id", "orch_id", "delegation_chain",
    "chain_hash", "cnf", "extra", "__proto__",
)  # fmt: skip
_SUBS: Final = (
    "admin", "app:app-1", "app:", "app:a b", "app:a/b", "Admin", "spiffe://agentwrit.local/",
    "spiffe://agentwrit.local/agent/o/t", "spiffe://agentwrit.local/agent/o/t/i/x",
    "SPIFFE://agentwrit.local/agent/o/t/i", "spiffe://Agentwrit.local/agent/o/t/i",
    "spiffe://agentwrit.local/agent/o/t/i?x", "spiffe://agentwrit.local/agent/o/t/i#x",
    "spiffe://agentwrit.local/agent/../t/i", "spiffe://agentwrit.local/agent/./t/i",
    "spiffe://agentwrit.local/agent//t/i", "spiffe://agentwrit.local/agent/.../t/i",
    "spiffe://u@agentwrit.local/agent/o/t/i", "spiffe://agentwrit.local:1/agent/o/t/i",
    "spiffe://agentwrit.local/agent/o%2f/t/i", "spiffe://agentwrit.local/Agent/o/t/i",
    "spiffe://agentwrit.local/agent/o/t/і", "spiffe:///agent/o/t/i", " admin", "admin\n",
    "spiffe://agentwrit.local/agent/o/t/i\n", "spiffe://corp.example/agent/o/t/i",
    "spiffe://agentwrit.local/agent/-/_/.x", "spiffe://agentwrit.local/agent/o/t/ı",
    "spiffe://agentwrit.local.evil/agent/o/t/i", "spiffe://agentwrit.local\\/agent/o/t/i",
    "spiffe://agentwrit.local/agent/o/t/" + "i" * 2013, "spiffe://agentwrit.local/agent/o/t/" + "i" * 2014,
)  # fmt: skip
_ODD_SCOPES: Final = (
    "read:data:x ", "read:data:*\n", " read:data:x", "read:data", "read::x", ":data:x", "read:data:", "", "*", "::",
    "*:*:*", "read:*:*", "read:*:7291", "*:customers:7291", "read:customers:**", "read:customers:*:x",
    "READ:customers:7291", "read:customers:＊", "read:customers:%2a", "admin:*:*", "admin:customers:7291", "app:x:*",
    "read:customers:é", "read:customers:e\u0301", "read:customers:\u202e", "read:customers:a,b",
    "read:customers:7291\x00",
)  # fmt: skip


def another_value(draft: Draft, rng: random.Random) -> None:
    draft.put(rng.choice(_NAMES), rng.choice(_VALUES))


def left_out(draft: Draft, rng: random.Random) -> None:
    draft.drop(rng.choice(_NAMES))


def long_text(draft: Draft, rng: random.Random) -> None:
    """Texts at their limit in bytes, which is not their limit in characters."""
    letter, size = rng.choice((("x", 1), ("é", 2), ("😀", 4)))
    length = rng.choice((2044, 2048, 2049, 2052)) // size
    draft.put(rng.choice(("iss", "jti", "sid", "task_id", "orch_id", "extra")), compact(letter * length))


def control(draft: Draft, rng: random.Random) -> None:
    """A control character, or a neighbour of one, in a text."""
    char = chr(rng.choice((rng.randrange(0x21), rng.randrange(0x7E, 0xA2))))
    draft.put(rng.choice(("iss", "jti", "sid", "task_id", "orch_id", "extra")), json.dumps(f"a{char}"))


def number(draft: Draft, rng: random.Random) -> None:
    """An unknown claim whose number is as long as is taken, and one digit longer."""
    length = rng.choice((62, 63, 64, 65, 66, 5000))
    draft.put(
        "extra",
        rng.choice(("1" * length, "-" + "1" * (length - 1), "1." + "0" * (length - 2), "1e" + "0" * (length - 2))),
    )


def exp_round_now(draft: Draft, rng: random.Random) -> None:
    draft.put("exp", str(int(draft.now) + rng.choice((-1, 0, 1, 2))))


def lifetime(draft: Draft, rng: random.Random) -> None:
    """`exp - iat` at the cap, one over, nought and less."""
    iat = draft.get("iat")
    if isinstance(iat, int):
        most = draft.settings.get("max_token_lifetime", 3600)
        draft.put("exp", str(iat + rng.choice((most - 1, most, most + 1, 86400, 0, -1, 1, 3600, 3601, 2**53))))


def nbf_round_now(draft: Draft, rng: random.Random) -> None:
    draft.put("nbf", str(int(draft.now) + rng.choice((0, 1, 4, 5, 6, 7, 60, -100000))))


def iat_round_now(draft: Draft, rng: random.Random) -> None:
    iat = int(draft.now) + rng.choice((0, 5, 59, 60, 61, 62, -3000))
    draft.put("iat", str(iat))
    if rng.random() < 0.8:
        draft.put("exp", str(iat + rng.choice((1, 300, 600))))


def issuer(draft: Draft, rng: random.Random) -> None:
    draft.put("iss", compact(rng.choice((ISSUER, ISSUER + "/", ISSUER[:-1], ISSUER.upper(), "", [ISSUER], "x"))))


def audience(draft: Draft, rng: random.Random) -> None:
    value: Any = rng.choice((
        AUDIENCE, [AUDIENCE], [AUDIENCE, AUDIENCE], ["x", AUDIENCE], [AUDIENCE + "/"], [AUDIENCE.upper()], [AUDIENCE,
        1], [], None, "", [[AUDIENCE]], {"x": AUDIENCE}, ["x"] * 63 + [AUDIENCE], ["x"] * 64 + [AUDIENCE], ["x"] * 500,
    ))  # fmt: skip
    draft.put("aud", compact(value))


def subject(draft: Draft, rng: random.Random) -> None:
    draft.put("sub", compact(rng.choice((*_SUBS, agent(rng), agent(rng, "corp.example")))))


def principal(draft: Draft, rng: random.Random) -> None:
    """An app or an admin as the broker writes it: no task, no orchestrator."""
    draft.put("sub", compact(rng.choice(("admin", "app:app-data-7bfdbf"))))
    draft.drop("task_id")
    draft.drop("orch_id")


def odd_scope(draft: Draft, rng: random.Random) -> None:
    """One more scope, or nothing but odd ones."""
    held = draft.get("scope")
    odd = rng.sample(_ODD_SCOPES, rng.choice((1, 1, 3)))
    keep = isinstance(held, list) and rng.random() < 0.5
    draft.put("scope", compact([*held, *odd] if keep else odd))


def other_scope(draft: Draft, rng: random.Random) -> None:
    """One scope wider, narrower, or of another case; one less."""
    held = draft.get("scope")
    if not isinstance(held, list) or not held or not isinstance(held[0], str) or held[0].count(":") < 2:
        return
    first = held[0]
    draft.put("scope", compact(rng.choice((
        held[1:], [wider(first), *held[1:]], [first.upper(), *held[1:]], [f"{first}x", *held[1:]], [first[:-1],
        *held[1:]], [f"{wider(first)}*"], [*held, first], list(reversed(held)), [f" {first}"], [first.replace("*",
        "7291")],
    ))))  # fmt: skip


def many_scopes(draft: Draft, rng: random.Random) -> None:
    held = draft.get("scope")
    filler = [f"a:b:{number}" for number in range(rng.choice((100, 254, 255, 256, 257)))]
    if rng.random() < 0.3:
        filler = ["a:b:" + "x" * rng.choice((507, 508, 509)), "a:b:" + "é" * rng.choice((507, 508, 509))]
    draft.put("scope", compact([*(held if isinstance(held, list) else []), *filler]))


def chain_hash(draft: Draft, rng: random.Random) -> None:
    value = draft.get("chain_hash")
    text = value if isinstance(value, str) else "e3" * 32
    draft.put(
        "chain_hash",
        compact(rng.choice((text.upper(), text[:-1], text + "0", text[::-1], "0" * 64, "", text + "\n", None))),
    )


def lone_chain(draft: Draft, rng: random.Random) -> None:
    """The chain without its hash, the hash without its chain."""
    draft.drop(rng.choice(("chain_hash", "delegation_chain")))


def chain_value(draft: Draft, rng: random.Random) -> None:
    draft.put("delegation_chain", rng.choice(("null", "[]", '"x"', "{}", "[null]", "[[]]", "[{}]", "0")))


def reordered(draft: Draft, rng: random.Random) -> None:
    rng.shuffle(draft.claims)


def nested(draft: Draft, rng: random.Random) -> None:
    """An unknown claim as deep as is allowed, one deeper, and far too deep; brackets within a text do not count."""
    depth = rng.choice((1, 14, 15, 16, 17, 1500))
    value = rng.choice(("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth, json.dumps("[" * depth)))
    draft.put("extra", value)


MUTATIONS: Final = (
    another_value, another_value, another_value, left_out, long_text, control, number, exp_round_now, exp_round_now,
    lifetime, lifetime, nbf_round_now, iat_round_now, issuer, audience, subject, subject, principal, odd_scope,
    other_scope, other_scope, many_scopes, chain_hash, lone_chain, chain_value, reordered, nested,
)  # fmt: skip
