"""Scopes as the broker reads them (threats S; contract section 8)."""

from __future__ import annotations

import json
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentwrit_guard import ALL, Scope, scope_is_subset
from agentwrit_guard.core.scopes import Grant

VECTORS = pathlib.Path(__file__).parent.parent / "vectors" / "data" / "scope_cover.json"


def covers(held: str, requested: str) -> bool:
    """The contract's own five lines."""
    h, r = held.split(":", 2), requested.split(":", 2)
    return len(h) == len(r) == 3 and all(h) and all(r) and h[:2] == r[:2] and h[2] in ("*", r[2])


part = st.sampled_from(["read", "data", "*", "a", "A", "", " ", "é", "e\u0301", "１", "**", "x*", "a:b", ":", "admin"])
texts = st.one_of(
    st.builds("{}:{}:{}".format, part, part, part),
    st.builds("{}:{}".format, part, part),
    st.text(alphabet="read:dat*:: \u202e", max_size=12),
    st.text(max_size=12),
)
valid_scopes = st.builds("{}:{}:{}".format, *[st.text(st.characters(exclude_characters=":"), min_size=1)] * 2,
                         st.text(min_size=1))  # fmt: skip


@given(texts, texts)
def test_s_17_grant_and_scope_agree_with_the_reference(held: str, requested: str) -> None:
    assert Grant([held]).covers(requested) is covers(held, requested)
    assert scope_is_subset([requested], [held]) is covers(held, requested)
    h, r = Scope.parse(held), Scope.parse(requested)
    assert (h is not None and r is not None and h.covers(r)) is covers(held, requested)


@given(st.lists(texts, max_size=6), st.lists(texts, max_size=6))
def test_s_17_lists_agree_with_the_reference(held: list[str], requested: list[str]) -> None:
    expected = all(any(covers(h, r) for h in held) for r in requested)
    assert scope_is_subset(requested, held) is expected


@given(valid_scopes)
def test_s_17_reflexive_on_valid_scopes(scope: str) -> None:
    assert Grant([scope]).covers(scope)


@given(texts, texts, texts)
def test_s_17_transitive(a: str, b: str, c: str) -> None:
    if Grant([a]).covers(b) and Grant([b]).covers(c):
        assert Grant([a]).covers(c)


@given(st.lists(texts, max_size=6), st.lists(texts, max_size=6), st.lists(texts, max_size=6))
def test_s_17_more_asked_is_never_easier_and_more_held_never_harder(
    held: list[str], requested: list[str], more: list[str]
) -> None:
    if scope_is_subset(requested + more, held):
        assert scope_is_subset(requested, held)
    if scope_is_subset(requested, held):
        assert scope_is_subset(requested, held + more)


def test_s_17_recorded_verdicts_of_the_broker() -> None:
    cases = json.loads(VECTORS.read_text())["cases"]
    assert len(cases) > 200
    wrong = [case for case in cases if scope_is_subset([case[0]], [case[1]]) is not case[2]]
    assert wrong == []
    for requested, held, covered in cases:
        one, other = Scope.parse(held), Scope.parse(requested)
        if one is not None and other is not None:
            assert one.covers(other) is covered


REFUSED = [
    *[pytest.param(held, "read:data:1", id=f"S-03 {held}")
      for held in ("*:*:*", "read:*:1", "*:data:1", "read:data:**", "read:data:*:x", "read:data:1*", "read:*:*", "*",
                   "read:data", "read:data:", "read::*", ":data:*", "", "::", "read:data:{id}")],
    pytest.param("read:data:1", "read:data:*", id="S-04 a literal star needs a held star"),
    pytest.param("read:data:**", "read:data:*", id="S-04 two stars are not one"),
    *[pytest.param(held, requested, id=f"S-05 {held} {requested}")
      for held, requested in (("READ:data:1", "read:data:1"), ("read:Data:1", "read:data:1"),
                              ("read:data:a", "read:data:A"), ("Read:data:*", "read:data:1"))],
    pytest.param("read:data:\u00e9", "read:data:e\u0301", id="S-06 composed and decomposed"),
    pytest.param("read:data:\uff0a", "read:data:1", id="S-06 full-width star"),
    pytest.param("read:data:\u0131", "read:data:i", id="S-06 dotless i"),
    pytest.param("read:data:\u202e1", "read:data:1", id="S-06 right-to-left override"),
    pytest.param("re\u0430d:data:*", "read:data:1", id="S-06 a letter of another script"),
    pytest.param("read:data:* ", "read:data:1", id="S-07 star and blank"),
    pytest.param("read:data:*\n", "read:data:1", id="S-07 star and newline"),
    pytest.param("read:data:%2a", "read:data:1", id="S-07 escaped star"),
    pytest.param("read:data:1 ", "read:data:1", id="S-07 trailing blank"),
    pytest.param(" read:data:1", "read:data:1", id="S-07 leading blank"),
]  # fmt: skip


@pytest.mark.parametrize("held, requested", REFUSED)
def test_s_what_does_not_cover(held: str, requested: str) -> None:
    assert not Grant([held]).covers(requested)
    assert not Grant(["write:x:1", held, "read:other:*"]).covers(requested)


@pytest.mark.parametrize("text", ["read:data:* ", "read:data:%2a", "read:data:1\n", "read:data:é", "read:data:a:b::"])
def test_s_07_an_odd_identifier_is_itself(text: str) -> None:
    assert Grant([text]).covers(text)
    assert Grant(["read:data:*"]).covers(text)


def test_s_15_many_scopes_against_many_requirements() -> None:
    held = [f"read:data:{number}" for number in range(256)]
    grant = Grant(held)
    assert all(grant.covers(text) for text in held)
    assert not any(grant.covers(f"read:data:{number}") for number in range(256, 512))
    assert scope_is_subset(held, held)
    assert not scope_is_subset([*held, "read:data:256"], held)


def test_s_01_an_empty_request_is_the_brokers_yes() -> None:
    assert scope_is_subset([], [])
    assert scope_is_subset([], ["read:a:1"])
    assert not scope_is_subset(["read:a:1"], [])


@pytest.mark.parametrize("one", ["read:a:1", b"read:a:1", ""])
def test_one_string_is_no_list_of_scopes(one: str) -> None:
    with pytest.raises(TypeError, match=r"^requested must be a list of scopes"):
        scope_is_subset(one, ["read:a:1"])
    with pytest.raises(TypeError, match=r"^allowed must be a list of scopes"):
        scope_is_subset(["read:a:1"], one)


def test_all_holds_every_text_and_nothing_else() -> None:
    assert "anything" in ALL
    assert "" in ALL
    assert 7 not in ALL
    assert None not in ALL
    assert repr(ALL) == "ALL"
    with pytest.raises(TypeError):
        iter(ALL)  # type: ignore[call-overload]


def test_a_grant_is_a_frozen_value() -> None:
    grant = Grant(["read:a:1", "read:é:1", "bad"])
    assert grant.scopes == ("read:a:1", "read:é:1", "bad")
    assert grant == Grant(["read:a:1", "read:é:1", "bad"])
    assert hash(grant) == hash(Grant(grant.scopes))
    assert hash(grant) != hash(Grant(["read:a:1"]))
    assert grant != Grant(["read:a:1"])
    assert grant != ("read:a:1", "read:é:1", "bad")
    assert repr(grant) == r"Grant(['read:a:1', 'read:\xe9:1', 'bad'])"
    with pytest.raises(AttributeError):
        grant.scopes = ()  # type: ignore[misc]
