"""One validation: the broker's word for a token, and the identity that it makes.

Callers who bring the same token share the outcome, so nothing here looks at a requirement.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from agentwrit_guard.core.bearer import refuse
from agentwrit_guard.core.cache import IdentityCache
from agentwrit_guard.core.chain import has_loop
from agentwrit_guard.core.claims import Principal
from agentwrit_guard.core.decisions import Allowed, Denied, Reason
from agentwrit_guard.core.identity import Identity
from agentwrit_guard.core.instant import Instant
from agentwrit_guard.core.load import Load
from agentwrit_guard.core.lookup import Lookup
from agentwrit_guard.core.policy import Policy
from agentwrit_guard.core.wire import Flow, has_unknown_field, same_claims
from agentwrit_guard.core.witness import Witness
from agentwrit_guard.errors import BrokerUnavailable

Notice = Callable[[str, str], None]
"""Told of what was let in all the same and somebody should know: the name of an event, and a text."""

# Why the guard itself would not ask; every other fault is the broker's, or of the way there.
_NOT_ASKED: Final = {
    "breaker": Reason.BREAKER_OPEN,
    "budget": Reason.OVER_BUDGET,
    "queue": Reason.BROKER_BUSY,
}
UNASKED: Final = frozenset((*_NOT_ASKED.values(), Reason.BROKER_UNAVAILABLE))
"""Reasons that say nothing about the token, nor about an answer."""


class Validation:
    def __init__(self, policy: Policy, cache: IdentityCache, load: Load, notice: Notice, witness: Witness) -> None:
        self._policy = policy
        self._cache = cache
        self._load = load
        self._notice = notice
        self._witness = witness

    def __call__(self, lookup: Lookup, started: Instant, max_age: float) -> Flow[Allowed | Denied]:
        """The identity that the broker confirms, kept, or why there is none.

        Nobody is asked if another call has meanwhile brought an answer that is less than `max_age` seconds old.
        """
        held = self._cache.get(lookup.key)
        if held is not None and _serves(held, max_age, started):
            return held.allowed
        if self._cache.rejected(lookup.key, started):
            return self._refuse(Reason.REJECTED_BY_BROKER, source="cache")
        asking = self._witness.asking(started)
        try:
            claims = yield from asking.watched(self._load.validate(lookup.token.reveal(), known=held is not None))
        except BrokerUnavailable as fault:
            if fault.fault not in _NOT_ASKED:
                self._witness.ended(asking, "unavailable", fault.fault)
            return self.unavailable(fault)
        if claims is None:
            self._cache.reject(lookup.key, started)
            self._witness.ended(asking, "invalid")
            return self._refuse(Reason.REJECTED_BY_BROKER)
        if not same_claims(lookup.payload, claims):
            self._witness.ended(asking, "unavailable", "mismatch")
            return self._refuse(Reason.CLAIMS_MISMATCH)
        if has_loop(lookup.claims):
            self._notice("chain_loop", "an agent stands twice in a delegation chain; chain_loops='deny' refuses it")
        if has_unknown_field(lookup.payload, claims):
            self._notice("unknown_field", "the broker's claims have a field that this version does not know")
        resources = self._policy.resources
        fresh = Allowed(Principal(lookup.claims, started.wall, "broker", resources), "broker")
        kept = self._cache.put(lookup.key, Identity.of(lookup.claims, started, resources))
        self._witness.ended(asking, "valid")
        return fresh if kept else self._refuse(Reason.REJECTED_BY_BROKER)

    def unavailable(self, fault: BrokerUnavailable) -> Denied:
        reason = _NOT_ASKED.get(fault.fault, Reason.BROKER_UNAVAILABLE)
        detail = {"fault": fault.fault, "message": str(fault)}
        source = "broker" if reason is Reason.BROKER_UNAVAILABLE else "guard"
        return refuse(reason, self._policy.realm, retry_after=fault.retry_after, detail=detail, source=source)

    def _refuse(self, reason: Reason, source: str = "broker") -> Denied:
        return refuse(reason, self._policy.realm, source=source)


def _serves(identity: Identity, max_age: float, now: Instant) -> bool:
    """Whether an identity that came in meanwhile is young enough; one of a call that began after `now` is."""
    return max_age > 0 and (now.monotonic < identity.started.monotonic or identity.started.age(now) < max_age)
