"""A named fault and its one right outcome."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from agentwrit_guard.core.decisions import Reason
from tests.faults.acts import honest
from tests.faults.broker import Act, FaultBroker

Around = Callable[[FaultBroker], contextlib.AbstractContextManager[None]]

EVENTS: Final = {
    Reason.BROKER_UNAVAILABLE: "broker_unavailable",
    Reason.CLAIMS_MISMATCH: "claims_mismatch",
    Reason.CHAIN_VIOLATION: "chain_violation",
    Reason.NOT_YET_VALID: "refused",
    Reason.AUDIENCE_MISMATCH: "refused",
    Reason.UNKNOWN_KEY: "key_rotated",
}
"""Which refusals are warned of, and as what. The others have their record of the decision only."""


@dataclass(frozen=True)
class Fault:
    """`name` begins with its id in the catalogue. What is left out is an ordinary 503 after one call."""

    name: str
    act: Act = honest
    words: tuple[str, ...] = ()
    """Of which kind the fault is (`BrokerUnavailable.fault`), where the broker could not be asked."""
    reason: Reason | None = Reason.BROKER_UNAVAILABLE
    """Why it is refused; None if it must pass."""
    calls: int = 1
    """How often the token reached the broker."""
    retry_after: int | None = None
    """The exact Retry-After; None for anything from 1 to 30."""
    hangs: bool = False
    """Nothing but the guard's deadline ends it: the guard gets a short one."""
    warm: bool = False
    """Another token was let in before, over a connection that is kept."""
    pours: bool = False
    """What the guard took in is counted."""
    said: tuple[str, ...] = ()
    """Words that the event must hold."""
    opens: bool = False
    """The breaker opens at once, and nobody asks again before its time."""
    event: str | None = None
    """Of a pass: the event that goes with it."""
    around: Around = contextlib.nullcontext
    """The state of the world around the guard while the fault lasts."""
    listening: bool = True
    https: bool = False
    url: str = "{scheme}://{host}:{port}"
    host: str = "127.0.0.1"
    curable: bool = True
    """Whether the same guard gets on with the broker once that is well."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """`{root}` and `{stranger}` stand for CA files here and in `environment`, `{old_key}` for the file of a broker's
    key, `{netrc}` for a file of logins, `{trap}` for the trap's host and port."""
    environment: Mapping[str, str] = field(default_factory=dict)
    payload: Mapping[str, Any] | None = None
    """The token's claims, if not those of a plain agent."""
    xfail: Mapping[str, str] = field(default_factory=dict)
    """What the guard gets wrong, by the way of asking that it gets it wrong in."""
    always: bool = True
    """Whether it gets that wrong on every Python."""

    @property
    def id(self) -> str:
        return self.name.split(" ")[0]

    @property
    def status(self) -> int:
        return 200 if self.reason is None else self.reason.status
