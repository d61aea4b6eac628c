"""What the sync runner and the async one are made of."""

from __future__ import annotations

import abc
import os
import weakref

from agentwrit_guard.exchange import Exchange
from agentwrit_guard.transport import LinkOptions


class Runner(abc.ABC):
    """What both runners have: options, TLS context, and a way to begin anew after a fork."""

    def __init__(self, options: LinkOptions) -> None:
        self._options = options
        self._talk = Exchange(options)
        self._tls = options.tls()
        _LINKS.add(self)
        self._reset()

    @abc.abstractmethod
    def _reset(self) -> None:
        """Forget sockets, threads and calls, without closing what a parent process still uses."""


_LINKS: weakref.WeakSet[Runner] = weakref.WeakSet()


def _after_fork() -> None:
    for link in list(_LINKS):
        link._tls.reset()
        link._reset()


# Absent where there is no fork.
getattr(os, "register_at_fork", lambda **_: None)(after_in_child=_after_fork)
