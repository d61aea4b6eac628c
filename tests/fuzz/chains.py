"""Mutations of the delegation chain before its hash is made, so that only the chain itself is wrong (threats D)."""

from __future__ import annotations

import functools
import json
import random
from datetime import datetime, timedelta, timezone
from typing import Any, Final

from tests.fuzz.draft import Draft, Mutation, broker_text, compact
from tests.fuzz.goods import agent, chain, wider

_TIMES: Final = (
    "2027-01-15T07:00:00Z", "2027-01-15T07:00:00.000000001Z", "2027-01-15T07:00:00.1234567891Z",
    "2027-01-15T07:00:00.Z", "2027-01-15T07:00:00+00:00", "2027-01-15T07:00:00z", "2027-01-15t07:00:00Z",
    "2027-01-15 07:00:00Z", "2027-01-15T07:00Z", "2027-02-30T07:00:00Z", "2027-01-15T24:00:00Z",
    "2027-01-15T06:59:60Z", "2027-01-15", "", "1800000000", "0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999999999Z", "2027-01-15T07:00:00Z\n", "٢٠٢٧-01-15T07:00:00Z", "2027-1-5T7:0:0Z",
    "2027-00-15T07:00:00Z", "+027-01-15T07:00:00Z", "2024-02-29T00:00:00Z", "2027-01-15T07:60:00Z",
    " 2027-01-15T07:00:00Z",
)  # fmt: skip
_AGENTS: Final = (
    "admin", "app:app-1", "", "spiffe://corp.example/agent/o/t/i", "spiffe://agentwrit.local/agent/o/t",
    "SPIFFE://agentwrit.local/agent/o/t/i", "spiffe://agentwrit.local/agent/o/../i",
    "spiffe://AGENTWRIT.local/agent/o/t/i", "spiffe://agentwrit.local/agent/o/t/i/",
    "spiffe://agentwrit.local/agent/o/t/...", "spiffe://agentwrit.local/agent/o/t/i\n",
)  # fmt: skip
_WRONG: Final[tuple[Any, ...]] = (None, 0, True, [], {}, "", ["x"], 1.5, "x" * 2048, "x" * 2049, "a\x00b", "a\x85b")


def deeper(draft: Draft, rng: random.Random) -> None:
    """Any depth to beyond the structural maximum of five."""
    iat = draft.get("iat")
    held = draft.get("scope")
    draft.chain = chain(
        rng, held if isinstance(held, list) else ["read:x:1"], iat if isinstance(iat, int) else 0, rng.randrange(8)
    )


def wider_scope(draft: Draft, rng: random.Random) -> None:
    """A hop holds what the one before it did not."""
    if draft.chain:
        record = rng.choice(draft.chain)
        added = rng.choice((wider(record["scope"][0]), "read:other:1", "read:customers:*", "read:customers", "*:*:*"))
        record["scope"] = [*record["scope"], added]


def narrower_scope(draft: Draft, rng: random.Random) -> None:
    """A hop loses a scope that a later one or the token may need."""
    if draft.chain:
        record = rng.choice(draft.chain)
        scopes = list(record["scope"])
        scopes.pop(rng.randrange(len(scopes)))
        record["scope"] = scopes or [rng.choice(("read:x:1", "*:*:*", "read:customers:x"))]


def swapped(draft: Draft, rng: random.Random) -> None:
    if len(draft.chain) > 1:
        one, other = rng.sample(range(len(draft.chain)), 2)
        records = list(draft.chain)
        records[one], records[other] = records[other], records[one]
        draft.chain = records


def another_time(draft: Draft, rng: random.Random) -> None:
    if draft.chain:
        rng.choice(draft.chain)["delegated_at"] = rng.choice(_TIMES)


def time_round_iat(draft: Draft, rng: random.Random) -> None:
    """The last record at, just before and just after the token's `iat`."""
    iat = draft.get("iat")
    if draft.chain and isinstance(iat, int):
        at = datetime.fromtimestamp(iat, timezone.utc) + timedelta(seconds=rng.choice((-1, 0, 0, 1, 2)))
        draft.chain[-1]["delegated_at"] = f"{at:%Y-%m-%dT%H:%M:%S}{rng.choice(('', '.000000001', '.999999999'))}Z"


def one_time_apart(draft: Draft, rng: random.Random) -> None:
    """Two neighbours that are equal, or differ by one nanosecond either way, however their zeros are written."""
    if len(draft.chain) > 1:
        base = draft.chain[-2]["delegated_at"][:19]
        digits = ["", ".5", ".50", ".500000000", ".500000001", ".499999999", ".000000000", ".05"]
        for record in draft.chain[-2:]:
            record["delegated_at"] = f"{base}{rng.choice(digits)}Z"


def another_member(draft: Draft, rng: random.Random) -> None:
    if draft.chain:
        rng.choice(draft.chain)["agent"] = rng.choice((*_AGENTS, agent(rng), agent(rng, "corp.example")))


def loop(draft: Draft, rng: random.Random) -> None:
    """Self-delegation, or an agent twice in the line."""
    if draft.chain:
        rng.choice(draft.chain)["agent"] = rng.choice((draft.get("sub"), draft.chain[0]["agent"])) or "admin"


def another_field(draft: Draft, rng: random.Random) -> None:
    """A field of another type, missing, or one that nobody knows."""
    if draft.chain:
        record = rng.choice(draft.chain)
        name = rng.choice(("agent", "scope", "delegated_at", "signature", "extra", "Agent", "SCOPE"))
        if rng.random() < 0.3:
            record.pop(name, None)
        else:
            record[name] = rng.choice(_WRONG)


def no_record(draft: Draft, rng: random.Random) -> None:
    if draft.chain:
        draft.chain[rng.randrange(len(draft.chain))] = rng.choice(_WRONG)


def odd_scopes(draft: Draft, rng: random.Random) -> None:
    """Commas, quotes, letters beyond ASCII and many scopes: nothing to the hash, if the raw text is hashed."""
    if draft.chain:
        odd = rng.choice(
            (
                ["read:data:a,read:data:b"],
                ['read:data:"q"\\/'],
                ["read:data:é\u2028"],
                ["read:data:&<>"],
                ["\u007f:x:y"],
            )
        )
        draft.chain[0]["scope"] = draft.chain[0]["scope"] + odd * rng.choice((1, 2, 20))


def written(draft: Draft, rng: random.Random) -> None:
    """The same chain in other words: blanks, escapes, another order. The hash is of the text as it stands."""
    if draft.minted:
        return
    draft.written = rng.choice((
        json.dumps, broker_text, compact, lambda value: json.dumps(value, indent=1), lambda value: f" {compact(value)}",
        lambda value: compact(value).replace("/", "\\/"), lambda value: json.dumps(value, sort_keys=True),
        lambda value: compact(value).replace('"agent"', '"\\u0061gent"', 1),
    ))  # fmt: skip


def _whole(mutation: Mutation) -> Mutation:
    """Leave a chain alone whose form is broken already."""

    @functools.wraps(mutation)
    def applied(draft: Draft, rng: random.Random) -> None:
        for record in draft.chain:
            texts = isinstance(record, dict) and [record.get("agent"), record.get("delegated_at")]
            if not texts or not all(isinstance(text, str) for text in texts):
                return
            scopes = record.get("scope")
            if not isinstance(scopes, list) or not scopes or not all(scope.count(":") > 1 for scope in scopes):
                return
        mutation(draft, rng)

    return applied


MUTATIONS: Final = tuple(map(_whole, (
    deeper, deeper, wider_scope, narrower_scope, swapped, another_time, time_round_iat, one_time_apart, another_member,
    loop, another_field, no_record, odd_scopes, written,
)))  # fmt: skip
