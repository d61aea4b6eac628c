"""Whether this process is a test run: pytest with this package's plugin on. Nothing else makes it one."""

_depth = 0


def begin() -> None:
    """Called by the plugin alone. A run may start another one inside itself."""
    global _depth
    _depth += 1


def end() -> None:
    global _depth
    _depth -= 1


def active() -> bool:
    return _depth > 0
