"""Requirements and their templates (threats S-01 to S-16)."""

from __future__ import annotations

import enum
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentwrit_guard import Denied, Guard, Requirement, all_of, any_of
from agentwrit_guard.core.decisions import Reason
from agentwrit_guard.core.requirements import RouteValue, Shortfall, Unbound
from agentwrit_guard.core.scopes import Grant
from agentwrit_guard.errors import AgentWritError, ConfigurationError
from tests.core.conftest import GuardMaker
from tests.core.kit import SCOPE, bearer, verdict
from tests.kit.stub import StubBroker
from tests.kit.tokens import delegated, record, token

STAR = Grant(["read:data:*"])

WRONG = [
    *[pytest.param(text, id=f"S-01 {text!a}") for text in (None, "", [], (), ["read:data:1"], 7, b"read:data:1", {})],
    *[
        pytest.param(text, id=f"S-02 {text!a}")
        for text in ("read", "read:data", "read:data:", "read::1", ":data:1", "::", ":::", "*", "*:*:*", "read:*:1",
                     "*:data:1", "re*d:data:1", " read:data:1", "read:data:1 ", "read:da ta:1", "read:data:a b",
                     "read:data:1\n", "read:data:\t", "read:data:é", "réad:data:1", "read:data:\x00", "read:data:\x7f",
                     "read:data:\u2028", "read data 1", " ")
    ],
    *[
        pytest.param(text, id=f"J-30 {text}")
        for text in ("admin:revoke:*", "app:agents:*", "admin:x:{id}", "app:launch-tokens:1")
    ],
    *[
        pytest.param(text, id=f"S-09 {text}")
        for text in ("{action}:data:1", "read:{resource}:1", "read:{a}{b}:1", "{a}:{b}:{c}", "r{x}:data:1", "read:d}:1",
                     "read:{a:b}:1", "{:data:1")
    ],
    *[
        pytest.param(text, id=f"S-11a {text}")
        for text in ("read:data:{a}{b}", "read:data:{a}-{b}", "read:data:{a}:{a}", "read:data:x{a}y{b}z")
    ],
    *[
        pytest.param(text, id=f"S-12 {text}")
        for text in ("read:data:{id.__class__}", "read:data:{0}", "read:data:{id:>99}", "read:data:{}",
            "read:data:{id!r}",
                     "read:data:{id[0]}", "read:data:{{id}}", "read:data:{id", "read:data:id}", "read:data:{i-d}",
                     "read:data:}{", "read:data:{id}}", "read:data:{{id}", "read:data:{a{b}c}", "read:data:{1d}",
                     "read:data:{path:path}", "read:data:{*rest}")
    ],
]  # fmt: skip


@pytest.mark.parametrize("declare", [all_of, any_of])
@pytest.mark.parametrize("text", WRONG)
def test_s_a_wrong_requirement_is_a_start_up_error(declare: Any, text: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        declare(text)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, AgentWritError)
    with pytest.raises(ConfigurationError):
        declare("read:data:1", text)


SAID: list[tuple[Any, str]] = [
    (7, "is not a string; give each scope as an argument of its own"),
    ("", "is empty, or has blanks or characters outside printable ASCII"),
    ("read:data:a b", "is empty, or has blanks or characters outside printable ASCII"),
    ("read:data", "is not action:resource:identifier"),
    ("*:data:1", "has a wildcard outside the identifier; scopes have no such wildcard"),
    ("read:*:1", "has a wildcard outside the identifier; scopes have no such wildcard"),
    ("admin:revoke:1", "is of the broker's own family admin:, which no API may require"),
    ("app:agents:{id}", "is of the broker's own family app:, which no API may require"),
    *[(text, "has a variable outside the identifier")
      for text in ("{a}:data:1", "read:{a}:1", "r{:data:1", "read:d}:1", "r}:data:{id}")],
    *[(text, "has more than one variable") for text in ("read:data:{a}{b}", "read:data:{a}-{b}-{c}")],
    *[(text, "has a brace that is not part of a {variable}") for text in ("read:data:{id", "read:data:id}")],
    *[(text, "has a variable that is not a plain {name}")
      for text in ("read:data:{}", "read:data:{1d}", "read:data:{id!r}", "read:data:{{id}", "read:data:{id}}")],
]  # fmt: skip


@pytest.mark.parametrize("text, why", SAID)
def test_a_wrong_scope_is_named_with_what_is_wrong_with_it(text: Any, why: str) -> None:
    for declare in (all_of, any_of):
        with pytest.raises(ConfigurationError) as caught:
            declare("read:data:1", text)
        assert str(caught.value) == f"required scope {text!r} {why}"


def test_s_01_no_scope_at_all_is_a_start_up_error() -> None:
    for declare in (all_of, any_of):
        with pytest.raises(ConfigurationError, match=r"^a requirement needs at least one scope; use authenticated\(\)"):
            declare()


@pytest.mark.parametrize("empty", [(), [], "", {}, 0, False], ids=repr)
def test_s_01_an_empty_requirement_never_stands_for_any_agent(asking: Guard, empty: Any) -> None:
    with pytest.raises((TypeError, ValueError, AttributeError)):
        asking.check(bearer(token()), empty)


@pytest.mark.parametrize("arguments", [("any", ()), ("any",), ("either", ()), ("", ()), (None, ())], ids=repr)
def test_s_01_a_requirement_made_by_hand_is_checked_too(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(
        ConfigurationError, match=r"^declare .* all_of\(\), any_of\(\) or Requirement\.authenticated\(\)$"
    ):
        Requirement(*arguments)


RULES = [
    ("max_age", -1), ("max_age", -0.001), ("max_age", float("nan")), ("max_age", "5"), ("max_age", True), ("max_age",
    [1]),
    ("max_depth", -1), ("max_depth", 1.0), ("max_depth", "1"), ("max_depth", False),
    ("delegated", 0), ("delegated", None), ("delegated", "no"),
]  # fmt: skip


@pytest.mark.parametrize("name, value", RULES, ids=[f"{name}={value!r}" for name, value in RULES])
def test_a_wrong_rule_is_named(name: str, value: Any) -> None:
    for declare in (lambda **rule: all_of("read:a:1", **rule), lambda **rule: any_of("read:a:1", **rule),
                    lambda **rule: Requirement.authenticated(**rule)):  # fmt: skip
        with pytest.raises(ConfigurationError, match=name):
            declare(**{name: value})


@pytest.mark.parametrize("charset", ["[", "(", "*", 7, "(?P<", b"[a-z]+", "a{99999999999999999999}"], ids=repr)
def test_a_charset_that_is_no_regular_expression_for_text_is_a_start_up_error(charset: Any) -> None:
    with pytest.raises(ConfigurationError, match="charset"):
        all_of("read:data:{id}", charset=charset)


def test_rules_belong_to_the_outermost_requirement() -> None:
    for nested in (
        all_of("read:a:1", max_age=0),
        any_of("read:a:1", max_depth=1),
        all_of("read:a:1", delegated=False),
        Requirement.authenticated(),
    ):
        with pytest.raises(ConfigurationError, match=r"^a nested requirement has scopes only; .* outer one$"):
            any_of("read:b:1", nested)


BINDS = [
    ("read:data:{id}", "7291", "read:data:7291"),
    ("read:data:{id}", 7, "read:data:7"),
    ("read:data:{id}", uuid.UUID(int=1), "read:data:00000000-0000-0000-0000-000000000001"),
    ("read:data:{id}", "V1StGXR8_Z5jdHi6B-myT", "read:data:V1StGXR8_Z5jdHi6B-myT"),
    ("read:data:{id}", "-nano_id", "read:data:-nano_id"),
    ("read:data:{id}", "a.b@c~d=e+f", "read:data:a.b@c~d=e+f"),
    ("read:data:{id}", "x" * 256, "read:data:" + "x" * 256),
    ("read:data:customer-{id}", "7", "read:data:customer-7"),
    ("read:data:a:{id}:z", "7", "read:data:a:7:z"),
    ("read:data:{_x9}", "7", "read:data:7"),
    ("read:data:{id}", RouteValue("7", 7), "read:data:7"),
    ("read:data:{id}", RouteValue("-7", -7), "read:data:-7"),
    ("read:data:{id}", RouteValue("abc", "abc"), "read:data:abc"),
    ("read:data:{id}", RouteValue(None, 7), "read:data:7"),
]  # fmt: skip


@pytest.mark.parametrize("template, value, scope", BINDS)
def test_s_11a_a_value_completes_its_template(template: str, value: object, scope: str) -> None:
    name = next(iter(all_of(template).variables))
    assert all_of(template).missing(Grant([scope]), {name: value}) is None
    assert all_of(template).missing(Grant([]), {name: value}) == Shortfall((scope,), (scope,))


class Colour(enum.Enum):
    RED = "red"


class Level(int, enum.Enum):
    HIGH = 3


@pytest.mark.parametrize("member, text", [(Colour.RED, "red"), (Level.HIGH, "3")])
def test_an_enum_stands_for_its_value(member: enum.Enum, text: str) -> None:
    assert all_of("read:data:{id}").missing(Grant([f"read:data:{text}"]), {"id": RouteValue(text, member)}) is None


UNUSABLE = [
    *[pytest.param(value, id=f"S-08 {value!a}") for value in ("*", RouteValue("*", "*"), RouteValue("%2a", "*"))],
    *[pytest.param(value, id=f"S-09 {value!a}") for value in ("a:b", ":", "1:*", "a:", RouteValue("a:b", "a:b"))],
    *[
        pytest.param(value, id=f"S-10 {value!a}")
        for value in ("..", ".", "%2e%2e", "a/b", "", " ", "a ", " a", "a\x00", "\x00", "a\r\nb", "\n", "a\n", "\ufffd",
                      "a\ufffdb", "a\\b", ".hidden", "@a", "~a", "+a", "=a", "x" * 257, "é", "\u202ea", "a\u2028",
                      "a\xa0",
                      "a,b", "a;b", 'a"b', "a'b", "a?b", "a#b", "a%b", "a*", "**", "{id}", "a\ud800", "\uff11")
    ],
    *[pytest.param(value, id=f"S-11 {value!a}") for value in (None, RouteValue("", None), RouteValue("", ""))],
    *[
        pytest.param(value, id=f"S-13 {value!a}")
        for value in (RouteValue("+1", 1), RouteValue("01", 1), RouteValue("1_0", 10), RouteValue(" 1", 1),
                      RouteValue("\u0661", 1), RouteValue("1.0", 1), RouteValue("-0", 0), RouteValue("0x1", 1),
                      RouteValue("A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
                      uuid.UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")),
                      RouteValue("RED", Colour.RED), RouteValue("1e0", 1.0), RouteValue("true", True), b"x", ["x"], ())
    ],
]  # fmt: skip


@pytest.mark.parametrize("value", UNUSABLE)
def test_s_a_value_that_cannot_be_an_identifier_opens_nothing(asking: Guard, value: object) -> None:
    for requirement in (all_of("read:data:{id}"), any_of("write:x:1", "read:data:{id}"),
                        all_of(any_of("read:data:{id}", "read:data:7"))):  # fmt: skip
        assert isinstance(requirement.missing(Grant(["read:data:*", "write:x:1"]), {"id": value}), Unbound)
    denied = asking.check(bearer(token(scope=["read:data:*"])), all_of("read:data:{id}"), {"id": value})
    assert verdict(denied) == SCOPE
    assert isinstance(denied, Denied)
    assert denied.reason is Reason.UNUSABLE_IDENTIFIER
    assert "scope=" not in dict(denied.headers)["www-authenticate"]


def test_s_11_a_parameter_that_the_route_lacks_opens_nothing() -> None:
    for params in ({}, {"other": "7"}, {"ID": "7"}, {"{id}": "7"}):
        assert isinstance(all_of("read:data:{id}").missing(STAR, params), Unbound)
    assert isinstance(all_of("read:data:{id}").missing(Grant(["read:data:{id}", "read:data:None"]), {}), Unbound)


@pytest.mark.parametrize("value", ["", "*", ".", "..", "a b", "a\tb", "a\r\nb", "\x00", "\x7f", "\x9f", "\xa0",
    "\ufffd",
                                   "\u2028", "\u2029", "x" * 513, None])  # fmt: skip
def test_s_10_no_charset_lets_these_in(value: object) -> None:
    for charset in (".*", "(?s).*", "[^/]*", r"[\s\S]*"):
        assert isinstance(all_of("read:data:{id}", charset=charset).missing(STAR, {"id": value}), Unbound)


@pytest.mark.parametrize("charset, value, binds", [
    (r"[a-z]+:[a-z]+", "a:b", True),
    (r"[a-z]+:[a-z]+", "a:b:c", False),
    (r"[0-9]+", "7", True),
    (r"[0-9]+", "7a", False),
    (r"[0-9]+", "7\n", False),
    (r"^[0-9]+$", "7\n", False),
    (r"a|ab", "ab", True),
    (r"é+", "é", True),
    (r".{512}", "x" * 512, True),
])  # fmt: skip
def test_s_09_s_10_a_charset_is_for_the_whole_value(charset: str, value: str, binds: bool) -> None:
    requirement = all_of("read:data:{id}", charset=charset)
    assert (requirement.missing(STAR, {"id": value}) is None) is binds
    assert (any_of("read:data:{id}", charset=charset).missing(STAR, {"id": value}) is None) is binds
    if binds:
        assert requirement.missing(Grant([f"read:data:{value}"]), {"id": value}) is None
        assert requirement.missing(Grant(["read:data:other"]), {"id": value}) is not None


@given(st.text(max_size=20))
def test_s_10_whatever_binds_is_covered_by_exactly_itself(value: str) -> None:
    requirement = all_of("read:data:{id}", charset="(?s).*")
    verdict = requirement.missing(STAR, {"id": value})
    if verdict is None:
        assert value not in ("", "*", ".", "..")
        assert requirement.missing(Grant([f"read:data:{value}"]), {"id": value}) is None
        assert requirement.missing(Grant([f"read:data:{value}x", "read:data:x*"]), {"id": value}) is not None
    else:
        assert isinstance(verdict, Unbound)


def test_s_03_s_04_a_literal_star_needs_a_held_star() -> None:
    assert all_of("read:data:*").missing(Grant(["read:data:1"]), {}) == Shortfall(("read:data:*",), ("read:data:*",))
    assert all_of("read:data:*").missing(STAR, {}) is None


COMBINATIONS = [
    (all_of("r:a:1", "r:b:2"), ["r:a:1", "r:b:2"], True),
    (all_of("r:a:1", "r:b:2"), ["r:a:1"], False),
    (all_of("r:a:1", "r:b:2"), ["r:b:*"], False),
    (any_of("r:a:1", "r:b:2"), ["r:b:2"], True),
    (any_of("r:a:1", "r:b:2"), ["r:c:3"], False),
    (all_of("r:a:1", any_of("r:b:2", "r:c:3")), ["r:a:1", "r:c:3"], True),
    (all_of("r:a:1", any_of("r:b:2", "r:c:3")), ["r:b:2", "r:c:3"], False),
    (all_of("r:a:1", any_of("r:b:2", "r:c:3")), ["r:a:1"], False),
    (any_of("r:a:1", all_of("r:b:2", "r:c:3")), ["r:b:2", "r:c:3"], True),
    (any_of("r:a:1", all_of("r:b:2", "r:c:3")), ["r:b:2"], False),
    (all_of("r:a:1", "r:a:1"), ["r:a:1"], True),
    (all_of("r:a:b:c"), ["r:a:*"], True),
]


@pytest.mark.parametrize("requirement, held, satisfied", COMBINATIONS)
def test_s_15_combinations(requirement: Requirement, held: list[str], satisfied: bool) -> None:
    shortfall = requirement.missing(Grant(held), {})
    assert (shortfall is None) is satisfied
    if isinstance(shortfall, Shortfall):
        assert set(shortfall.required) == set(requirement.scopes)
        assert set(shortfall.missing) == {scope for scope in shortfall.required if not Grant(held).covers(scope)}


def test_s_15_nested_templates_take_their_values_from_the_same_route() -> None:
    requirement = all_of("read:a:{x}", any_of("read:b:{y}", "read:c:{x}"))
    bound = ("read:a:1", "read:b:2", "read:c:1")
    assert requirement.missing(Grant([]), {"x": "1", "y": "2"}) == Shortfall(bound, bound)
    assert requirement.missing(Grant(["read:a:1", "read:c:1"]), {"x": "1", "y": "2"}) is None


@pytest.mark.parametrize("value, shown", [("a b", "a b"), (RouteValue("01", 1), "01"), (None, "")])
def test_an_unusable_value_is_told_with_its_template(value: object, shown: str) -> None:
    assert all_of("read:data:{id}").missing(STAR, {"id": value}) == Unbound("read:data:{id}", shown)


def test_s_15_256_scopes_are_required_of_256() -> None:
    scopes = [f"read:data:{number}" for number in range(256)]
    assert all_of(*scopes).missing(Grant(scopes), {}) is None
    assert all_of(*scopes).missing(Grant(scopes[1:]), {}) == Shortfall(tuple(scopes), (scopes[0],))
    assert any_of(*scopes).missing(Grant(scopes[-1:]), {}) is None


def test_a_requirement_tells_what_it_names() -> None:
    requirement = all_of("r:a:{x}", any_of("r:b:{y}-1", "r:a:{x}", "r:c:3"))
    assert requirement.scopes == ("r:a:{x}", "r:b:{y}-1", "r:c:3")
    assert requirement.variables == {"x", "y"}
    assert Requirement.authenticated().scopes == ()
    assert Requirement.authenticated().variables == frozenset()
    assert Requirement.authenticated().missing(Grant([]), {}) is None


DELEGATION = [
    ({"delegated": False}, 0, True),
    ({"delegated": False}, 1, False),
    ({"max_depth": 0}, 0, True),
    ({"max_depth": 0}, 1, False),
    ({"max_depth": 2}, 2, True),
    ({"max_depth": 2}, 3, False),
    ({}, 5, True),
]


@pytest.mark.parametrize("rule, depth, passes", DELEGATION)
def test_d_02_a_sound_chain_that_the_route_does_not_want(
    make: GuardMaker, stub: StubBroker, rule: dict[str, Any], depth: int, passes: bool
) -> None:
    guard = make(stub.url)
    text = token(delegated(*[record()] * depth)) if depth else token()
    for requirement in (all_of("read:customers:7291", **rule), Requirement.authenticated(**rule)):
        for _ in ("asked", "cached"):
            decision = guard.check(bearer(text), requirement)
            assert verdict(decision) == ("allowed" if passes else SCOPE)
            if isinstance(decision, Denied):
                assert decision.reason is Reason.DELEGATION_RULE
                assert "scope=" not in dict(decision.headers)["www-authenticate"]
    assert stub.calls == 1
