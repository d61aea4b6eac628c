"""An engine for tests: an identity stands in for the broker's word, requirements and expiry are judged as ever.

It is a class of its own, so that the engine which decides in production has no branch for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agentwrit_guard.core.bearer import Token, parse_authorization
from agentwrit_guard.core.claims import Principal
from agentwrit_guard.core.decisions import Allowed, Denied
from agentwrit_guard.core.engine import Engine
from agentwrit_guard.core.instant import Instant
from agentwrit_guard.core.lookup import Lookup
from agentwrit_guard.core.requirements import Params, Requirement


class StandIn(Engine):
    """Stands in for `engine`, whose cache it shares and never fills by itself.

    A request whose one token is in `agents` is that agent's. Any other is `everyone`'s, whatever its header says, or
    goes the engine's own way when there is no such principal. What was let in so has the source `override`.
    """

    def __init__(self, engine: Engine, everyone: Principal | None, agents: Mapping[str, Principal]) -> None:
        vars(self).update(vars(engine))
        self._everyone = everyone
        self._agents = agents

    def decide(
        self, entries: Sequence[bytes], requirement: Requirement, params: Params, now: Instant
    ) -> Allowed | Denied | Lookup:
        token = parse_authorization(entries)
        agent = self._agents.get(token.reveal()) if isinstance(token, Token) else None
        principal = self._everyone if agent is None else agent
        if principal is None:
            return super().decide(entries, requirement, params, now)
        return self.judge(Allowed(principal, "override"), requirement, params, now)
