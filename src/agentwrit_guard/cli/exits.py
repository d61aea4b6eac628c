"""How a command ends early, and where its log records go."""

from __future__ import annotations

import argparse
import contextlib
import logging
import signal
from collections.abc import Iterator
from types import FrameType
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

log: logging.Logger = logging.getLogger("agentwrit_guard")


class CommandError(Exception):
    """The command cannot be carried out. The text is the one line that the user gets; exit code 2."""


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Within, SIGINT and SIGTERM alike raise KeyboardInterrupt with their number, so that everything is undone.

    A second signal ends the process at once, also after the block: calls under way may keep it for some seconds.
    Main thread only.
    """
    numbers = (signal.SIGINT, signal.SIGTERM)
    interrupted = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        for each in numbers:
            signal.signal(each, signal.SIG_DFL)
        raise KeyboardInterrupt(number)

    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        if not interrupted:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextlib.contextmanager
def logging_to_stderr(*, verbose: bool) -> Iterator[None]:
    """Within, warnings of the package go to stderr, with `verbose` everything it logs."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    level, propagate = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.DEBUG if verbose else logging.WARNING)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        log.propagate = propagate
