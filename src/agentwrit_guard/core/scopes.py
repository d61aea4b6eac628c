"""Scopes as the broker reads them (contract section 8), and the set of scopes that a principal holds.

Invariants: a scope is split at the first two colons only, all three parts are non-empty, nothing is trimmed, folded
or normalised, and the only wildcard is a held identifier that is exactly `*`.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Final, NamedTuple

_RESERVED_ACTIONS: Final = ("admin", "app")


class Scope(NamedTuple):
    """One `action:resource:identifier`."""

    action: str
    resource: str
    identifier: str

    @classmethod
    def parse(cls, text: str) -> Scope | None:
        """The scope that `text` spells, or None if the broker would call it malformed."""
        parts = text.split(":", 2)
        return cls(*parts) if len(parts) == 3 and all(parts) else None

    def covers(self, requested: Scope) -> bool:
        return self[:2] == requested[:2] and self.identifier in ("*", requested.identifier)

    @property
    def reserved(self) -> bool:
        """Whether it is of the broker's own families, which satisfy no requirement of an API (contract 10.3)."""
        return self.action in _RESERVED_ACTIONS


def scope_is_subset(requested: Iterable[str], allowed: Iterable[str]) -> bool:
    """Whether every requested scope is covered by some allowed one, by the broker's rules.

    Unlike the official SDK's function of this name it splits at the first two colons and never takes equality of
    malformed texts for cover. An empty `requested` is covered, as it is for the broker: never ask that to decide
    access. A plain string in place of a list raises TypeError.
    """
    for name, value in (("requested", requested), ("allowed", allowed)):
        if isinstance(value, (str, bytes)):
            raise TypeError(f"{name} must be a list of scopes, not one string")
    grant = Grant(allowed)
    return all(grant.covers(text) for text in requested)


class AllIdentifiers(enum.Enum):
    """The type of `ALL`: a set of identifiers that contains every one, and cannot be listed."""

    ALL = "ALL"

    def __contains__(self, identifier: object) -> bool:
        return isinstance(identifier, str)

    def __repr__(self) -> str:
        return "ALL"


ALL: Final = AllIdentifiers.ALL


class Grant:
    """Held scopes, indexed at the first check so that each one is two look-ups whatever their number.

    Malformed entries are kept in `scopes` and cover nothing. Reserved families are covered as text, because a
    delegation chain may name them; `Principal.can` and requirements never ask for them.
    """

    __slots__ = ("_exact", "_families", "scopes")

    scopes: tuple[str, ...]
    _exact: frozenset[str] | None
    _families: frozenset[tuple[str, ...]]

    def __init__(self, scopes: Iterable[str]) -> None:
        object.__setattr__(self, "scopes", tuple(scopes))
        object.__setattr__(self, "_exact", None)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"Grant is frozen, cannot set {name!r}")

    def __repr__(self) -> str:
        return f"Grant({list(self.scopes)!a})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Grant) and self.scopes == other.scopes

    def __hash__(self) -> int:
        return hash(self.scopes)

    def covers(self, requested: str) -> bool:
        if requested in self._indexed():
            return True
        scope = Scope.parse(requested)
        return scope is not None and scope[:2] in self._families

    def identifiers(self, action: str, resource: str) -> AllIdentifiers | frozenset[str]:
        """Which identifiers of a resource the holder may act on: `ALL`, or the set for a query's WHERE."""
        exact = self._indexed()
        if (action, resource) in self._families:
            return ALL
        scopes = (Scope.parse(text) for text in exact)
        return frozenset(s.identifier for s in scopes if s is not None and s[:2] == (action, resource))

    def _indexed(self) -> frozenset[str]:
        """The well-formed scopes. Threads that come first together all make the same index."""
        exact = self._exact
        if exact is None:
            parsed = [(text, scope) for text in self.scopes if (scope := Scope.parse(text)) is not None]
            exact = frozenset(text for text, _ in parsed)
            object.__setattr__(self, "_families", frozenset(s[:2] for _, s in parsed if s.identifier == "*"))
            # Last: whoever sees it finds the families too.
            object.__setattr__(self, "_exact", exact)
        return exact
