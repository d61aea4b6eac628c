"""The broker's own verdicts on scopes: no difference."""

from __future__ import annotations

from agentwrit_guard import Scope, scope_is_subset
from agentwrit_guard.core.scopes import Grant
from tests.vectors.folder import load

CASES = load("scope_cover.json")["cases"]


def _covers(held: str, requested: str) -> bool:
    one, other = Scope.parse(held), Scope.parse(requested)
    return one is not None and other is not None and one.covers(other)


def test_no_verdict_differs() -> None:
    assert CASES
    differ = [
        (requested, held, covered)
        for requested, held, covered in CASES
        if {_covers(held, requested), Grant([held]).covers(requested), scope_is_subset([requested], [held])}
        != {covered}
    ]
    assert differ == []
