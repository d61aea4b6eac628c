"""Which requests a guard judges at all: `public`, `protect`, `others`, `allow_preflight`.

Rules match the path that the router sees, as text, without normalising it. What is not plain is judged: a public
prefix never matches a path that servers, proxies or file systems could read differently.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal

from agentwrit_guard.core.bearer import Token, is_foreign, parse_authorization
from agentwrit_guard.core.jws import is_of_our_kind
from agentwrit_guard.errors import ConfigurationError

Others = Literal["refuse", "pass"]

# By these an app further in may take a request for one of another method. In a query it is called `_method`.
_OVERRIDES = frozenset(("x-http-method-override", "x-http-method", "x-method-override"))
_OVERRIDE_IN_QUERY = re.compile(rb"(?:\A|[&;])(?:_|%5f)method(?:=|[&;]|\Z)", re.IGNORECASE)

_RULE = re.compile(r"(?:([A-Z]+) )?(/[^\s?#*{}%\\]*)")


class Perimeter:
    """`public` lists what needs no agent, `protect` (if given) the only parts that do.

    `"/health"` is that path for GET and HEAD, `"POST /hooks"` names a method, a trailing slash makes a prefix. In
    `protect` a rule without a method is for all of them. With `others="pass"` a request whose credentials are not an
    AgentWrit agent's goes on without a principal; a token of our kind is judged, and a bad one never falls through.
    """

    def __init__(
        self,
        public: Iterable[str] = (),
        protect: Iterable[str] | None = None,
        others: Others = "refuse",
        allow_preflight: bool = False,
    ) -> None:
        if others not in ("refuse", "pass"):
            raise ConfigurationError(f"others must be 'refuse' or 'pass', got {others!r}")
        if not isinstance(allow_preflight, bool):
            raise ConfigurationError(f"allow_preflight must be True or False, got {allow_preflight!r}")
        self._public = _rules("public", public)
        if any(path == "/" for _, path in self._public):
            raise ConfigurationError("public has '/', which is a prefix of every path and would open the whole app")
        self._protect = None if protect is None else _rules("protect", protect)
        if self._protect is not None and not self._protect:
            raise ConfigurationError("protect is an empty list, so nothing would be guarded; leave it out to guard all")
        self._passes_others = others == "pass"
        self._allows_preflight = allow_preflight
        self.selective: bool = bool(self._public) or self._protect is not None or allow_preflight
        """Whether any request goes by unjudged."""

    def judges(self, method: str, path: str) -> bool:
        """Whether a request needs a decision."""
        method = method.upper()
        if self._public and self._is_public(method, path):
            return False
        return self._protect is None or self._is_protected(method, path)

    def judges_overridden(self, path: str) -> bool:
        """Whether a request needs a decision whose method an app further in may read otherwise (threats R-04)."""
        return self._protect is None or any(self._is_protected(rule[0] or "", path) for rule in self._protect)

    def allows_preflight(self, method: str, origin: bool, request_method: bool) -> bool:
        """Whether this is a CORS preflight (both headers are there) and may go on without credentials."""
        return self._allows_preflight and method == "OPTIONS" and origin and request_method

    def passes(self, authorization: Sequence[bytes]) -> bool:
        """Whether a request that was refused may go on all the same, because its credentials are not ours."""
        if not self._passes_others:
            return False
        if is_foreign(authorization):
            return True
        token = parse_authorization(authorization)
        return isinstance(token, Token) and not is_of_our_kind(token.reveal())

    def _is_public(self, method: str, path: str) -> bool:
        for rule_method, rule_path in self._public:
            if _is_of(method, rule_method or "GET"):
                if path == rule_path:
                    return True
                if rule_path.endswith("/") and path.startswith(rule_path) and _is_plain(path):
                    return True
        return False

    def _is_protected(self, method: str, path: str) -> bool:
        if not _is_plain(path):
            return True
        return any(
            (rule_method is None or _is_of(method, rule_method))
            and (f"{path}/".startswith(rule_path) if rule_path.endswith("/") else path.removesuffix("/") == rule_path)
            for rule_method, rule_path in self._protect or ()
        )


def overrides_method(headers: Iterable[str], query: bytes) -> bool:
    """Whether a request asks to be taken for one of another method; `headers` are names in lower case."""
    return not _OVERRIDES.isdisjoint(headers) or _OVERRIDE_IN_QUERY.search(query) is not None


def _is_of(method: str, rule: str) -> bool:
    """Apps run the view of a GET for a HEAD as well (threats R-01)."""
    return method == rule or (rule == "GET" and method == "HEAD")


def _is_plain(path: str) -> bool:
    if not path.startswith("/") or any(char in path for char in "\\\0\ufffd"):
        return False
    *inner, last = path[1:].split("/")
    return all(segment not in ("", ".", "..") for segment in inner) and last not in (".", "..")


def _rules(name: str, rules: Iterable[str]) -> tuple[tuple[str | None, str], ...]:
    if isinstance(rules, (str, bytes)) or not isinstance(rules, Iterable):
        raise ConfigurationError(f"{name} must be a list of paths, got {rules!r}")
    found = []
    for rule in rules:
        match = _RULE.fullmatch(rule) if isinstance(rule, str) else None
        if match is None or not _is_plain(match.group(2)):
            raise ConfigurationError(f"{name} has {rule!r}, which is not '/path', 'METHOD /path' or '/prefix/'")
        found.append((match.group(1), match.group(2)))
    return tuple(found)
