"""Scope pairs: each way the guard has of asking whether one covers another, against the model of contract 8 (P12)."""

from __future__ import annotations

import random
from typing import Final

from agentwrit_guard import scope_is_subset
from agentwrit_guard.core.scopes import Grant, Scope
from tests.fuzz.scopes import covered, covers

_PARTS: Final = (
    "read", "Read", "data", "x", "*", "**", "", "a:b", ":", " ", "x ", "é", "e\u0301", "é", "＊", "\x00", "\n", "*x",
    "x*", "%2a", "admin", "app",
)  # fmt: skip
_EDITS: Final = ("*", ":", " ", "x", "\x00", "", "\n", "R", "\u202e", "::", ":*")


def scope(rng: random.Random) -> str:
    return ":".join(rng.choice(_PARTS) for _ in range(rng.choice((3, 3, 3, 3, 3, 3, 1, 2, 4, 5))))


def pair(rng: random.Random) -> tuple[str, str]:
    """A held and a requested scope that are most often close to each other."""
    held = scope(rng)
    kind = rng.random()
    if kind < 0.3:
        return held, scope(rng)
    if kind < 0.4:
        return held, held
    action_resource, _, _ = held.rpartition(":")
    requested = rng.choice((f"{action_resource}:{rng.choice(_PARTS)}", held))
    if rng.random() < 0.5:
        held = f"{action_resource}:*"
    if rng.random() < 0.4:
        place = rng.randrange(len(requested) + 1)
        requested = requested[:place] + rng.choice(_EDITS) + requested[place + rng.randrange(2) :]
    return (held, requested) if rng.random() < 0.8 else (requested, held)


def answers(held: str, requested: str) -> set[bool]:
    """What the guard says, in each of its three ways."""
    one, other = Scope.parse(held), Scope.parse(requested)
    alone = one is not None and other is not None and one.covers(other)
    return {alone, Grant([held]).covers(requested), scope_is_subset([requested], [held])}


def difference(seed: int, index: int) -> tuple[bool, str]:
    """What the model says of the pair of an index, and how the guard differs, if it does."""
    rng = random.Random(f"{seed}:{index}:pair")
    held, requested = pair(rng)
    expected = covers(held, requested)
    if answers(held, requested) != {expected}:
        return expected, f"seed {seed}, pair {index}: covers({held!r}, {requested!r}) is {expected}"
    several = [held, *(scope(rng) for _ in range(rng.randrange(3)))]
    asked = [requested, *(scope(rng) for _ in range(rng.randrange(2)))]
    all_covered = all(covered(several, one) for one in asked)
    if scope_is_subset(asked, several) != all_covered:
        return expected, f"seed {seed}, pair {index}: scope_is_subset({asked!r}, {several!r}) is not {all_covered}"
    return expected, ""
