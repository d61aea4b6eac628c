"""Guards that are wrong on purpose about pinned keys and about the local ceiling, one way each."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, Final

import pytest

from agentwrit_guard.core import bearer, engine
from agentwrit_guard.core.claims import Principal
from agentwrit_guard.core.decisions import Allowed, Denied, Reason
from agentwrit_guard.core.engine import Engine
from agentwrit_guard.core.identity import Identity
from agentwrit_guard.core.inspection import Inspection
from agentwrit_guard.core.jws import Jws, parse_jws
from agentwrit_guard.core.requirements import Requirement
from agentwrit_guard.core.scopes import Grant, Scope
from agentwrit_guard.pins import PinnedKeys
from tests.fuzz import guards
from tests.fuzz.broken import Break
from tests.fuzz.keys import ORDER

_verify: Final = PinnedKeys.verify


def pins_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Inspection, "_key", lambda self, token, jws: None)


def pins_after_the_broker(patch: pytest.MonkeyPatch) -> None:
    """The same decisions, but a forged token costs a call."""
    objection, real = Inspection._key, Engine.validation

    def late(self: Engine, lookup: Any, started: Any) -> Any:
        found = yield from real(self, lookup, started)
        jws = parse_jws(lookup.token.reveal())
        assert isinstance(jws, Jws)
        if isinstance(found, Denied) or objection(self._inspect, lookup.token, jws) is None:
            return found
        self._cache.reset()
        return self.refuse(Reason.BAD_SIGNATURE)

    patch.setattr(Inspection, "_key", lambda self, token, jws: None)
    patch.setattr(Engine, "validation", late)


def kid_not_compared(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(PinnedKeys, "verify", lambda keys, kid, *rest: _verify(keys, None, *rest))


def kid_of_any_pinned_key(patch: pytest.MonkeyPatch) -> None:
    """It must be pinned, but another key may have signed."""
    patch.setattr(
        PinnedKeys, "verify", lambda keys, kid, *rest: kid in (None, *keys._keys) and _verify(keys, None, *rest)
    )


def kid_is_enough(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(PinnedKeys, "verify", lambda keys, kid, *rest: kid in keys or _verify(keys, kid, *rest))


def no_kid_is_enough(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(PinnedKeys, "verify", lambda keys, kid, *rest: kid is None or _verify(keys, kid, *rest))


def kid_is_needed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(PinnedKeys, "verify", lambda keys, kid, *rest: kid is not None and _verify(keys, kid, *rest))


def first_key_only(patch: pytest.MonkeyPatch) -> None:
    def lax(keys: PinnedKeys, *rest: Any) -> bool:
        return _verify(PinnedKeys(dict(list(keys._keys.items())[:1])), *rest)

    patch.setattr(PinnedKeys, "verify", lax)


def large_s(patch: pytest.MonkeyPatch) -> None:
    """S and S + L are the same to it, as they are to verifiers older than RFC 8032."""

    def lax(keys: PinnedKeys, kid: str | None, signed: bytes, signature: bytes) -> bool:
        s = int.from_bytes(signature[32:], "little") % ORDER
        return _verify(keys, kid, signed, signature[:32] + s.to_bytes(32, "little"))

    patch.setattr(PinnedKeys, "verify", lax)


def thumbprints_ignored(patch: pytest.MonkeyPatch) -> None:
    real = PinnedKeys.load

    def lax(files: Sequence[str], thumbprints: Sequence[str] = ()) -> PinnedKeys:
        return real(files)

    patch.setattr(PinnedKeys, "load", lax)
    # Guards that are there already have read their keys.
    patch.setattr(guards, "_guard", functools.lru_cache(maxsize=None)(guards._guard.__wrapped__))


def _counting(patch: pytest.MonkeyPatch, counts: Callable[[Scope, frozenset[str]], object]) -> None:
    """What counts under a ceiling, by another rule."""

    def lax(principal: Principal) -> None:
        held = [(text, Scope.parse(text)) for text in principal.claims.scope]
        ceiling = principal.resources
        kept = [text for text, scope in held if ceiling is None or (scope and counts(scope, ceiling))]
        object.__setattr__(principal, "grant", Grant(kept))

    patch.setattr(Principal, "__post_init__", lax)


def ceiling_ignored(patch: pytest.MonkeyPatch) -> None:
    _counting(patch, lambda scope, ceiling: True)


def ceiling_by_prefix(patch: pytest.MonkeyPatch) -> None:
    _counting(patch, lambda scope, ceiling: any(scope.resource.startswith(name) for name in ceiling))


def ceiling_without_case(patch: pytest.MonkeyPatch) -> None:
    _counting(patch, lambda scope, ceiling: scope.resource.lower() in {name.lower() for name in ceiling})


def ceiling_by_any_part(patch: pytest.MonkeyPatch) -> None:
    _counting(patch, lambda scope, ceiling: ceiling & set(scope))


def ceiling_of_one_name(patch: pytest.MonkeyPatch) -> None:
    _counting(patch, lambda scope, ceiling: scope.resource == min(ceiling))


def ceiling_on_the_requirement_only(patch: pytest.MonkeyPatch) -> None:
    """It asks whether the route is about one of the resources, not what the token's scopes are about."""
    real = engine.judge

    def lax(allowed: Allowed, requirement: Requirement, params: Any, realm: str, ceiling: Any = None) -> Denied | None:
        whole = dataclasses.replace(allowed, principal=dataclasses.replace(allowed.principal, resources=None))
        asked = {text.split(":")[1] for text in requirement.scopes}
        if ceiling is not None and asked and not asked & ceiling:
            return bearer.refuse(Reason.OUTSIDE_RESOURCES, realm)
        return real(whole, requirement, params, realm)

    patch.setattr(engine, "judge", lax)


def ceiling_for_scopes_only(patch: pytest.MonkeyPatch) -> None:
    """Where any agent is enough, one is that holds nothing for this API."""

    def lax(self: Engine, allowed: Allowed, requirement: Requirement, params: Any, now: Any) -> Allowed | Denied:
        if now.wall >= allowed.principal.claims.exp:
            return self.refuse(Reason.EXPIRED)
        return engine.judge(allowed, requirement, params, self._policy.realm, self._policy.resources) or allowed

    patch.setattr(Engine, "judge", lax)


def ceiling_forgotten_by_the_cache(patch: pytest.MonkeyPatch) -> None:
    real = Identity.of

    def lax(claims: Any, started: Any, ceiling: Any, packed: Any = None) -> Identity:
        return real(claims, started, None, packed)

    patch.setattr(Identity, "of", lax)


def ceiling_as_unauthorised(patch: pytest.MonkeyPatch) -> None:
    real = engine.refuse

    def wrong(reason: Reason, *args: Any, **rest: Any) -> Denied:
        return real(Reason.REJECTED_BY_BROKER if reason is Reason.OUTSIDE_RESOURCES else reason, *args, **rest)

    patch.setattr(engine, "refuse", wrong)


BROKEN_POLICY: Final[tuple[Break, ...]] = (
    pins_ignored, pins_after_the_broker, kid_not_compared, kid_of_any_pinned_key, kid_is_enough, no_kid_is_enough,
    kid_is_needed, first_key_only, large_s, thumbprints_ignored, ceiling_ignored, ceiling_by_prefix,
    ceiling_without_case, ceiling_by_any_part, ceiling_of_one_name, ceiling_on_the_requirement_only,
    ceiling_for_scopes_only, ceiling_forgotten_by_the_cache, ceiling_as_unauthorised,
)  # fmt: skip
