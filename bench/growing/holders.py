"""Hits of agents who hold more or fewer scopes, at the end of a longer or shorter chain."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Final, NamedTuple

from agentwrit_guard import Allowed, Denied, Guard, all_of
from agentwrit_guard.core.requirements import RouteValue
from bench.effort import Effort
from bench.figures import Figure
from bench.growing.admission import admit
from bench.growing.agents import holder, token
from bench.turns import timed

SCOPES: Final = (1, 4, 16, 64, 256)
DEPTHS: Final = (0, 1, 2, 3, 4, 5)
LEAST: Final = (1, 0)
MOST: Final = (256, 5)
_REQUIRED: Final = all_of("read:c:{id}")
_STRETCH: Final = 0.5


class Held(NamedTuple):
    """Bytes of a token, what a hit of it takes, and of the least and the most what its hash alone does."""

    token: int
    hit: Figure
    hashing: Figure | None


def held(effort: Effort) -> dict[tuple[int, int], Held]:
    """By scopes and depth. The route's template asks for the last scope in the token."""
    kinds = [*((scopes, 0) for scopes in SCOPES), *((1, depth) for depth in DEPTHS[1:]), MOST]
    calls: dict[str, Callable[[], object]] = {}
    tokens: dict[tuple[int, int], bytes] = {}
    with contextlib.closing(Guard("http://127.0.0.1:9", allow_http=True, cache_ttl=60)) as guard:
        for kind in kinds:
            shown, payload = holder(*kind)
            admit(guard, shown, payload)
            last = f"{kind[0] - 1:02x}"
            decide = _decision(guard, shown, last)
            assert isinstance(decide(), Allowed)
            if not kind[1]:
                assert isinstance(_decision(guard, shown, f"{kind[0]:02x}")(), Denied)
            tokens[kind] = token(shown)
            calls[str(kind)] = decide
        for kind in (LEAST, MOST):
            calls[f"hash {kind}"] = functools.partial(guard._engine._hash, tokens[kind])
        took = timed(calls, replace(effort, stretch=effort.stretch * _STRETCH))
        assert all(isinstance(calls[str(kind)](), Allowed) for kind in kinds), "an identity did not last"
    return {kind: Held(len(tokens[kind]), took[str(kind)], took.get(f"hash {kind}")) for kind in kinds}


def _decision(guard: Guard, shown: bytes, identifier: str) -> Callable[[], object]:
    params = {"id": RouteValue(identifier, identifier)}
    return lambda: guard.decide([shown], _REQUIRED, params)
