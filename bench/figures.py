"""A figure: what was measured in each round, in one unit. Rounds of figures that were taken in turn belong together."""

from __future__ import annotations

import operator
import statistics
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """`rounds` are in the order they were taken. Differences and ratios are made round by round, so that what
    slowed a whole round down (another process, the clock of the core) falls out of them."""

    name: str
    unit: str
    rounds: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.rounds:
            raise ValueError(f"{self.name}: nothing was measured")

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    @property
    def spread(self) -> tuple[float, float]:
        """The least and the most of all rounds."""
        return min(self.rounds), max(self.rounds)

    def over(self, base: Figure, name: str) -> Figure:
        """How many times `base` this is."""
        return Figure(name, "x", self._paired(base, operator.truediv))

    def above(self, base: Figure, name: str) -> Figure:
        """What this has more than `base`, in their unit."""
        if self.unit != base.unit:
            raise ValueError(f"{self.name} is in {self.unit}, {base.name} in {base.unit}")
        return Figure(name, self.unit, self._paired(base, operator.sub))

    def _paired(self, base: Figure, function: Callable[[float, float], float]) -> tuple[float, ...]:
        if len(self.rounds) != len(base.rounds):
            raise ValueError(f"{self.name} and {base.name} were not measured in the same rounds")
        return tuple(map(function, self.rounds, base.rounds))

    def __str__(self) -> str:
        low, high = self.spread
        return f"{shown(self.median):>9} {self.unit}  ({shown(low)} to {shown(high)})"


def shown(value: float) -> str:
    """Three digits that say something."""
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"
