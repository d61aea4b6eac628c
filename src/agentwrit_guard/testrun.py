"""Whether this process is a test run: pytest with this package's plugin on. Nothing else makes it one."""

from collections.abc import Callable

_depth = 0
_at_end: list[Callable[[], None]] = []


def begin() -> None:
    """Called by the plugin alone. A run may start another one inside itself."""
    global _depth
    _depth += 1


def end() -> None:
    global _depth
    _depth -= 1
    if not _depth:
        for tidy in _at_end:
            tidy()


def at_end(tidy: Callable[[], None]) -> None:
    """Call this whenever a run has ended."""
    _at_end.append(tidy)


def active() -> bool:
    return _depth > 0
