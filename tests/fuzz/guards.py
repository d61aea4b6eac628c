"""The real guard in process, its broker calls answered from a case and not over sockets."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import httpcore

from agentwrit_guard import Allowed, Clock, Denied, Guard, Lookup, Requirement, all_of, any_of
from agentwrit_guard.core.instant import Instant
from agentwrit_guard.core.requirements import RouteValue
from agentwrit_guard.core.wire import BrokerReply, Flow
from agentwrit_guard.errors import BrokerUnavailable, ConfigurationError
from agentwrit_guard.exchange import as_reply, bounded, uncoded
from tests.fuzz import keys
from tests.fuzz.case import JSON_ANSWER, Case, Fault, Needs, Reply, Value
from tests.fuzz.reference import ALLOW, CFG, NONE
from tests.fuzz.strict import Refused, segment


class Outcome(NamedTuple):
    """A guard's decision in the reference's words, why, and how often the broker was asked.

    `again` is what it decides on the very same request right after.
    """

    decision: str
    reason: str
    calls: int = 0
    again: str = ""


class Script:
    """Stands where the guard's link is: drives its flow, and answers as the case says while the clock runs on."""

    def __init__(self) -> None:
        self.wall = 0.0
        self.calls = 0
        self.replies: tuple[Reply | Fault, ...] = ()
        self.elapsed = 0

    def share(self, key: bytes, start: Callable[[], Flow[Any]], *, now: Instant, max_age: float) -> Any:
        flow = start()
        try:
            request = next(flow)
            while True:
                assert request.path == "/v1/token/validate"
                try:
                    reply = self._answer()
                except BrokerUnavailable as fault:
                    request = flow.throw(fault)
                else:
                    request = flow.send(reply)
        except StopIteration as stop:
            return stop.value

    def close(self) -> None:
        """As a link is closed: who ends a test closes every guard of the process."""

    def _answer(self) -> BrokerReply:
        said = self.replies[min(self.calls, len(self.replies) - 1)]
        self.wall += 0 if self.calls else self.elapsed
        self.calls += 1
        if isinstance(said, str):
            raise BrokerUnavailable(said, "as the case says", retryable=said == "reset")
        status, headers, body = said
        chunks = [body[at : at + 16384] for at in range(0, len(body), 16384)]
        response = httpcore.Response(status, headers=list(headers), content=chunks)
        return as_reply(response, b"".join(bounded(uncoded(response).iter_stream())))


def built(url: str, settings: Mapping[str, Any], clock: Clock) -> Guard:
    """A guard of a case's settings. The files of its keys are there for as long as it reads them."""
    if "pinned_keys" not in settings:
        return Guard(url, clock=clock, **settings)
    with tempfile.TemporaryDirectory() as folder:
        paths = [keys.write(folder, name) for name in settings["pinned_keys"]]
        return Guard(url, clock=clock, **{**settings, "pinned_keys": paths})


@functools.lru_cache(maxsize=1024)
def _guard(settings: tuple[tuple[str, Any], ...]) -> tuple[Guard, Script]:
    script = Script()
    clock = Clock(monotonic=lambda: script.wall, wall=lambda: script.wall)
    guard = built("http://127.0.0.1:1", dict(settings), clock)
    guard._link = script  # type: ignore[assignment]
    return guard, script


def judged(case: Case) -> Outcome:
    """What a guard of the case's settings decides, with nothing in its cache but the identity of `case.warm`."""
    try:
        requirement = None if case.needs == Needs() else declared(case.needs)
    except ConfigurationError:
        return Outcome(CFG, "configuration", again=CFG)
    guard, script = _guard(tuple(sorted(case.settings.items())))
    guard._parts.reset()
    script.wall, script.elapsed = case.now, 0
    if case.warm:
        script.calls, script.replies = 0, _good_word(case.warm)
        guard.check([b"Bearer " + case.warm.encode()])
    script.calls, script.replies, script.elapsed = 0, case.replies, case.elapsed
    params = {name: param(value) for name, value in case.params.items()}
    decision = guard.decide(case.entries, requirement, params, query=case.query)
    if isinstance(decision, Lookup):
        decision = guard.settle(decision)
    first, calls = outcome(decision), script.calls
    # A clock that has moved, or a broker that says something else now, may well change the decision.
    if case.elapsed or len(case.replies) > 1:
        return first._replace(calls=calls, again=first.decision)
    return first._replace(
        calls=calls, again=outcome(guard.check(case.entries, requirement, params, query=case.query)).decision
    )


def outcome(decision: Allowed | Denied) -> Outcome:
    if isinstance(decision, Allowed):
        return Outcome(ALLOW, "ok")
    word = NONE if decision.status == 401 and decision.reason.error is None else str(decision.status)
    return Outcome(word, decision.reason.code)


def declared(needs: Needs) -> Requirement:
    if needs.mode == "agent":
        return Requirement.authenticated(**needs.rules)
    parts = [declared(part) if isinstance(part, Needs) else part for part in needs.parts]
    return (all_of if needs.mode == "all" else any_of)(*parts, charset=needs.charset, **needs.rules)


def param(value: Value) -> object:
    return value.converted if value.raw is None else RouteValue(value.raw, value.converted)


def _good_word(token: str) -> tuple[Reply | Fault, ...]:
    """The broker's confirmation of a token's own payload."""
    try:
        return ((200, JSON_ANSWER, b'{"valid":true,"claims":' + segment(token.split(".")[1]) + b"}"),)
    except Refused:
        return ("connect",)
