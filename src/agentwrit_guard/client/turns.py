"""What both kinds of agent decide: their token, its renewal and its end, as flows that take turns."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Generic, Literal, NamedTuple

from agentwrit_guard.client import flows
from agentwrit_guard.client.answers import token_claims
from agentwrit_guard.client.background import RenewalTask, RenewalThread
from agentwrit_guard.client.callers import C
from agentwrit_guard.client.delegation import header
from agentwrit_guard.client.freshness import Freshness
from agentwrit_guard.client.shared import Shared
from agentwrit_guard.core.redacted import Redacted
from agentwrit_guard.core.wire import Flow
from agentwrit_guard.errors import AgentWritError, ProblemResponseError, TransportError

if TYPE_CHECKING:
    from agentwrit_guard.client.app import App

_events = logging.getLogger("agentwrit_guard.events")


class Turn(NamedTuple):
    """What a conversation about an agent's token was for, and what came of it."""

    purpose: Literal["renewal", "release", "nothing"]
    error: AgentWritError | None = None


class AgentBase(Generic[C]):
    """Everything that agents decide: tokens change hands in flows, so that both kinds do it alike.

    Renewals and releases take turns, one at a time for each agent, and whoever asks during a turn waits for its end.
    Invariant: a token that a renewal brings after the release was asked for is released as well.
    """

    def __init__(
        self,
        app: App[C],
        agent_id: str,
        access_token: str,
        expires_in: int,
        scope: list[str],
        task_id: str,
        orch_id: str,
    ) -> None:
        self._caller: C = app.caller
        self.agent_id = agent_id
        self.access_token: str = Redacted(access_token)
        self.expires_in: int = expires_in
        self.scope = scope
        self.task_id = task_id
        self.orch_id = orch_id
        self._freshness = Freshness(app.caller.clock, expires_in)
        self._background: RenewalThread | RenewalTask | None = None
        self._released = False
        self._ended = False
        self._turns: Shared[Turn] = Shared()
        self._process = os.getpid()

    def __repr__(self) -> str:
        state = " released" if self._released else ""
        return f"<{type(self).__name__} {self.agent_id} scope={self.scope!r} expires_in={self.expires_in}{state}>"

    @property
    def expires_at(self) -> int:
        """When the present token ends, in Unix seconds by the broker's clock."""
        claims = token_claims(self.access_token)
        if claims is None:
            raise AgentWritError(f"the token of {self.agent_id} cannot be read")
        return claims.exp

    @property
    def released(self) -> bool:
        """Whether the release was asked for; one that fails takes it back."""
        return self._released

    @property
    def ended(self) -> bool:
        """Whether the broker has confirmed the release."""
        return self._ended

    @property
    def renewal_due_in(self) -> float:
        """Seconds until `renew_if_due` would renew, by this machine's clock; 0 if it would now."""
        return self._freshness.due_in()

    @property
    def renewal_due(self) -> bool:
        return self.renewal_due_in == 0

    @property
    def bearer_header(self) -> dict[str, str]:
        """The header of a request made as this agent. Read it anew for each: a renewal changes it."""
        return header(self._live())

    @property
    def _inherited(self) -> bool:
        """Whether this is a forked child's copy of an agent, which is its parent's to renew and release."""
        return os.getpid() != self._process

    def _live(self) -> str:
        if self._released:
            raise AgentWritError(f"agent {self.agent_id} is released")
        return self.access_token

    def _own(self) -> str:
        """The token, if it is this process's to change."""
        if self._inherited:
            raise AgentWritError(f"agent {self.agent_id} was created before a fork; create one in each process")
        return self._live()

    def _renewing(self) -> Flow[Turn]:
        return _as_turn("renewal", self._renewal())

    def _renewing_if_due(self) -> Flow[Turn]:
        # Looked at once more, because whoever made the last turn may have ended it after the caller looked.
        return _as_turn("renewal", self._renewal() if self.renewal_due else _nothing())

    def _releasing(self) -> Flow[Turn]:
        return _as_turn("release", self._ending())

    def _renewal(self) -> Flow[None]:
        asked = self._freshness.now()
        fresh = yield from flows.renew(self.agent_id, self._live())
        self.access_token, self.expires_in = fresh.access_token, fresh.expires_in
        self._freshness.began(asked, fresh.expires_in)
        if self._released:
            # A turn that outlives its deadline has no others wait for it.
            self._ended = False
            yield from flows.release(fresh.access_token)
            self._ended = True

    def _renewed(self, turn: Turn) -> bool:
        """After a turn: whether it was the renewal that was asked for. Raises what made it fail."""
        if turn.purpose == "renewal" and turn.error is not None:
            raise turn.error
        return turn.purpose == "renewal"

    def _renewed_or_put_off(self, turn: Turn) -> bool:
        """As `_renewed`, where a broker in trouble is no error while the token is good."""
        error = turn.error
        if turn.purpose != "renewal" or error is None or not self._is_passing(error) or self._freshness.over():
            return self._renewed(turn)
        if self.renewal_due:
            self._freshness.failed()
            _events.warning(
                "agent %s could not be renewed, next try in %.0f s: %s", self.agent_id, self.renewal_due_in, error,
                extra={"event": "renewal_failed"},
            )  # fmt: skip
        return True

    @staticmethod
    def _is_passing(error: AgentWritError) -> bool:
        in_trouble = isinstance(error, ProblemResponseError) and error.status_code >= 429
        return in_trouble or isinstance(error, TransportError)

    def _ending(self) -> Flow[None]:
        if self._ended:
            return
        self._released = True
        try:
            yield from flows.release(self.access_token)
        except BaseException:
            self._released = False
            raise
        self._ended = True
        if self._background is not None:
            self._background.stop()

    def _released_by(self, turn: Turn) -> None:
        if turn.purpose == "release" and turn.error is not None:
            raise turn.error

    def _waiting(self) -> Flow[Turn]:
        return _as_turn("nothing", _nothing())

    def _changed(self, token: str) -> bool:
        """Whether a refusal of `token` is worth another try: it was renewed meanwhile."""
        return self.access_token != token and not self._released


def _as_turn(purpose: Literal["renewal", "release", "nothing"], flow: Flow[None]) -> Flow[Turn]:
    try:
        yield from flow
    except AgentWritError as error:
        return Turn(purpose, error)
    return Turn(purpose)


def _nothing() -> Flow[None]:
    yield from ()
