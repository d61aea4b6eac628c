"""Which tokens the broker calls valid and what it refuses: a reading of its HTTP contract, to judge the twin by.

Plain data, no I/O, nothing of the twin's. `§` is a section of the contract. Times are unix seconds. `refusals_*` give
the HTTP statuses that the contract allows for a request; none means that it must succeed, and then the method named
after the request says what follows. The broker draws ids at random, so these are told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

MAX_DEPTH = 5  # §6


@dataclass(frozen=True)
class Token:
    """The claims that decide (§4). Apps and admins have no task and no orchestrator."""

    jti: str
    sub: str
    scope: tuple[str, ...]
    iat: int
    exp: int
    task_id: str | None = None
    orch_id: str | None = None
    chain: tuple[tuple[str, tuple[str, ...]], ...] = ()  # who passed it on, root first, and the scope each held


def covers(held: str, requested: str) -> bool:
    """§8: three parts that are not empty; the first two equal as text, the third equal or held as exactly `*`."""
    has, wants = held.split(":", 2), requested.split(":", 2)
    well_formed = len(has) == len(wants) == 3 and all(has) and all(wants)
    return well_formed and has[:2] == wants[:2] and has[2] in ("*", wants[2])


def covered(held: Sequence[str], requested: Sequence[str]) -> bool:
    """§8: each entry by some held one; so an empty request always is."""
    return all(any(covers(one, wanted) for one in held) for wanted in requested)


@dataclass
class Broker:
    """All that it has to remember. Its audience and issuer are unset (§4)."""

    max_ttl: int
    now: float
    agents: set[str] = field(default_factory=set)  # the registry
    revoked: set[tuple[str, str | None]] = field(default_factory=set)  # level and target, for good

    def valid(self, token: Token) -> bool:
        """§4: from `nbf`, which is `iat`, through all of second `exp`. §7: no more than these four matches."""
        root = token.chain[0][0] if token.chain else None
        marks = {("token", token.jti), ("agent", token.sub), ("task", token.task_id), ("chain", root)}
        return token.iat <= self.now < token.exp + 1 and not marks & self.revoked

    def refusals(self, bearer: Token, *needed: str) -> set[int]:
        """§3, of every endpoint that asks for a bearer: the token first, then its scope."""
        if not self.valid(bearer):
            return {401}
        return set() if covered(bearer.scope, needed) else {403}

    def refusals_to_delegate(self, bearer: Token, to: str, scope: Sequence[str]) -> set[int]:
        """§5, §6. The order of the checks is not measured (§14): any that fails may be the answer."""
        too_wide, too_deep = not covered(bearer.scope, scope), len(bearer.chain) >= MAX_DEPTH
        checks = [(500, not scope), (403, too_wide or too_deep), (404, to not in self.agents)]
        return self.refusals(bearer) or {status for status, failed in checks if failed}

    def ends(self, ttl: int | None, default: int) -> int:
        """§5, §6: none, 0 and less mean the default; nothing lives longer than `max_ttl`."""
        return int(self.now) + min(ttl if ttl and ttl > 0 else default, self.max_ttl)

    def register(self, jti: str, agent: str, task: str, orch: str, scope: Sequence[str], ttl: int | None) -> Token:
        """§5: an agent gets what it asked for; `ttl` is its launch token's `max_ttl`."""
        self.agents.add(agent)
        return Token(jti, agent, tuple(scope), int(self.now), self.ends(ttl, 300), task, orch)

    def delegate(self, jti: str, bearer: Token, to: str, scope: Sequence[str], ttl: int | None) -> Token:
        """§6: task and orchestrator stay the delegator's; its own `exp` is no bound; one record is added."""
        chain = (*bearer.chain, (bearer.sub, bearer.scope))
        issued, ends = int(self.now), self.ends(ttl, 60)
        return replace(bearer, jti=jti, sub=to, scope=tuple(scope), iat=issued, exp=ends, chain=chain)

    def renew(self, jti: str, bearer: Token) -> Token:
        """§5: the same lifetime from now on, all else unchanged, and the old token is dead at once."""
        self.revoke("token", bearer.jti)
        return replace(bearer, jti=jti, iat=int(self.now), exp=int(self.now) + bearer.exp - bearer.iat)

    def revoke(self, level: str, target: str) -> None:
        """§7, known target or not. Release (§5) is level `token` with the bearer's `jti`."""
        self.revoked.add((level, target))

    def restart(self) -> None:
        """§9: the registry is lost; key and revocations are kept."""
        self.agents.clear()
