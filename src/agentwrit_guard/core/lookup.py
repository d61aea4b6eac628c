"""The third thing that a guard can decide: to ask the broker first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from agentwrit_guard.core.bearer import Token
from agentwrit_guard.core.claims import AgentClaims
from agentwrit_guard.core.requirements import Params, Requirement


@dataclass(frozen=True)
class Lookup:
    """A token that only the broker can judge. Hand it to `Guard.settle` or `Guard.asettle`."""

    token: Token
    key: bytes = field(repr=False)
    claims: AgentClaims = field(repr=False)
    payload: Mapping[str, object] = field(repr=False)
    requirement: Requirement
    params: Params
