"""Arguments, checked before anything is sent: what the broker would refuse late, and at a price (contract 12.11).

A bad id burns the launch token and the nonce, a malformed scope comes back as 403, and a lifetime of zero silently
means the default. Every check raises ConfigurationError, which names the argument.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, cast

from agentwrit_guard.core.redacted import Redacted
from agentwrit_guard.core.scopes import Scope
from agentwrit_guard.errors import ConfigurationError

_LEVELS: Final = ("token", "agent", "task", "chain")
_LONGEST: Final = 3600.0

_ID: Final = re.compile(r"[A-Za-z0-9._-]+")
_APP_NAME: Final = re.compile(r"[a-z0-9-]{2,}")


def text(name: str, value: object) -> str:
    """For ids and secrets alike, so the value is not shown."""
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"{name} must be a non-empty string")
    return value


def secret(name: str, value: object) -> Redacted:
    return Redacted(text(name, value))


def path_id(name: str, value: object) -> str:
    """An id that becomes a segment of the agent id."""
    if not isinstance(value, str) or not _ID.fullmatch(value) or value in (".", ".."):
        raise ConfigurationError(f"{name} must be of letters, digits, '.', '_' and '-', and not '.' or '..': {value!r}")
    return value


def scope_list(name: str, value: object) -> list[str]:
    if not isinstance(value, (list, tuple)):
        raise ConfigurationError(f"{name} must be a list of scopes, not {type(value).__name__}")
    if not value:
        raise ConfigurationError(f"{name} must name at least one scope")
    for item in value:
        if not isinstance(item, str) or Scope.parse(item) is None:
            raise ConfigurationError(f"{name} has an entry that is not action:resource:identifier: {item!r}")
    return list(value)


def seconds(name: str, value: object, *, low: int = 1, high: int | None = None) -> int:
    if type(value) is not int or value < low or (high is not None and value > high):
        span = f"from {low} to {high}" if high is not None else f"of at least {low}"
        raise ConfigurationError(f"{name} must be a whole number of seconds {span}, got {value!r}")
    return value


def timeout(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= _LONGEST:
        raise ConfigurationError(f"timeout must be a number of seconds over 0 and up to {_LONGEST:g}, got {value!r}")
    return float(value)


def login_wait(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= _LONGEST:
        raise ConfigurationError(f"login_wait must be a number of seconds from 0 to {_LONGEST:g}, got {value!r}")
    return float(value)


def clock(value: object) -> Callable[[], float]:
    if not callable(value):
        raise ConfigurationError(f"clock must be a function that returns seconds, got {value!r}")
    return cast("Callable[[], float]", value)


def flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ConfigurationError(f"{name} must be True or False, got {value!r}")
    return value


def user_agent(value: object) -> str:
    """Printable ASCII, because it is sent as a header."""
    if not isinstance(value, str) or not value.strip() or not (value.isascii() and value.isprintable()):
        raise ConfigurationError(f"user_agent must be printable ASCII, got {value!r}")
    return value.strip()


def app_name(value: object) -> str:
    if not isinstance(value, str) or not _APP_NAME.fullmatch(value):
        raise ConfigurationError(f"name must be two or more lower-case letters, digits and hyphens, got {value!r}")
    return value


def level(value: object) -> str:
    if not isinstance(value, str) or value not in _LEVELS:
        raise ConfigurationError(f"level must be one of {', '.join(_LEVELS)}, got {value!r}")
    return value
