"""Forked children that begin together, and are all there until each has said what it found."""

from __future__ import annotations

import contextlib
import os
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from bench.drills.interrupts import held_back

PATIENCE = 20
"""Seconds after which a child counts as stuck."""


class _Gate:
    """Children wait before it until their parent opens it, or is gone."""

    def __init__(self) -> None:
        reading, writing = os.pipe()
        self._reading, self._writing = os.fdopen(reading, "rb", 0), os.fdopen(writing, "wb", 0)

    def open(self) -> None:
        """Once more does nothing."""
        self._writing.close()
        self._reading.close()

    def mine(self) -> None:
        """For a child: it is its parent who opens this one."""
        self._writing.close()

    def wait(self) -> None:
        self._reading.read(1)


@dataclass
class _Child:
    pid: int
    pipe: int
    text: bytes = b""
    ended: bool = False

    def listen(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while not self.ended:
                data = os.read(self.pipe, 65536)
                self.text += data
                # It says its one line, or nothing any more.
                self.ended = not data or data.endswith(b"\n")


@dataclass
class Crowd:
    children: list[_Child] = field(default_factory=list)

    def done(self) -> bool:
        """Whether each has said something, or is gone."""
        for child in self.children:
            child.listen()
        return all(child.ended for child in self.children)

    def said(self) -> list[str]:
        """What those said that came to an end."""
        self.done()
        return [child.text.decode() for child in self.children if child.text.endswith(b"\n")]


@contextlib.contextmanager
def forked(works: Sequence[Callable[[], str]]) -> Iterator[Crowd]:
    """A child for each of `works`, which returns a line. None of them is left when the block ends."""
    start, leave = _Gate(), _Gate()
    crowd = Crowd()
    try:
        for work in works:
            with held_back():
                crowd.children.append(_fork(work, start, leave))
        start.open()
        yield crowd
    finally:
        crowd.done()
        for child in crowd.children:
            if not child.text.endswith(b"\n"):
                os.kill(child.pid, signal.SIGKILL)
        start.open()
        leave.open()
        for child in crowd.children:
            os.waitpid(child.pid, 0)
            os.close(child.pipe)


def _fork(work: Callable[[], str], start: _Gate, leave: _Gate) -> _Child:
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # The guard's own threads are why newer Pythons warn.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        _live(work, writing, start, leave)
    os.close(writing)
    os.set_blocking(reading, False)
    return _Child(pid, reading)


def _live(work: Callable[[], str], pipe: int, start: _Gate, leave: _Gate) -> None:
    """The life of a child. It never returns to what its parent was doing."""
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.alarm(PATIENCE)
        start.mine()
        leave.mine()
        start.wait()
        os.write(pipe, work().encode() + b"\n")
        leave.wait()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)
