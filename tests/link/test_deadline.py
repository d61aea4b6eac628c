"""One total deadline for a call, whatever hangs or drips (threats B-01, B-02).

No test measures time. Each peer would go on for half a minute or for ever; that the test ends is the proof.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from agentwrit_guard import Allowed, Denied, Guard
from agentwrit_guard.core.decisions import Reason
from agentwrit_guard.core.wire import BrokerRequest, Flow, ask, validate
from agentwrit_guard.errors import BrokerUnavailable
from agentwrit_guard.link import Link
from agentwrit_guard.transport import LinkOptions
from tests.kit.clock import MovableClock
from tests.kit.stub import StubBroker, invalid
from tests.kit.tokens import token
from tests.link.conftest import Check, Drive
from tests.link.raw import RawServer, answer, drips, says

SHORT = 0.3
OK = b"HTTP/1.1 200 OK\r\n"


def bearer(text: str) -> list[bytes]:
    return [b"Bearer " + text.encode()]


@pytest.fixture(autouse=True)
def _nothing_is_left_open() -> Iterator[None]:
    """A socket that nobody closed complains when it is collected: let it do so in the test that left it."""
    yield
    gc.collect()


def silent(server: RawServer, connection: socket.socket, _: int) -> None:
    server.stop.wait(30)


def early_then_drips(server: RawServer, connection: socket.socket, number: int) -> None:
    """The first exchange breaks off, so that the retry has the rest of the deadline only."""
    if number > 1:
        drips(b"", b"H")(server, connection, number)


SLOW = {
    "B-02 accepts and never reads": silent,
    "B-02 reads and never answers": says(then_hang=True),
    "B-02 status line and no more": says(OK, then_hang=True),
    "B-02 headers and no body": says(answer(b"")[:-2] + b"Content-Length: 9\r\n\r\n", then_hang=True),
    "B-02 half a body": says(answer(b"{", length=99), then_hang=True),
    "B-02 drips the status line": drips(b"", b"H"),
    "B-02 drips headers": drips(OK, b"X-A: 1\r\n"),
    "B-02 drips one header": drips(OK + b"X-A: ", b"a"),
    "B-02 drips the body": drips(answer(b"", length=60_000), b" "),
    "B-02 drips chunks": drips(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "B-02 drips a chunk length": drips(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
    "B-02 drips trailers": drips(OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X-A: 1\r\n"),
    "B-02 drips an unbounded body": drips(OK + b"\r\n", b" "),
    "B-02 interim answers without end": drips(b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
    "B-03 retry counts": early_then_drips,
}


@pytest.mark.parametrize("behaviour", SLOW.values(), ids=SLOW)
def test_b_02_the_deadline_is_total(drive: Drive, behaviour: Any) -> None:
    with RawServer(behaviour) as server:
        [fault] = drive(LinkOptions(server.url, timeout=SHORT), lambda: ask(BrokerRequest.post("/x", {"token": "t"})))
        assert isinstance(fault, BrokerUnavailable)
        # A peer whose nonsense outgrows a bound of the parser is cut off even before.
        assert fault.fault in ("timeout", "reset")
        assert server.accepted <= 2


@pytest.mark.parametrize("behaviour", [says(then_hang=True), drips(answer(b"", length=60_000), b" ")])
def test_p3_a_slow_broker_is_503(check: Check, clock: MovableClock, behaviour: Any) -> None:
    with RawServer(behaviour) as server:
        [denied] = check(Guard(server.url, timeout=SHORT, clock=clock.clock), bearer(token()))
    assert isinstance(denied, Denied)
    assert (denied.status, denied.reason, denied.detail["fault"]) == (503, Reason.BROKER_UNAVAILABLE, "timeout")


def test_a_caller_may_give_less_time(drive: Drive) -> None:
    with RawServer(says(then_hang=True)) as server:
        [fault] = drive(LinkOptions(server.url, timeout=60), lambda: validate("t"), timeout=SHORT)
    assert fault.fault == "timeout"


def test_no_time_at_all_is_a_timeout_and_no_connection(drive: Drive) -> None:
    def hopeful() -> Flow[str]:
        try:
            yield BrokerRequest.post("/x", {})
        except BrokerUnavailable as fault:
            return fault.fault
        return "answered"

    with RawServer(says(answer())) as server:
        [found] = drive(server.url, hopeful, timeout=0)
        # The sync caller is free before its flow has been told.
        assert found == "timeout" or found.fault == "timeout"
    assert server.accepted == 0


@contextlib.contextmanager
def full_backlog() -> Iterator[int]:
    """A port whose queue of connections is full, so that connecting hangs."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def test_b_01_connecting_hangs(drive: Drive) -> None:
    with full_backlog() as port:
        [fault] = drive(LinkOptions(f"http://127.0.0.1:{port}", timeout=SHORT), lambda: validate("t"))
    assert fault.fault == "timeout"


def test_b_01_the_tls_handshake_hangs(drive: Drive) -> None:
    with RawServer(silent) as server:
        options = LinkOptions(server.url.replace("http:", "https:"), timeout=SHORT)
        [fault] = drive(options, lambda: validate("t"))
    assert fault.fault == "timeout"


def test_b_01_a_slow_resolver_sync(monkeypatch: pytest.MonkeyPatch, clock: MovableClock) -> None:
    release = threading.Event()

    def slow(*_: object, **__: object) -> None:
        release.wait(30)
        raise socket.gaierror(socket.EAI_AGAIN, "later")

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    guard = Guard("http://broker.internal", allow_http=True, timeout=SHORT, clock=clock.clock)
    denied = guard.check(bearer(token()))
    assert not release.is_set()
    release.set()
    guard.close()
    assert isinstance(denied, Denied)
    assert denied.detail["fault"] == "timeout"


@pytest.mark.anyio
async def test_b_01_a_slow_resolver_async(monkeypatch: pytest.MonkeyPatch, clock: MovableClock) -> None:
    never = asyncio.Event()

    async def slow(*_: object, **__: object) -> None:
        await never.wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", slow)
    guard = Guard("http://broker.internal", allow_http=True, timeout=SHORT, clock=clock.clock)
    denied = await guard.acheck(bearer(token()))
    await guard.aclose()
    assert isinstance(denied, Denied)
    assert denied.detail["fault"] == "timeout"


def test_waiting_for_a_place_counts(stub: StubBroker, clock: MovableClock) -> None:
    """One call in flight is allowed and it hangs: the next caller's deadline holds in the queue, too."""
    guard = Guard(stub.url, timeout=SHORT, max_in_flight=1, clock=clock.clock)
    with stub.held():
        found: list[Allowed | Denied] = []
        callers = [
            threading.Thread(target=lambda text=token(jti=f"j{number}"): found.append(guard.check(bearer(text))))
            for number in range(4)
        ]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join(20)
    guard.close()
    assert [decision.status for decision in found if isinstance(decision, Denied)] == [503] * 4


def test_the_thread_of_a_late_call_serves_again() -> None:
    """Its caller is free at the deadline, and so must the thread be, though the peer goes on dripping."""

    def serve(server: RawServer, connection: socket.socket, number: int) -> None:
        behave = drips(answer(b"", length=60_000), b" ") if number == 1 else says(answer(b"[]"))
        behave(server, connection, number)

    with RawServer(serve) as server:
        link = Link(LinkOptions(server.url, timeout=SHORT, max_in_flight=1))
        with pytest.raises(BrokerUnavailable):
            link.run(validate("t"))
        assert link.run(ask(BrokerRequest.post("/x", {})), timeout=15).body == b"[]"
        link.close()


def test_a_deadline_that_has_passed_is_a_timeout_and_nothing_is_sent(stub: StubBroker) -> None:
    link = Link(LinkOptions(stub.url, max_in_flight=1))
    with pytest.raises(BrokerUnavailable) as caught:
        link.run(validate("a.b.c"), timeout=0)
    assert caught.value.fault == "timeout"
    # The one place is free again once the thread that had the first call has seen that it is too late.
    assert link.run(ask(BrokerRequest.post("/v1/token/validate", {"token": token()}))).status == 200
    assert stub.calls == 1
    link.close()


def test_a_link_that_is_closed_before_its_thread_begins_opens_nothing(stub: StubBroker) -> None:
    class Late(ThreadPoolExecutor):
        def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            return super().submit(lambda: (link.close(), work(*args, **kwargs)))

    link = Link(LinkOptions(stub.url))
    link._pool = Late(1)
    with pytest.raises(BrokerUnavailable) as caught:
        link.run(validate("a.b.c"))
    assert caught.value.fault == "closed"
    assert stub.calls == 0
    assert link._transport is None


def test_no_name_is_looked_up_in_the_callers_own_thread(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    real, threads = socket.getaddrinfo, list[str]()

    def looked_up(*args: Any, **kwargs: Any) -> Any:
        threads.append(threading.current_thread().name)
        return real(*args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", looked_up)
    stub.answer = invalid
    link = Link(LinkOptions(stub.url))
    try:
        link.run(validate("a.b.c"))
        link.run(validate("a.b.c"))
        assert len(threads) == 1
        # Its idle connection is gone, and nobody has noticed yet.
        assert link._transport is not None
        link._transport._backend.hang_up()
        link.run(validate("a.b.c"))
    finally:
        link.close()
    assert len(threads) == 2
    assert all(name.startswith("agentwrit-link") for name in threads)
    assert stub.calls == 3
