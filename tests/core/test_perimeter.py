"""What a guard judges at all: public, protect, others, allow_preflight."""

from __future__ import annotations

from typing import Any

import pytest

from agentwrit_guard.errors import ConfigurationError
from agentwrit_guard.perimeter import Perimeter
from tests.core.kit import bearer
from tests.kit.tokens import header, token

PUBLIC = Perimeter(public=["/health", "POST /hooks", "/static/", "GET /page"])


@pytest.mark.parametrize("method, path, judged", [
    ("GET", "/health", False), ("HEAD", "/health", False), ("get", "/health", False), ("POST", "/health", True),
    ("OPTIONS", "/health", True), ("GETX", "/health", True), ("GET", "/health/", True), ("GET", "/healthz", True),
    ("GET", "/Health", True), ("GET", "//health", True), ("GET", "/health?x", True), ("GET", "/health#x", True),
    ("POST", "/hooks", False), ("post", "/hooks", False), ("GET", "/hooks", True), ("POST", "/hooks/x", True),
    ("GET", "/static/", False), ("GET", "/static/a/b.css", False), ("GET", "/static/a/", False), ("POST", "/static/a",
    True),
    ("GET", "/static", True), ("GET", "/staticx", True), ("GET", "/page", False), ("GET", "/other", True), ("GET", "",
    True),
    ("GET", "*", True), ("GET", "http://x/health", True),
    *[("GET", f"/static/{tail}", True) for tail in ("..", "../x", "a/../b", ".", "./a", "/a", "a//b", "a\\b", "\0",
        "a\ufffd",
                                                    "..\\x", "a/..")],
])  # fmt: skip
def test_r_06_public_is_as_it_is_written(method: str, path: str, judged: bool) -> None:
    assert PUBLIC.judges(method, path) is judged


PROTECT = Perimeter(protect=["/agents/", "/exact", "DELETE /things"])


@pytest.mark.parametrize("method, path, judged", [
    ("GET", "/agents/x", True), ("POST", "/agents/", True), ("GETX", "/agents/a/b", True), ("GET", "/agents", True),
    ("GET", "/agentsx", False), ("GET", "/", False), ("GET", "/exact", True), ("PUT", "/exact", True), ("GET",
    "/exact/x", False),
    ("DELETE", "/things", True), ("delete", "/things", True), ("GET", "/things", False),
    *[("GET", path, True) for path in ("/x/../agents/y", "//agents/y", "/./x", "/x\\agents", "/x\0", "/\ufffd", "x",
        "", "/x//y",
                                       "/x/..", "http://h/x")],
])  # fmt: skip
def test_r_06_protect_judges_what_is_not_plain(method: str, path: str, judged: bool) -> None:
    assert PROTECT.judges(method, path) is judged


@pytest.mark.parametrize("method", ["GET", "HEAD", "get", "head", "Head"])
@pytest.mark.parametrize("rule", ["GET /reports", "GET /reports/"])
def test_r_01_head_is_guarded_as_get(method: str, rule: str) -> None:
    perimeter = Perimeter(protect=[rule])
    assert perimeter.judges(method, "/reports")
    assert not perimeter.judges("POST", "/reports")


def test_public_goes_before_protect() -> None:
    perimeter = Perimeter(public=["/agents/health"], protect=["/agents/"])
    assert not perimeter.judges("GET", "/agents/health")
    assert perimeter.judges("POST", "/agents/health")
    assert Perimeter().judges("GET", "/anything")


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"public": "/health"}, "public"), ({"public": b"/health"}, "public"), ({"protect": "/x"}, "protect"),
    ({"protect": []}, "protect"), ({"others": "allow"}, "others"), ({"others": None}, "others"),
    ({"allow_preflight": 1}, "allow_preflight"), ({"allow_preflight": "yes"}, "allow_preflight"),
    *[({name: [rule]}, name) for name in ("public", "protect")
      for rule in ("", "health", "GET", "GET  /x", "get /x", "/a b", "/a*", "/{id}", "/a?b", "/a#b", "/a/../b",
          "/./a", "//a", "/a//",
                   "/a%2f", "/a\\b", "/..", "GET,POST /x", 7, None, b"/x", "/a\n", " /a", "/a ", "/a\0", "/a\ufffd")],
]  # fmt: skip


@pytest.mark.parametrize("options, name", WRONG)
def test_cfg_a_wrong_rule_is_named(options: dict[str, Any], name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        Perimeter(**options)


@pytest.mark.parametrize("allow, method, origin, request_method, passes", [
    (True, "OPTIONS", True, True, True), (False, "OPTIONS", True, True, False), (True, "OPTIONS", True, False, False),
    (True, "OPTIONS", False, True, False), (True, "GET", True, True, False), (True, "options", True, True, False),
])  # fmt: skip
def test_r_02_only_a_true_preflight(allow: bool, method: str, origin: bool, request_method: bool, passes: bool) -> None:
    assert Perimeter(allow_preflight=allow).allows_preflight(method, origin, request_method) is passes


HUMAN = token(head=header(alg="RS256"), sub="auth0|1")


@pytest.mark.parametrize("entries, passes", [
    ([], True), ([b""], True), ([b"Basic x"], True), (bearer(HUMAN), True), (bearer("opaque"), True),
    (bearer(token()), False), (bearer(token()[:-9]), False), ([b"Bearer"], False), ([b"Bearer a b"], False),
    ([b"Basic x", b"Basic y"], False), ([b"Basic x, Bearer " + token().encode()], False), ([b"Bearer " + b"a" * 9000],
    False),
    ([b"Bearer\t" + token().encode()], False), (bearer(token(sub="admin")), False),
])  # fmt: skip
def test_others_pass_only_what_is_plainly_not_ours(entries: list[bytes], passes: bool) -> None:
    assert Perimeter(others="pass").passes(entries) is passes
    assert not Perimeter().passes(entries)
