"""One way to say what a fault of the broker must come to, through either way of asking."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any, Final

import pytest

from agentwrit_guard import Allowed, Denied, Guard
from agentwrit_guard.core.breaker import LONGEST
from agentwrit_guard.core.cache import NEGATIVE_TTL
from agentwrit_guard.core.decisions import Reason
from agentwrit_guard.errors import BrokerUnavailable
from tests.core.kit import verdict
from tests.faults.asking import Blocking, Looping, no_descriptor_left, no_thread_left, until
from tests.faults.broker import FaultBroker, Pki
from tests.faults.fault import EVENTS, Fault
from tests.kit.clock import MovableClock
from tests.kit.tokens import token
from tests.link.raw import RawServer, says

SHORT: Final = 0.3
AMPLE: Final = 15.0
TAKEN: Final = 1024 * 1024
"""What a guard may take in of one answer, the buffers of both systems included."""
TRIES: Final = 50


class Seen:
    """What a guard says of a fault beside its decision: log records and exceptions."""

    def __init__(self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
        self._caplog = caplog
        self._faults: list[BrokerUnavailable] = []
        caplog.set_level(logging.DEBUG)
        plain = BrokerUnavailable.__init__

        def init(fault: BrokerUnavailable, *args: Any, **more: Any) -> None:
            plain(fault, *args, **more)
            self._faults.append(fault)

        monkeypatch.setattr(BrokerUnavailable, "__init__", init)

    def events(self) -> list[logging.LogRecord]:
        return [entry for entry in self._caplog.records if entry.name == "agentwrit_guard.events"]

    def decisions(self) -> list[logging.LogRecord]:
        return [entry for entry in self._caplog.records if entry.name == "agentwrit_guard.decisions"]

    def no_token(self, secret: str, *more: object) -> None:
        """No 16 characters of the signature in a row: in any record, exception with all behind it, or repr."""
        texts = [repr(thing) for thing in more]
        for entry in self._caplog.records:
            texts += [entry.getMessage(), self._caplog.handler.format(entry), repr(vars(entry))]
        for fault in self._faults:
            error: BaseException | None = fault
            while error is not None:
                library = type(error).__module__.partition(".")[0]
                assert library not in ("httpx", "httpcore"), "the error holds the request, and that the token"
                texts += [str(error), repr(error), repr(vars(error))]
                error = error.__cause__ or error.__context__
        self._faults.clear()
        signature = secret.rpartition(".")[2]
        windows = [signature[start : start + 16] for start in range(len(signature) - 15)]
        found = [text for text in texts if any(window in text for window in windows)]
        assert not found, f"token bytes in {found}"


def expect(
    fault: Fault,
    asker: type[Blocking] | type[Looping],
    pki: Pki,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Let the broker commit the fault and check, in this order:

    that the guard answers at all, and with the one right status; how often the token reached the broker; one record
    of the decision, one event if there is one, and no token in anything said; that the guard hangs up on a broker
    that will say no more; that nothing of the fault is cached; that no task, thread, connection or descriptor is
    left when the guard is closed; and that nobody talked to the trap.
    """
    seen = Seen(caplog, monkeypatch)
    clock = MovableClock()
    with no_descriptor_left(), RawServer(says()) as trap:
        place = f"127.0.0.1:{trap.port}"
        with FaultBroker(fault.act, pki, place, clock, secured=fault.https) as broker, no_thread_left():
            places = {**pki.files, "trap": place}
            for name, value in fault.environment.items():
                monkeypatch.setenv(name, value.format_map(places))
            guard = _guard(fault, broker, clock, places)
            asking = asker(guard)
            with _closed(asking, broker):
                _faulty(fault, guard, asking, broker, seen)
                broker.heal()
                _healed(fault, asking, broker)
        assert trap.accepted == 0, "somebody talked to the trap"


def _guard(fault: Fault, broker: FaultBroker, clock: MovableClock, places: dict[str, str]) -> Guard:
    settings: dict[str, Any] = {
        name: value.format_map(places) if isinstance(value, str) else [text.format_map(places) for text in value]
        for name, value in fault.settings.items()
    }
    scheme = "https" if fault.https else "http"
    url = fault.url.format(scheme=scheme, host=fault.host, port=broker.port)
    # Trying until a busy machine lets one through is not to open the breaker.
    settings["breaker_failures"] = 1_000_000
    return Guard(url, clock=clock.clock, timeout=SHORT if fault.hangs else AMPLE, **settings)


@contextlib.contextmanager
def _closed(asking: Blocking | Looping, broker: FaultBroker) -> Iterator[None]:
    try:
        yield
    finally:
        asking.close(lambda: until(lambda: broker.held == 0, "every connection is hung up on when the guard is closed"))


def _secret(fault: Fault) -> str:
    return token(fault.payload)


def _faulty(fault: Fault, guard: Guard, asking: Blocking | Looping, broker: FaultBroker, seen: Seen) -> None:
    secret = _secret(fault)
    with fault.around(broker):
        if fault.listening:
            broker.open()
        if fault.warm:
            assert isinstance(asking.check(token(jti="first")), Allowed)
            assert broker.idle.wait(AMPLE)
            broker.tokens.clear()
        events, connections = len(seen.events()), broker.accepted
        decision = asking.check(secret)
        guard.record(decision, phase="middleware", front="asgi", method="GET", path="/", request_id="1")
    until(lambda: len(broker.tokens) >= fault.calls, "the token reaches the broker")
    assert len(broker.tokens) == fault.calls
    assert broker.accepted - connections <= 2
    _right(fault, decision)
    assert len(seen.decisions()) == 1
    _told(fault, seen.events()[events:])
    seen.no_token(secret, decision, guard, *([decision.body] if isinstance(decision, Denied) else []))
    if fault.hangs or fault.pours:
        until(lambda: broker.held == 0, "the guard hangs up on a broker that will say no more")
    if fault.pours:
        assert len(broker.poured) == fault.calls
        assert max(broker.poured.values()) < TAKEN


def _right(fault: Fault, decision: Allowed | Denied) -> None:
    if isinstance(decision, Allowed):
        assert fault.reason is None
        assert decision.source == "broker"
        return
    assert decision.reason is fault.reason, dict(decision.detail)
    assert verdict(decision) == ("503" if fault.status == 503 else "401 invalid_token")
    assert b"broker-says" not in decision.body
    headers = dict(decision.headers)
    assert "broker-says" not in str(headers)
    if fault.status == 503:
        seconds = int(headers["retry-after"])
        assert seconds == fault.retry_after if fault.retry_after is not None else 1 <= seconds <= 30
    if fault.reason is Reason.BROKER_UNAVAILABLE:
        assert fault.words
        assert decision.detail["fault"] in fault.words, dict(decision.detail)


def _told(fault: Fault, events: list[logging.LogRecord]) -> None:
    name = fault.event if fault.reason is None else EVENTS.get(fault.reason)
    opened = ["breaker_opened"] if fault.opens else []
    assert [entry.event for entry in events] == opened + ([name] if name else [])
    for entry in events:
        text = entry.getMessage()
        assert "\n" not in text
        assert "\x1b" not in text
        for word in fault.said if entry.event == name else ():
            assert word in text


def _healed(fault: Fault, asking: Blocking | Looping, broker: FaultBroker) -> None:
    """What the same token comes to when the broker is well: a 503 has left no trace."""
    secret = _secret(fault)
    if not fault.curable:
        assert _again(asking, broker, secret) == (503, 0)
        return
    if fault.opens:
        assert _again(asking, broker, secret) == (503, 0)
        assert _again(asking, broker, token(jti="another")) == (503, 0)
        broker.clock.move(LONGEST)
    if fault.status == 503:
        _asks_and_passes(asking, broker, secret)
        return
    expected = (fault.status, 0)
    assert _again(asking, broker, secret) == expected
    if fault.reason is Reason.REJECTED_BY_BROKER:
        broker.clock.move(NEGATIVE_TTL)
        _asks_and_passes(asking, broker, secret)


def _asks_and_passes(asking: Blocking | Looping, broker: FaultBroker, secret: str) -> None:
    for _ in range(TRIES):
        status, calls = _again(asking, broker, secret)
        if status == 200:
            break
        # A deadline so short that hanging costs little may pass on a busy machine, too.
        assert status == 503
    assert (status, calls) == (200, 1)
    assert _again(asking, broker, secret) == (200, 0)


def _again(asking: Blocking | Looping, broker: FaultBroker, secret: str) -> tuple[int, int]:
    before = len(broker.tokens)
    decision = asking.check(secret)
    return 200 if isinstance(decision, Allowed) else decision.status, len(broker.tokens) - before
