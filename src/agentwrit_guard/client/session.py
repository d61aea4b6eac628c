"""A login that is made once, shared, and made anew before it ends.

Decided here, without a lock and without I/O: `Caller` and `AsyncCaller` run `login` so that concurrent callers share
one, and it returns without a request when another has just been made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from agentwrit_guard.client.values import Login
from agentwrit_guard.core.wire import Flow

# A login is given up this many seconds before it ends, or after nine tenths of a short life.
_MARGIN: Final = 30.0


class _Held(NamedTuple):
    token: str
    until: float


class Session:
    """The token of an app or operator. `clock` is in monotonic seconds."""

    def __init__(self, authenticate: Callable[[], Flow[Login]], clock: Callable[[], float]) -> None:
        self._authenticate = authenticate
        self.clock: Callable[[], float] = clock
        self._held: _Held | None = None
        self._refused: str | None = None

    def token(self) -> str | None:
        """The token held, None if there is none, it was refused, or it is about to end."""
        held = self._held
        if held is None or held.token == self._refused or self.clock() >= held.until:
            return None
        return held.token

    def login(self) -> Flow[str]:
        """The token held, or else a new one."""
        token = self.token()
        if token is not None:
            return token
        # Its life is counted from before the request, so that a slow answer cannot stretch it.
        started = self.clock()
        login = yield from self._authenticate()
        self._held = _Held(login.access_token, started + login.expires_in - min(_MARGIN, login.expires_in / 10))
        return login.access_token

    def refused(self, token: str) -> None:
        """The broker did not take this token. A newer one stays: threads may say so late."""
        self._refused = token
