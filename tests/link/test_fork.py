"""A forked child starts with nothing of its parent: no sockets, threads, locks or identities (threats C-19)."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import warnings
from collections.abc import Callable

from coverage import Coverage

from agentwrit_guard import Allowed, Guard, Lookup
from agentwrit_guard.core.wire import BrokerRequest, ask
from agentwrit_guard.errors import BrokerUnavailable
from agentwrit_guard.link import Link
from agentwrit_guard.transport import LinkOptions
from tests.kit.clock import MovableClock
from tests.kit.stub import StubBroker
from tests.kit.tokens import token

GOOD = [b"Bearer " + token().encode()]


def in_child(work: Callable[[], bool]) -> bool:
    """What `work` says in a forked child, which is killed after 20 seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(20)
            status = 0 if work() else 2
        finally:
            # os._exit skips what would keep the child's coverage.
            if (measuring := Coverage.current()) is not None:
                measuring.save()
            os._exit(status)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 0


def test_c_19_a_child_asks_for_itself(stub: StubBroker, clock: MovableClock) -> None:
    guard = Guard(stub.url, clock=clock.clock)
    assert isinstance(guard.check(GOOD), Allowed)
    assert in_child(lambda: isinstance(guard.decide(GOOD), Lookup) and isinstance(guard.check(GOOD), Allowed))
    assert stub.calls == 2
    assert isinstance(guard.decide(GOOD), Allowed)
    assert isinstance(guard.check([b"Bearer " + token(jti="after").encode()]), Allowed)
    assert stub.calls == 3
    guard.close()


def test_c_19_a_child_asks_for_itself_async(stub: StubBroker, clock: MovableClock) -> None:
    guard = Guard(stub.url, clock=clock.clock)

    async def once() -> bool:
        try:
            return isinstance(await guard.acheck(GOOD), Allowed)
        finally:
            await guard.aclose()

    assert asyncio.run(once())
    assert in_child(lambda: asyncio.run(once()))
    assert stub.calls == 2


def test_c_19_a_fork_under_a_call_leaves_no_lock_behind(stub: StubBroker, clock: MovableClock) -> None:
    guard = Guard(stub.url, clock=clock.clock, timeout=20)
    callers = [threading.Thread(target=guard.check, args=(GOOD,)) for _ in range(8)]
    with stub.held():
        for caller in callers:
            caller.start()
        while stub.calls == 0:
            pass
        assert in_child(lambda: isinstance(guard.decide(GOOD), Lookup) and not guard.close() and True)
        stub.gate.set()
        assert in_child(lambda: isinstance(guard.check(GOOD), Allowed))
    for caller in callers:
        caller.join(20)
    guard.close()


def test_c_19_a_child_shares_no_connection(stub: StubBroker) -> None:
    link = Link(LinkOptions(stub.url, timeout=20))
    request = BrokerRequest.post("/x", {"token": "x.e30"})

    def port() -> int:
        try:
            return link.run(ask(request)).status
        except BrokerUnavailable:
            return 0

    assert port() == 200
    assert in_child(lambda: port() == 200)
    assert port() == 200
    link.close()
