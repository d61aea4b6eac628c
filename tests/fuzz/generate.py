"""From a seed and an index to one case: a good request and a few mutations, each with random numbers of its own.

So any mutation can be left out without changing what the others do, and that is how a difference is made small.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from typing import Final

from tests.fuzz import chains, claims, confirmations, headers, needs, replies, scenes, texts, tokens
from tests.fuzz.case import Case
from tests.fuzz.draft import STAGES, Draft, Mutation, pick
from tests.fuzz.goods import good

Source = Callable[[random.Random], Draft]

MUTATIONS: Final[dict[str, tuple[Mutation, ...]]] = {
    "scene": scenes.MUTATIONS,
    "chain": chains.MUTATIONS,
    "claims": claims.MUTATIONS,
    "text": texts.MUTATIONS,
    "token": tokens.MUTATIONS,
    "header": headers.MUTATIONS,
    "needs": needs.MUTATIONS,
    "reply": replies.MUTATIONS + confirmations.MUTATIONS,
}
_HOW_MANY: Final = {0: 4, 1: 55, 2: 25, 3: 11, 4: 5}
_STAGE: Final = {"scene": 16, "chain": 17, "claims": 19, "text": 10, "token": 8, "header": 10, "needs": 16, "reply": 13}


def plan(seed: int, index: int) -> list[tuple[str, Mutation]]:
    """The mutations of a case, in the order of their stages."""
    rng = random.Random(f"{seed}:{index}:plan")
    stages = sorted((pick(rng, _STAGE) for _ in range(pick(rng, _HOW_MANY))), key=STAGES.index)
    return [(stage, rng.choice(MUTATIONS[stage])) for stage in stages]


def generate(seed: int, index: int, *, source: Source = good, without: Collection[int] = ()) -> Case:
    """The case of an index; `without` names positions of its plan to leave out."""
    draft = source(random.Random(f"{seed}:{index}"))
    steps = plan(seed, index)
    for stage in STAGES:
        for position, (when, mutation) in enumerate(steps):
            if when == stage and position not in without:
                mutation(draft, random.Random(f"{seed}:{index}:{position}"))
        draft.finish(stage)
    return draft.case()
