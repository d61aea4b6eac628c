"""A validated identity, ready to be handed out on a hit, or packed for a long wait.

Packed it is one text, which the garbage collector has nothing to do with: a million live identities would be nine
million objects that it goes through again and again, a second and more each time (decision 15). Packing loses
nothing, and no token is in it.
"""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Final, NamedTuple

from agentwrit_guard.core.claims import AgentClaims, DelegationRecord, Principal
from agentwrit_guard.core.decisions import Allowed
from agentwrit_guard.core.instant import Instant
from agentwrit_guard.core.scopes import Grant

_PLAIN: Final = tuple(field.name for field in fields(AgentClaims) if field.name != "delegation_chain")
_encode: Final = json.JSONEncoder(separators=(",", ":")).encode
_decode: Final = json.JSONDecoder().raw_decode


class Identity(NamedTuple):
    """A principal as the broker confirmed it in answer to a call that began at `started`.

    One that was unpacked brings its text along, so that it need not be packed again.
    """

    allowed: Allowed
    started: Instant
    packed: str | None = None

    @classmethod
    def of(
        cls, claims: AgentClaims, started: Instant, resources: frozenset[str] | None, packed: str | None = None
    ) -> Identity:
        return cls(Allowed(Principal(claims, started.wall, "cache", resources), "cache"), started, packed)

    def pack(self) -> str:
        if self.packed is not None:
            return self.packed
        claims = self.allowed.principal.claims
        chain = [(hop.agent, hop.scope, hop.delegated_at, hop.signature) for hop in claims.delegation_chain]
        return _encode((*self.started, chain, *map(vars(claims).__getitem__, _PLAIN)))


def unpack(packed: str, resources: frozenset[str] | None) -> Identity:
    """The identity that `pack` made the text of, under the ceiling of the guard whose it is.

    Filled through `vars`: the constructors of frozen classes would make a call for each value.
    """
    (monotonic, wall, chain, *values), _ = _decode(packed)
    claims = AgentClaims.__new__(AgentClaims)
    given = vars(claims)
    given.update(zip(_PLAIN, values, strict=True))
    given["aud"], given["scope"] = tuple(given["aud"]), tuple(given["scope"])
    given["delegation_chain"] = (
        tuple(DelegationRecord(agent, tuple(scope), *rest) for agent, scope, *rest in chain) if chain else ()
    )
    if resources is not None:
        return Identity.of(claims, Instant(monotonic, wall), resources, packed)
    principal, allowed = Principal.__new__(Principal), Allowed.__new__(Allowed)
    vars(principal).update(
        claims=claims, validated_at=wall, source="cache", resources=None, grant=Grant(given["scope"])
    )
    vars(allowed).update(principal=principal, source="cache")
    return Identity(allowed, Instant(monotonic, wall), packed)
