"""Mutations of the claims that the broker confirms: they must be the token's own (threats B-13, B-14)."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any, Final

from tests.fuzz.case import Reply
from tests.fuzz.draft import Draft, compact
from tests.fuzz.goods import agent
from tests.fuzz.replies import change_reply

_VALUES: Final[tuple[Any, ...]] = (
    None, "", [], {}, 0, 1, True, "x", ["x"], 1800000300, 1800000300.0, [None], "admin", 2**60,
)  # fmt: skip


def claim(draft: Draft, rng: random.Random) -> None:
    """One claim of the confirmed ones changed, dropped or added; or unknown ones, which stop nobody."""

    def changed(claims: dict[str, Any]) -> None:
        name = rng.choice((*claims, *claims, "aud", "sid", "region", "delegation_chain", "chain_hash", "Scope"))
        what = rng.random()
        if what < 0.25:
            claims.pop(name, None)
        elif what < 0.5 and isinstance(claims.get(name), list):
            claims[name] = rng.choice(
                (claims[name][::-1], claims[name][1:], [*claims[name], "x"], [*claims[name], *claims[name]])
            )
        elif what < 0.6 and isinstance(claims.get(name), int):
            claims[name] = rng.choice((claims[name] + 1, float(claims[name]), str(claims[name])))
        elif what < 0.7:
            claims["sub"] = agent(rng)
        else:
            claims[name] = rng.choice(_VALUES)

    _confirm(draft, changed)


def rewritten(draft: Draft, rng: random.Random) -> None:
    """As the broker writes claims again: `scope` null, empty `aud` dropped, unknown claims dropped, another order."""

    def changed(claims: dict[str, Any]) -> None:
        for name in ("aud", "scope"):
            if claims.get(name) in (None, []):
                claims.pop(name, None)
                claims.update(rng.choice(({}, {name: None}, {name: []}, {name: ""})))
        for name in ("extra", "pad"):
            claims.pop(name, None)
        items = list(claims.items())
        rng.shuffle(items)
        claims.clear()
        claims.update(items)

    _confirm(draft, changed)


def record(draft: Draft, rng: random.Random) -> None:
    """A record of the confirmed chain changed: a known field counts, an unknown one does not."""

    def changed(claims: dict[str, Any]) -> None:
        chain = claims.get("delegation_chain")
        if isinstance(chain, list) and chain and isinstance(chain[0], dict):
            name = rng.choice(("agent", "scope", "delegated_at", "signature", "extra", "Agent"))
            if rng.random() < 0.3:
                chain[0].pop(name, None)
            else:
                chain[0][name] = rng.choice((*_VALUES, chain[0].get(name)))
            claims["delegation_chain"] = rng.choice((chain, chain, chain, chain[1:], chain[::-1], [*chain, chain[0]]))

    _confirm(draft, changed)


def _confirm(draft: Draft, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the claims of a reply, or leave one alone that has none."""

    def changed(reply: Reply) -> Reply:
        try:
            told = json.loads(reply[2])
            change(told["claims"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return reply
        return reply[0], reply[1], compact(told).encode("utf-8", "surrogatepass")

    change_reply(draft, changed)


MUTATIONS: Final = (claim, claim, claim, rewritten, rewritten, record)
