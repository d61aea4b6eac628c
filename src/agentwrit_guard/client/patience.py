"""How long callers wait when the broker takes no more logins for now.

It takes three at once for a client id and then ten a minute, counted over all processes (contract 2). All callers of
an app wait for the same moment, so that one login follows and not one for each; the moment has a random part, so
that the processes of a fleet do not come back together.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from agentwrit_guard.errors import RateLimitError

# The shortest wait in seconds. For a 429 that names no Retry-After it is doubled each time, up to the longest.
_FIRST: Final = 1.0
_LONGEST: Final = 60.0
# Up to this part of a wait is added to it, by chance.
_JITTER: Final = 0.5


class Patience:
    """`wait` is how long a call may wait in all, in seconds; with 0 the refusal is raised at once."""

    def __init__(self, wait: float, clock: Callable[[], float]) -> None:
        self._wait = wait
        self._clock = clock
        self._next = clock()
        self._refusal: RateLimitError | None = None
        self._tries = 0

    def deadline(self) -> float:
        return self._clock() + self._wait

    def refused(self, refusal: RateLimitError, until: float) -> None:
        """The broker refused a login: nobody tries again before its Retry-After has passed. Raises the refusal if
        that is after `until`."""
        now = self._clock()
        if refusal is self._refusal or self._next > now:
            # Of callers who share one login, another has set the moment.
            return
        named = refusal.retry_after
        wait = min(_LONGEST, _FIRST * 2 ** min(self._tries, 10)) if named is None else max(_FIRST, named)
        if now + wait > until:
            raise refusal
        self._tries += 1
        self._refusal = refusal
        self._next = min(until, now + wait * (1 + _JITTER * random.random()))  # noqa: S311

    def left(self, until: float) -> float:
        """Seconds to wait before a login may be tried, 0 for none. Raises if that is after `until`."""
        now = self._clock()
        left = self._next - now
        if left <= 0:
            return 0.0
        if self._next > until and self._refusal is not None:
            raise RateLimitError(self._refusal.problem, self._refusal.status_code, left)
        return left

    def granted(self) -> None:
        self._tries = 0
