"""The guard under test, asked through `check` or `acheck`, and what it may not leave behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest

from agentwrit_guard import Allowed, Denied, Guard
from tests.faults.broker import THREADS

WATCHDOG = 25.0
"""Seconds. Above the timeout of every guard here, and never waited for unless something is wrong."""
SOON = 10.0
_DESCRIPTORS = next((path for path in ("/proc/self/fd", "/dev/fd") if os.path.isdir(path)), None)

T = TypeVar("T")


def watched(function: Callable[..., T], *args: object) -> T:
    """Call it in a thread, and fail if it never returns: not even a blocked event loop holds the test up."""
    found: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            found.append(function(*args))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True, name=THREADS)
    thread.start()
    thread.join(WATCHDOG)
    if thread.is_alive():
        pytest.fail(f"{function.__name__} hangs: no deadline ended it within {WATCHDOG:.0f} s")
    for error in errors:
        raise error
    return found[0]


def until(condition: Callable[[], Any], what: str) -> None:
    """Wait for another thread to get there."""
    end = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < end, f"it never came to it: {what}"
        time.sleep(0.002)


def bearer(text: str) -> list[bytes]:
    return [b"Bearer " + text.encode()]


class Blocking:
    """Through `check`."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    def check(self, text: str) -> Allowed | Denied:
        return watched(self._guard.check, bearer(text))

    def close(self, closed: Callable[[], None]) -> None:
        """Close the guard, and have it looked at whether that is so."""
        watched(self._guard.close)
        closed()


class Looping:
    """Through `acheck`, in an event loop that runs only while it is asked."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._loop = asyncio.new_event_loop()

    def check(self, text: str) -> Allowed | Denied:
        decision: Allowed | Denied = watched(self._loop.run_until_complete, self._guard.acheck(bearer(text)))
        self._nothing_runs("a decision")
        return decision

    def close(self, closed: Callable[[], None]) -> None:
        """As for the other; no turn of the loop comes to its help."""
        watched(self._loop.run_until_complete, self._guard.aclose())
        closed()
        self._nothing_runs("closing")
        watched(self._loop.run_until_complete, self._loop.shutdown_asyncgens())
        watched(self._loop.run_until_complete, self._loop.shutdown_default_executor())
        self._loop.close()

    def _nothing_runs(self, after: str) -> None:
        watched(self._loop.run_until_complete, _turns())
        left = asyncio.all_tasks(self._loop)
        assert not left, f"tasks are left after {after}: {left}"


async def _turns() -> None:
    """What a running loop gets done by itself: the HTTP library's generators close one inside another."""
    for _ in range(10):
        await asyncio.sleep(0)


@contextlib.contextmanager
def no_thread_left() -> Iterator[None]:
    """Of the guard's: the fault broker's own go by their name."""
    before = set(threading.enumerate())
    yield
    for thread in threading.enumerate():
        if thread not in before and thread.name != THREADS:
            thread.join(SOON)
            assert not thread.is_alive(), f"a thread is left: {thread.name}"


@contextlib.contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Sockets above all; anything else that is open counts, too. Where descriptors cannot be listed, a socket that
    is collected unclosed warns, and that fails the test as well."""
    before = _descriptors()
    yield
    gc.collect()
    left = _descriptors() - before
    assert not left, f"left open: {sorted(left)}"


def _descriptors() -> set[tuple[str, str]]:
    found = set()
    for number in os.listdir(_DESCRIPTORS) if _DESCRIPTORS else ():
        # The descriptor of the listing itself is gone by now.
        with contextlib.suppress(OSError):
            found.add((number, os.readlink(f"/proc/self/fd/{number}") if _DESCRIPTORS == "/proc/self/fd" else ""))
    return found
