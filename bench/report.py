"""What a section found: figures, and the targets that some of them are held against."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from bench.figures import Figure, shown

Bound = Literal["at most", "at least", "under"]


@dataclass(frozen=True)
class Target:
    """A figure and its bound. `why` says what holds it back where it is missed, as far as that is known."""

    figure: Figure
    bound: Bound
    value: float
    why: str = ""

    @property
    def met(self) -> bool:
        """By the median."""
        median = self.figure.median
        if self.bound == "under":
            return median < self.value
        return median <= self.value if self.bound == "at most" else median >= self.value

    def __str__(self) -> str:
        verdict = "met" if self.met else "MISSED"
        return f"{verdict:6} {self.bound} {shown(self.value)} {self.figure.unit}"

    def as_json(self) -> dict[str, Any]:
        given = {**as_json(self.figure), "bound": self.bound, "value": self.value, "met": self.met}
        return {**given, "why": self.why} if self.why and not self.met else given


@dataclass
class Section:
    """One section of a run. `series` are figures by a size, for a picture: name of the series, then size to figure."""

    title: str
    figures: list[Figure] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    series: dict[str, dict[str, Figure]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        yield f"== {self.title}"
        width = max((len(figure.name) for figure in self._named()), default=0)
        for figure in self.figures:
            yield f"  {figure.name:{width}} {figure}"
        for name, sizes in self.series.items():
            yield f"  {name}"
            for size, figure in sizes.items():
                yield f"  {size:>{width}} {figure}"
        for target in self.targets:
            yield f"  {target.figure.name:{width}} {target.figure}  {target}"
            if target.why and not target.met:
                yield f"  {'':{width}} bounded by: {target.why}"
        for note in self.notes:
            yield f"  {note}"

    def _named(self) -> Iterator[Figure]:
        yield from self.figures
        yield from (target.figure for target in self.targets)

    def as_json(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "figures": [as_json(figure) for figure in self.figures],
            "targets": [target.as_json() for target in self.targets],
            "series": {
                name: {size: as_json(figure) for size, figure in sizes.items()} for name, sizes in self.series.items()
            },
            "notes": self.notes,
        }


def as_json(figure: Figure) -> dict[str, Any]:
    low, high = figure.spread
    return {
        "name": figure.name,
        "unit": figure.unit,
        "median": _short(figure.median),
        "least": _short(low),
        "most": _short(high),
        "rounds": [_short(value) for value in figure.rounds],
    }


def _short(value: float) -> float:
    """Four digits: no measurement here has more."""
    return float(f"{value:.4g}")
