"""The ids of the catalogue of bad inputs, and those that nothing can be shown of yet.

The catalogue has one right answer for each hostile input and each fault. An id stands in the name of the tests that
show its answer: `test_h_06_...`, or a parameter's id that begins with `H-06`.
"""

from __future__ import annotations

from typing import Final


def _numbered(group: str, last: int, *letters: str) -> tuple[str, ...]:
    """`group`-01 to `group`-`last`, and the numbers that have a letter."""
    return tuple(sorted([f"{group}-{number:02}" for number in range(1, last + 1)] + [f"{group}-{n}" for n in letters]))


IDS: Final = {
    "H": _numbered("H", 21),
    "J": _numbered("J", 37),
    "S": _numbered("S", 17, "11a"),
    "D": _numbered("D", 12),
    "C": _numbered("C", 29),
    "B": _numbered("B", 24),
    "CFG": _numbered("CFG", 7, "01a"),
    "R": _numbered("R", 25),
    "FA": _numbered("FA", 12),
    "L": _numbered("L", 5),
    "O": _numbered("O", 5),
    "X": _numbered("X", 5, "03a"),
}
ALL: Final = tuple(name for group in IDS.values() for name in group)

_SHARED = "there is no shared cache yet"
_FORWARD = "there is no forward-auth service yet"

LATER: Final = {
    "C-20": _SHARED,
    "C-21": _SHARED,
    "C-22": _SHARED,
    "C-23": _SHARED,
    "C-24": _SHARED,
    "C-25": _SHARED,
    "R-11": "there is no route audit yet",
    "R-17": "there is no route audit yet",
    **dict.fromkeys(IDS["FA"], _FORWARD),
}
"""Ids that belong to what is not built, each with what is missing."""
