"""What a route asks of an agent, fixed and checked when it is declared.

A requirement is never empty: "any valid agent" has its own constructor. Each scope of it is either literal
(`write:orders:*` needs a held `*`) or a template whose identifier has one `{parameter}` of the route, with literal
text around it if wanted (`read:data:customer-{customer_id}`). A value can never shift the parts of a scope, become a
wildcard, or be empty; what it may look like is `IDENTIFIER` unless the declaration says otherwise by `charset`.
"""

from __future__ import annotations

import enum
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from agentwrit_guard.core.scopes import Grant, Scope
from agentwrit_guard.core.shadow import Until, shadow_end
from agentwrit_guard.errors import ConfigurationError

IDENTIFIER: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._~@=+-]{0,255}")

_PRINTABLE = re.compile(r"[\x21-\x7e]+")
_VARIABLE = re.compile(r"\{([^{}]*)\}")
_NEVER = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029\ufffd\ud800-\udfff]")
_MAX_VALUE: Final = 512


class RouteValue(NamedTuple):
    """A route parameter both ways: the text of the path, and what the handler receives."""

    raw: str | None
    converted: object


Params = Mapping[str, object]
"""Route parameters by name: a `RouteValue`, or any other value that stands for both its text and itself."""


class Unbound(NamedTuple):
    """A template found no usable value: 403 without a scope in the challenge (S-08 to S-13)."""

    template: str
    value: str


class Shortfall(NamedTuple):
    """Scopes that were required, and those of them not held."""

    required: tuple[str, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class _Scoped:
    """One declared scope; `variable` is None when it is literal, and then `before` is all of it."""

    text: str
    before: str
    variable: str | None
    after: str
    charset: re.Pattern[str]

    def bind(self, params: Params) -> str | Unbound:
        if self.variable is None:
            return self.before
        value = params.get(self.variable)
        raw, converted = value if isinstance(value, RouteValue) else (None, value)
        identifier = converted if type(converted) is str else identifier_text(converted)
        if raw is not None and raw != identifier:
            return Unbound(self.text, raw)
        if len(identifier) > _MAX_VALUE or not self.charset.fullmatch(identifier):
            return Unbound(self.text, identifier)
        # Nothing that IDENTIFIER takes is unusable.
        if self.charset is not IDENTIFIER and _unusable(identifier):
            return Unbound(self.text, identifier)
        return f"{self.before}{identifier}{self.after}"


def identifier_text(converted: object) -> str:
    """The identifier that a value of a route is."""
    if type(converted) is str:
        return converted
    if converted is None:
        return ""
    return str(converted.value) if isinstance(converted, enum.Enum) else str(converted)


def _unusable(identifier: str) -> bool:
    """Values that no `charset` of a declaration can let in."""
    return identifier in ("", "*", ".", "..") or _NEVER.search(identifier) is not None


@dataclass(frozen=True)
class Requirement:
    """Scopes, how they combine, and how fresh and how direct the agent's authority must be.

    `max_age` is in seconds since the broker last said that the token is valid; 0 asks it now. `max_depth` bounds
    the delegation records of the token, and `delegated=False` admits only tokens issued to the agent itself.
    `shadow_end` is when its refusals begin to count, in seconds since the epoch; None for at once.
    """

    mode: Literal["all", "any"]
    parts: tuple[_Scoped | Requirement, ...] = ()
    max_age: float | None = None
    max_depth: int | None = None
    delegated: bool = True
    shadow_end: float | None = None

    def __post_init__(self) -> None:
        if self.mode not in ("all", "any") or (self.mode == "any" and not self.parts):
            raise ConfigurationError("declare a requirement with all_of(), any_of() or Requirement.authenticated()")

    @classmethod
    def authenticated(
        cls,
        *,
        max_age: float | None = None,
        max_depth: int | None = None,
        delegated: bool = True,
        enforce: bool = True,
        until: Until = None,
    ) -> Requirement:
        """Any valid agent, whatever it holds."""
        return cls("all", (), *_rules(max_age, max_depth, delegated), shadow_end(enforce, until))

    @functools.cached_property
    def scopes(self) -> tuple[str, ...]:
        """Every scope or template named, in the order of the declaration."""
        texts: dict[str, None] = {}
        for part in self.parts:
            texts.update(dict.fromkeys((part.text,) if isinstance(part, _Scoped) else part.scopes))
        return tuple(texts)

    @functools.cached_property
    def variables(self) -> frozenset[str]:
        """Names of the route parameters that its templates take a value from."""
        names: set[str] = set()
        for part in self.parts:
            if isinstance(part, Requirement):
                names |= part.variables
            elif part.variable is not None:
                names.add(part.variable)
        return frozenset(names)

    def missing(self, grant: Grant, params: Params) -> Shortfall | Unbound | None:
        """None when `grant` satisfies it, else what is wrong. A template without a value fails, whatever is held."""
        verdict = self._satisfied(grant, params)
        if verdict is True:
            return None
        if isinstance(verdict, Unbound):
            return verdict
        required = tuple(dict.fromkeys(self._bound(params)))
        return Shortfall(required, tuple(scope for scope in required if not grant.covers(scope)))

    def _satisfied(self, grant: Grant, params: Params) -> bool | Unbound:
        held = 0
        for part in self.parts:
            if isinstance(part, _Scoped):
                bound = part.bind(params)
                if isinstance(bound, Unbound):
                    return bound
                held += grant.covers(bound)
            else:
                verdict = part._satisfied(grant, params)
                if isinstance(verdict, Unbound):
                    return verdict
                held += verdict
        return held == len(self.parts) or (held > 0 and self.mode == "any")

    def _bound(self, params: Params) -> Iterator[str]:
        for part in self.parts:
            if isinstance(part, Requirement):
                yield from part._bound(params)
            else:
                yield str(part.bind(params))


def all_of(
    *scopes: str | Requirement,
    max_age: float | None = None,
    max_depth: int | None = None,
    delegated: bool = True,
    charset: str | None = None,
    enforce: bool = True,
    until: Until = None,
) -> Requirement:
    """Every scope is required. `charset` is a regular expression for the whole value of a template's parameter.

    With `enforce=False` the fronts record a refusal and let the request through, to the end of the day `until` (UTC).
    ConfigurationError when there is no scope, or one is malformed, has a wildcard for its action or resource, or is
    of the broker's own `admin:` and `app:` families.
    """
    return Requirement(
        "all", _parts(scopes, charset), *_rules(max_age, max_depth, delegated), shadow_end(enforce, until)
    )


def any_of(
    *scopes: str | Requirement,
    max_age: float | None = None,
    max_depth: int | None = None,
    delegated: bool = True,
    charset: str | None = None,
    enforce: bool = True,
    until: Until = None,
) -> Requirement:
    """One of the scopes is enough. Takes and refuses what `all_of` does."""
    return Requirement(
        "any", _parts(scopes, charset), *_rules(max_age, max_depth, delegated), shadow_end(enforce, until)
    )


def _rules(max_age: float | None, max_depth: int | None, delegated: bool) -> tuple[float | None, int | None, bool]:
    if max_age is not None and (isinstance(max_age, bool) or not isinstance(max_age, (int, float)) or not max_age >= 0):
        raise ConfigurationError(f"max_age must be 0 or more seconds, got {max_age!r}")
    if max_depth is not None and (isinstance(max_depth, bool) or not isinstance(max_depth, int) or max_depth < 0):
        raise ConfigurationError(f"max_depth must be a whole number from 0, got {max_depth!r}")
    if not isinstance(delegated, bool):
        raise ConfigurationError(f"delegated must be True or False, got {delegated!r}")
    return max_age, max_depth, delegated


def _parts(scopes: Sequence[str | Requirement], charset: str | None) -> tuple[_Scoped | Requirement, ...]:
    if not scopes:
        raise ConfigurationError("a requirement needs at least one scope; use authenticated() for any valid agent")
    pattern = IDENTIFIER if charset is None else _compile(charset)
    parts: list[_Scoped | Requirement] = []
    for scope in scopes:
        if isinstance(scope, Requirement):
            if not scope.parts or _own_rules(scope):
                raise ConfigurationError("a nested requirement has scopes only; give its rules to the outer one")
            parts.append(scope)
        else:
            parts.append(_declare(scope, pattern))
    return tuple(parts)


def _own_rules(nested: Requirement) -> bool:
    rules = (nested.max_age, nested.max_depth, nested.delegated, nested.shadow_end)
    return rules != (None, None, True, None)


def _compile(charset: str) -> re.Pattern[str]:
    if not isinstance(charset, str) or not charset:
        raise ConfigurationError(f"charset must be a regular expression as text, got {charset!r}")
    try:
        return re.compile(charset)
    except (re.error, OverflowError, RecursionError) as error:
        raise ConfigurationError(f"charset {charset!r} is not a regular expression: {error}") from None


def _declare(text: object, charset: re.Pattern[str]) -> _Scoped:
    def refuse(why: str) -> ConfigurationError:
        return ConfigurationError(f"required scope {text!r} {why}")

    if not isinstance(text, str):
        raise refuse("is not a string; give each scope as an argument of its own")
    if not _PRINTABLE.fullmatch(text):
        raise refuse("is empty, or has blanks or characters outside printable ASCII")
    scope = Scope.parse(text)
    if scope is None:
        raise refuse("is not action:resource:identifier")
    if "*" in scope.action or "*" in scope.resource:
        raise refuse("has a wildcard outside the identifier; scopes have no such wildcard")
    if scope.reserved:
        raise refuse(f"is of the broker's own family {scope.action}:, which no API may require")
    if "{" in scope.action + scope.resource or "}" in scope.action + scope.resource:
        raise refuse("has a variable outside the identifier")
    variables = list(_VARIABLE.finditer(scope.identifier))
    if len(variables) > 1:
        raise refuse("has more than one variable")
    if not variables:
        if "{" in text or "}" in text:
            raise refuse("has a brace that is not part of a {variable}")
        return _Scoped(text, text, None, "", charset)
    variable = variables[0]
    name = variable.group(1)
    start = len(text) - len(scope.identifier)
    before, after = text[: start + variable.start()], text[start + variable.end() :]
    if not (name.isascii() and name.isidentifier()) or "{" in before + after or "}" in before + after:
        raise refuse("has a variable that is not a plain {name}")
    return _Scoped(text, before, name, after, charset)
