"""What the sync runner and the async one are made of."""

from __future__ import annotations

import abc
import os
import time
import weakref

from agentwrit_guard.core.wire import BrokerRequest
from agentwrit_guard.errors import BrokerUnavailable
from agentwrit_guard.exchange import Exchange
from agentwrit_guard.places import Places
from agentwrit_guard.transport import LinkOptions


class Runner(abc.ABC):
    """What both runners have: options, TLS context, places, and a way to begin anew after a fork.

    Runners that share their `places` make no more calls together than one alone.
    """

    def __init__(self, options: LinkOptions, places: Places | None = None) -> None:
        self._options = options
        self._places = places or Places(options.max_in_flight)
        self._talk = Exchange(options)
        self._tls = options.tls()
        _LINKS.add(self)
        self._reset()

    def _leave(self, request: BrokerRequest, deadline: float) -> float:
        """Seconds until a request may be sent. BrokerUnavailable if it may not, or the call will be over by then."""
        seconds = request.leave() if request.leave else 0.0
        if seconds and seconds >= deadline - time.monotonic():
            raise BrokerUnavailable("budget", "the call would be over before its turn")
        return seconds

    @abc.abstractmethod
    def _reset(self) -> None:
        """Forget sockets, threads and calls, without closing what a parent process still uses."""


_LINKS: weakref.WeakSet[Runner] = weakref.WeakSet()


def _after_fork() -> None:
    for link in list(_LINKS):
        link._tls.reset()
        link._places.reset()
        link._reset()


# Absent where there is no fork.
getattr(os, "register_at_fork", lambda **_: None)(after_in_child=_after_fork)
