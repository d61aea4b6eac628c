"""How much is put into a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Effort:
    """`rounds` that everything is measured in, at least; `stretch` seconds of one contender in one round, about."""

    name: str
    rounds: int
    stretch: float
    quick: bool


FULL: Final = Effort("full", rounds=7, stretch=0.25, quick=False)
QUICK: Final = Effort("quick", rounds=3, stretch=0.08, quick=True)
