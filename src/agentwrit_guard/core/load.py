"""How much the guard asks of the broker: no call that the breaker or the budget does not let through (threats P4)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Final

from agentwrit_guard.core.breaker import Breaker, Pass
from agentwrit_guard.core.budget import Budget
from agentwrit_guard.core.wire import Flow, validate
from agentwrit_guard.errors import BrokerUnavailable

# The request was not sent.
_NOT_SENT: Final = ("breaker", "budget", "queue")
# Nothing that tells whether the broker is up: the request was not sent, or the call was broken off from here.
_OURS: Final = (*_NOT_SENT, "closed")
# The broker is up, and finds fault with this one request.
_REQUEST_AT_FAULT: Final = (400, 413)


class Load:
    """Breaker and budget, before every call."""

    def __init__(self, breaker: Breaker, budget: Budget) -> None:
        self.breaker = breaker
        self.budget = budget

    def reset(self) -> None:
        """For a forked child."""
        self.breaker.reset()
        self.budget.reset()

    def validate(self, token: str, *, known: bool) -> Flow[Mapping[str, object] | None]:
        """`wire.validate` within the limits; a token that was valid here before (`known`) costs no budget,
        and goes ahead of those that were not.

        A request that is sent once more is paid for twice. BrokerUnavailable with the fault `breaker`, `budget` or
        `queue` for a call that is not made; of a second try that is not made, the first one's fault stands.
        """
        self.breaker.check()
        if not known:
            self.budget.check()
        call = Pass(self.breaker)
        paid = 0

        def leave() -> float:
            # Asked when its turn has come. Before, a thousand agents in a line would use up the budget that each of
            # them gives back, and whoever stands there as the breaker opens would be sent all the same.
            nonlocal paid
            call.taken()
            seconds = 0.0 if known else self.budget.take()
            paid += not known
            return seconds

        flow = validate(token)
        first: BrokerUnavailable | None = None
        try:
            request = next(flow)
            while True:
                before = paid
                try:
                    reply = yield dataclasses.replace(request, leave=leave, ahead=known)
                except BrokerUnavailable as fault:
                    if fault.fault in _NOT_SENT:
                        self._refund(paid - before)
                    else:
                        first = fault
                    request = flow.throw(fault)
                else:
                    request = flow.send(reply)
        except StopIteration as stop:
            claims: Mapping[str, object] | None = stop.value
            call.succeeded()
            if claims is not None:
                self._refund(paid)
            return claims
        except BrokerUnavailable as last:
            cause = first if first is not None and last.fault in _NOT_SENT else last
            if cause.fault not in _OURS and cause.status not in _REQUEST_AT_FAULT:
                call.failed(cause)
            raise cause from None
        finally:
            call.ended()

    def _refund(self, times: int) -> None:
        for _ in range(times):
            self.budget.refund()
