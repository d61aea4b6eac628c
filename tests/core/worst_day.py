"""What is known of tokens by whoever hears the broker's answers, and what may follow from it: a model of 40 lines.

Written from the promises (threats P2, B-22, C-07, C-09, C-27), without a look at how the guard keeps them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

TTL, STALE = 5.0, 60.0


class Moment(NamedTuple):
    monotonic: float
    wall: float


def since(then: Moment, now: Moment) -> float:
    """Seconds, if either clock may be wrong: the longer, and for ever if the time of day has gone back."""
    return math.inf if now.wall < then.wall else max(now.wall - then.wall, now.monotonic - then.monotonic)


def later(one: Moment | None, other: Moment) -> Moment:
    """The one that was later, of two at the same time the one heard last."""
    return other if one is None or other.monotonic >= one.monotonic else one


@dataclass
class Known:
    ttl: float
    stale: float
    yes: dict[str, Moment] = field(default_factory=dict)
    no: dict[str, Moment] = field(default_factory=dict)
    dead: set[str] = field(default_factory=set)

    def hear(self, token: str, began: Moment, valid: bool) -> bool:
        """Take an answer to a call that began then; whether the token may pass on it."""
        yes, no = self.yes.get(token), self.no.get(token)
        if not valid:
            self.yes.pop(token, None)
            self.no[token] = later(no, began)
            if yes is not None and yes.monotonic < began.monotonic:
                self.dead.add(token)
        elif no is not None and began.monotonic < no.monotonic:
            self.dead.add(token)
        elif token not in self.dead and (no is None or began.monotonic > no.monotonic):
            self.yes[token] = later(yes, began)
            self.no.pop(token, None)
        return valid and token in self.yes

    def verdict(self, token: str, now: Moment, max_age: float | None, *, asked: bool) -> str:
        """What must come of a token that the broker has said nothing of just now; `asked` if it was to be."""
        age = since(self.yes[token], now) if token in self.yes else math.inf
        if age < (self.ttl if max_age is None else min(self.ttl, max_age)) and not asked:
            return "cache"
        if token in self.dead or (token in self.no and since(self.no[token], now) < 5):
            return "401"
        return "stale" if max_age is None and self.stale and age < self.ttl + self.stale else "503"
