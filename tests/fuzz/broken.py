"""Guards that are wrong on purpose, one way each: what the fuzzer must notice."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
from collections.abc import Callable
from typing import Any, Final

import pytest

from agentwrit_guard import exchange
from agentwrit_guard.core import (
    bearer,
    chain,
    claims,
    engine,
    inspection,
    jws,
    load,
    requirements,
    strictjson,
    validation,
    wire,
)
from agentwrit_guard.core.cache import IdentityCache
from agentwrit_guard.core.claims import Principal
from agentwrit_guard.core.decisions import Allowed, Denied, Reason
from agentwrit_guard.core.engine import Engine
from agentwrit_guard.core.identity import Identity
from agentwrit_guard.core.inspection import Inspection, Objection
from agentwrit_guard.core.scopes import Grant, Scope
from agentwrit_guard.core.validation import Validation

Break = Callable[[pytest.MonkeyPatch], None]


def scopes_by_prefix(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Grant, "covers", lambda grant, asked: any(asked.startswith(one.rstrip("*")) for one in grant.scopes))


def scope_stars_everywhere(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Scope, "covers", lambda held, asked: all(a in ("*", b) for a, b in zip(held, asked, strict=True)))


def any_one_of_all(patch: pytest.MonkeyPatch) -> None:
    real = requirements.Requirement._satisfied

    def lax(requirement: requirements.Requirement, grant: Grant, params: requirements.Params) -> Any:
        return real(dataclasses.replace(requirement, mode="any") if requirement.parts else requirement, grant, params)

    patch.setattr(requirements.Requirement, "_satisfied", lax)


def hostile_identifiers(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(requirements, "_unusable", lambda identifier: False)


def exp_one_second_late(patch: pytest.MonkeyPatch) -> None:
    real = Inspection._times

    def lax(self: Inspection, held: claims.AgentClaims, now: Any) -> Any:
        return real(self, held, now._replace(wall=now.wall - 1))

    patch.setattr(Inspection, "_times", lax)


def exp_not_checked(patch: pytest.MonkeyPatch) -> None:
    def lax(self: Engine, allowed: Allowed, requirement: Any, params: Any, now: Any) -> Any:
        return engine.judge(allowed, requirement, params, self._policy.realm) or allowed

    patch.setattr(Inspection, "_times", lambda self, held, now: None)
    patch.setattr(Engine, "judge", lax)


def nbf_leeway(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(inspection, "_NBF_LEEWAY", 6)


def iat_leeway(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(inspection, "IAT_AHEAD", 59)


def any_audience(patch: pytest.MonkeyPatch) -> None:
    real = Inspection._party

    def lax(self: Inspection, held: claims.AgentClaims) -> Any:
        wrong = real(self, held)
        return None if wrong and wrong[0] is Reason.AUDIENCE_MISMATCH else wrong

    patch.setattr(Inspection, "_party", lax)


def any_chain_hash(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(chain, "_hash_fits", lambda chain_hash, payload: True)


def compact_chain_hash(patch: pytest.MonkeyPatch) -> None:
    """Hashes the chain as it would write it itself, not as it stands."""
    real = chain._raw_member

    def rewritten(payload: str, wanted: str) -> str:
        return json.dumps(json.loads(real(payload, wanted)), ensure_ascii=False, separators=(",", ":"))

    patch.setattr(chain, "_raw_member", rewritten)


def any_widening(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(chain, "_widening", lambda held: None)


def any_depth(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(claims, "MAX_CHAIN", 6)


def any_alg(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(jws, "_header_is_ours", lambda header: True)


def aliases(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(jws, "_has_alias", lambda members, names: False)


def lax_base64(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(jws, "_decode", lambda text: base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def duplicates(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(strictjson, "_DECODER", json.JSONDecoder())


def size_limit(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(bearer, "MAX_TOKEN", 8193)
    patch.setattr(jws, "MAX_TOKEN", 8193)


def other_blanks(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(bearer, "_BEARER", re.compile(rb"bearer\s+([\x21-\x2b\x2d-\x7e]+)\s*", re.IGNORECASE))


def commas(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(bearer, "_BEARER", re.compile(rb"bearer +([\x21-\x2b\x2d-\x7e]+)(?:,.*)?[ \t]*", re.IGNORECASE))


def first_header(patch: pytest.MonkeyPatch) -> None:
    real = bearer.parse_authorization
    patch.setattr(engine, "parse_authorization", lambda entries: real(entries[:1]))


def no_binding(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(validation, "same_claims", lambda token, reply: True)


def truthy_valid(patch: pytest.MonkeyPatch) -> None:
    real = wire.BrokerReply.json

    def lax(reply: wire.BrokerReply) -> dict[str, object]:
        told = real(reply)
        return {**told, "valid": bool(told["valid"])} if "valid" in told else told

    patch.setattr(wire.BrokerReply, "json", lax)


def any_status(patch: pytest.MonkeyPatch) -> None:
    def lax(request: wire.BrokerRequest) -> wire.Flow[wire.BrokerReply]:
        reply = yield request
        return dataclasses.replace(reply, status=200)

    patch.setattr(wire, "ask", lax)


def rejection_kept_as_identity(patch: pytest.MonkeyPatch) -> None:
    """What the broker calls invalid is refused once, and let in from the cache after that."""

    real = Engine.validation

    def lax(self: Engine, lookup: Any, started: Any) -> Any:
        found = yield from real(self, lookup, started)
        if isinstance(found, Denied) and found.reason is Reason.REJECTED_BY_BROKER:
            self._cache._rejected.clear()
            allowed = Allowed(Principal(lookup.claims, started.wall, "cache"), "cache")
            self._cache.put(lookup.key, Identity(allowed, started))
        return found

    patch.setattr(Engine, "validation", lax)


def fault_kept_as_rejection(patch: pytest.MonkeyPatch) -> None:
    """A broker that is down becomes a 401."""
    patch.setattr(Validation, "unavailable", lambda self, fault: self._refuse(Reason.REJECTED_BY_BROKER))


def any_hit(patch: pytest.MonkeyPatch) -> None:
    """A hit in the cache is a decision: the requirement is not judged again."""

    def lax(self: Engine, key: bytes, requirement: Any, params: Any, now: Any) -> Allowed | None:
        identity = self._cache.get(key)
        return None if identity is None else identity.allowed

    patch.setattr(Engine, "_recall", lax)


def cached_by_its_last_word(patch: pytest.MonkeyPatch) -> None:
    """A token in the cache excuses the header that it stands in."""
    patch.setattr(
        engine, "plain_bearer", lambda entries: entries[0].split()[-1] if entries and entries[0].split() else None
    )


def deep_json(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(strictjson, "MAX_DEPTH", 17)


def large_replies(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(exchange, "MAX_REPLY", 65_537)


def text_of_the_path_ignored(patch: pytest.MonkeyPatch) -> None:
    """The handler's value alone counts: `01` and `1_0` become other objects."""
    real = requirements._Scoped.bind

    def lax(scoped: requirements._Scoped, params: requirements.Params) -> Any:
        return real(scoped, {name: value[1] if isinstance(value, tuple) else value for name, value in params.items()})

    patch.setattr(requirements._Scoped, "bind", lax)


def delegation_rules_ignored(patch: pytest.MonkeyPatch) -> None:
    real = engine.judge

    def lax(allowed: Allowed, requirement: requirements.Requirement, *args: Any) -> Denied | None:
        return real(allowed, dataclasses.replace(requirement, max_depth=None, delegated=True), *args)

    patch.setattr(engine, "judge", lax)


def lifetime_cap(patch: pytest.MonkeyPatch) -> None:
    """One second less than the setting says."""
    real = Inspection._times

    def strict(self: Inspection, held: claims.AgentClaims, now: Any) -> Any:
        at_the_cap = held.exp - held.iat == self._policy.max_token_lifetime
        return Objection(Reason.LIFETIME_EXCEEDED) if at_the_cap else real(self, held, now)

    patch.setattr(Inspection, "_times", strict)


def any_trust_domain(patch: pytest.MonkeyPatch) -> None:
    real = claims.agent_domain
    patch.setattr(inspection, "agent_domain", lambda sub: real(sub) and "agentwrit.local")


def forbidden_as_unauthorised(patch: pytest.MonkeyPatch) -> None:
    real = engine.judge

    def wrong(*args: Any) -> Denied | None:
        denied = real(*args)
        return denied and bearer.refuse(Reason.REJECTED_BY_BROKER, "agentwrit")

    patch.setattr(engine, "judge", wrong)


def star_holders_refused(patch: pytest.MonkeyPatch) -> None:
    real = engine.judge

    def wrong(allowed: Allowed, *args: Any) -> Denied | None:
        if any(scope.endswith(":*") for scope in allowed.principal.scopes):
            return bearer.refuse(Reason.INSUFFICIENT_SCOPE, "agentwrit")
        return real(allowed, *args)

    patch.setattr(engine, "judge", wrong)


def long_chains_refused(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(inspection, "has_loop", lambda held: len(held.delegation_chain) > 3)


def everybody_asked_for(patch: pytest.MonkeyPatch) -> None:
    """Right decisions, but a call for a token that is wrong by its own text."""
    real = Inspection._times

    def lax(self: Inspection, held: claims.AgentClaims, now: Any) -> Any:
        wrong = real(self, held, now)
        return None if wrong and wrong[0] is Reason.NOT_YET_VALID else wrong

    patch.setattr(Inspection, "_times", lax)


def raises(patch: pytest.MonkeyPatch) -> None:
    def wrong(text: str) -> str | None:
        return {"admin": "admin"}[text] if text == text.lower() and "spiffe" not in text else "agent"

    patch.setattr(inspection, "principal_kind", wrong)


def nothing_rejected(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(IdentityCache, "rejected", lambda self, key, now: False)
    patch.setattr(load, "validate", _always_valid)


def _always_valid(token: str) -> wire.Flow[Any]:
    found = yield from wire.validate(token)
    if found is not None:
        return found
    text = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


BROKEN: Final[tuple[Break, ...]] = (
    scopes_by_prefix, any_one_of_all, hostile_identifiers, exp_one_second_late, exp_not_checked, nbf_leeway, iat_leeway,
    any_audience, any_chain_hash, compact_chain_hash, any_widening, any_depth, any_alg, aliases, lax_base64, duplicates,
    size_limit, other_blanks, commas, first_header, no_binding, truthy_valid, any_status, rejection_kept_as_identity,
    fault_kept_as_rejection, any_hit, forbidden_as_unauthorised, star_holders_refused, long_chains_refused,
    everybody_asked_for, raises, nothing_rejected, cached_by_its_last_word, deep_json, large_replies,
    text_of_the_path_ignored, delegation_rules_ignored, lifetime_cap, any_trust_domain,
)  # fmt: skip
BROKEN_SCOPES: Final[tuple[Break, ...]] = (scopes_by_prefix, scope_stars_everywhere)
