"""One table for both runners: what a flow may do, and what it is told of the network (threats B)."""

from __future__ import annotations

import concurrent.futures
import socket
import struct
import threading
from collections.abc import Callable, Generator
from typing import Any

import pytest

from agentwrit_guard import Allowed, Denied, Guard
from agentwrit_guard.core.instant import Instant
from agentwrit_guard.core.wire import BrokerReply, BrokerRequest, Flow, ask, validate
from agentwrit_guard.errors import AgentWritError, BrokerUnavailable
from agentwrit_guard.link import Link
from agentwrit_guard.transport import LinkOptions
from tests.kit.clock import MovableClock
from tests.kit.stub import Answer, StubBroker, json_answer, valid
from tests.kit.tokens import token
from tests.link.conftest import Check, Drive
from tests.link.raw import RawServer, answer, says

NOBODY = "http://127.0.0.1:1"
REQUEST = BrokerRequest.post("/v1/token/validate", {"token": "the-token"})


@pytest.fixture(autouse=True)
def _plain_answers(stub: StubBroker) -> None:
    stub.answer = lambda _: json_answer({"valid": False})


def bearer(text: str) -> list[bytes]:
    return [b"Bearer " + text.encode()]


def once() -> Flow[BrokerReply]:
    return (yield REQUEST)


def asked() -> Flow[BrokerReply]:
    return (yield from ask(REQUEST))


class Seen(list[str]):
    """What happened to a flow, in order."""


def returning(value: Any, seen: Seen) -> Callable[[], Flow[Any]]:
    def flow() -> Generator[BrokerRequest, BrokerReply, Any]:
        try:
            seen.append("started")
            return value
            yield REQUEST
        finally:
            seen.append("closed")

    return flow


@pytest.mark.parametrize("value", [None, 0, "value", (1, 2)])
def test_a_flow_may_return_without_asking(drive: Drive, value: object) -> None:
    seen = Seen()
    assert drive(NOBODY, returning(value, seen)) == [value]
    assert seen == ["started", "closed"]


def test_a_flow_may_return_none_after_asking(drive: Drive, stub: StubBroker) -> None:
    def flow() -> Flow[None]:
        yield REQUEST

    assert drive(stub.url, flow, flow) == [None, None]
    assert stub.calls == 2


def test_a_flow_may_ask_more_than_once(drive: Drive, stub: StubBroker) -> None:
    def flow() -> Flow[list[int]]:
        first = yield REQUEST
        second = yield BrokerRequest.post("/v1/other", {"token": "x.e30"})
        return [first.status, second.status]

    stub.answer = lambda _: json_answer({}, 201)
    assert drive(stub.url, flow) == [[201, 201]]
    assert stub.paths == ["/v1/token/validate", "/v1/other"]


class Mistake(Exception):
    pass


@pytest.mark.parametrize("when", ["before", "after", "after a fault"])
def test_an_error_of_the_flow_is_not_thrown_back_into_it(drive: Drive, stub: StubBroker, when: str) -> None:
    seen = Seen()

    def flow() -> Flow[None]:
        try:
            if when == "before":
                raise Mistake
            try:
                yield REQUEST
            except BrokerUnavailable as fault:
                seen.append(fault.fault)
            seen.append("raised")
            raise Mistake
        except Mistake:
            seen.append("left once")
            raise
        finally:
            seen.append("closed")

    url = NOBODY if when == "after a fault" else stub.url
    with pytest.raises(Mistake):
        drive(url, flow)
    assert (
        seen
        == {
            "before": ["left once", "closed"],
            "after": ["raised", "left once", "closed"],
            "after a fault": ["connect", "raised", "left once", "closed"],
        }[when]
    )


def test_a_flow_that_is_left_in_the_middle_is_closed(drive: Drive) -> None:
    seen = Seen()

    def made() -> Flow[None]:
        try:
            yield BrokerRequest("POST", None)
        finally:
            seen.append("closed")

    flow = made()  # held here, so that collecting it does not close it
    with pytest.raises(TypeError):
        drive(NOBODY, lambda: flow)
    assert seen == ["closed"]


def test_a_brokerunavailable_of_the_flow_itself_is_not_thrown_back(drive: Drive, stub: StubBroker) -> None:
    seen = Seen()

    def flow() -> Flow[None]:
        yield REQUEST
        try:
            raise BrokerUnavailable("status", "the flow's own", retryable=True)
        except BrokerUnavailable:
            seen.append("once")
            raise

    [fault] = drive(stub.url, flow)
    assert (fault.fault, str(fault), seen) == ("status", "the flow's own", ["once"])


def test_a_flow_may_live_on_after_a_fault(drive: Drive, stub: StubBroker) -> None:
    def flow() -> Flow[str]:
        try:
            yield BrokerRequest("POST", "/x", None)
        except BrokerUnavailable as fault:
            return f"settled for {fault.fault}"
        return "answered"

    assert drive(NOBODY, flow) == ["settled for connect"]


def reset(server: RawServer, connection: socket.socket, _: int) -> None:
    server.take(connection)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


GZIPPED = answer(b"\x1f\x8b", b"Content-Encoding: gzip")
FAULTS = [
    pytest.param(says(), "reset", 2, id="B-03 closed without a word"),
    pytest.param(reset, "reset", 2, id="B-03 reset"),
    pytest.param(says(b"HTTP/1.1 200 OK\r\nContent-Ty"), "reset", 2, id="B-03 closed within the headers"),
    pytest.param(says(answer(b"{}", length=100)), "reset", 2, id="B-03 closed within the body"),
    pytest.param(says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"), "reset", 2,
    id="B-03 within a chunk"),
    pytest.param(says(b"SSH-2.0-OpenSSH_9.6\r\n"), "reset", 2, id="B-09 another protocol"),
    pytest.param(says(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000), "reset", 2, id="B-11 endless header"),
    pytest.param(says(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"), "reset", 2, id="B-09 negative length"),
    pytest.param(says(GZIPPED), "encoding", 1, id="B-11 gzip"),
    pytest.param(says(answer(b"{}", b"Content-Encoding: identity, gzip")), "encoding", 1, id="B-11 two encodings"),
    pytest.param(says(answer(b"{}", b"Content-Encoding: identity", b"Content-Encoding: br")), "encoding", 1,
    id="B-11 twice"),
    pytest.param(says(answer(b" " * 65_537)), "too_large", 1, id="B-11 64 KiB + 1"),
    pytest.param(says(answer(b" " * 10_000_000)), "too_large", 1, id="B-11 10 MB"),
    pytest.param(
        says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", (b"4000\r\n" + b" " * 0x4000 + b"\r\n") * 5),
        "too_large", 1, id="B-11 endless chunks",
    ),
]  # fmt: skip


@pytest.mark.parametrize("behaviour, word, connections", FAULTS)
def test_b_faults_have_their_word_and_one_retry_at_most(
    drive: Drive, behaviour: Any, word: str, connections: int
) -> None:
    with RawServer(behaviour) as server:
        [fault] = drive(server.url, asked)
    assert isinstance(fault, BrokerUnavailable)
    assert fault.fault == word
    assert fault.retryable == (word == "reset")
    assert server.accepted == connections
    assert fault.__cause__ is None
    assert fault.__suppress_context__ or fault.__context__ is None
    assert "the-token" not in str(fault)


def test_b_01_refused_is_asked_once(drive: Drive) -> None:
    seen = Seen()

    def flow() -> Flow[None]:
        try:
            yield from ask(REQUEST)
        finally:
            seen.append("closed")

    [fault] = drive(NOBODY, flow)
    assert (fault.fault, fault.retryable, seen) == ("connect", False, ["closed"])


@pytest.mark.parametrize("url", ["http://broker.invalid", "http://no-such-host.localhost.invalid:8080"])
def test_b_01_a_name_that_does_not_resolve(drive: Drive, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    [fault] = drive(url, asked)
    assert fault.fault == "connect"


def test_b_01_a_name_that_no_resolver_takes_is_a_fault_too(drive: Drive) -> None:
    [fault] = drive("http://" + "a" * 64 + ".invalid", asked)
    assert isinstance(fault, BrokerUnavailable)


def test_b_03_the_retry_succeeds(drive: Drive) -> None:
    def behaviour(server: RawServer, connection: socket.socket, number: int) -> None:
        server.take(connection)
        if number > 1:
            connection.sendall(answer(b"[]"))

    with RawServer(behaviour) as server:
        [reply] = drive(server.url, asked)
    assert reply.body == b"[]"
    assert (server.accepted, len(server.requests)) == (2, 2)
    assert server.requests[0] == server.requests[1]


def test_b_24_a_connection_that_died_while_idle_is_replaced(drive: Drive) -> None:
    def behaviour(server: RawServer, connection: socket.socket, _: int) -> None:
        server.take(connection)
        connection.sendall(answer())

    with RawServer(behaviour) as server:
        replies = drive(server.url, *[asked] * 4)
    assert [reply.status for reply in replies] == [200] * 4
    assert server.accepted == 4


def test_b_24_a_kept_alive_connection_is_used_again(drive: Drive) -> None:
    def serve(server: RawServer, connection: socket.socket, _: int) -> None:
        while server.take(connection):
            connection.sendall(answer())

    with RawServer(serve) as server:
        assert len(drive(server.url, *[asked] * 5)) == 5
    assert (server.accepted, len(server.requests)) == (1, 5)


def test_b_24_surplus_bytes_after_an_answer_are_no_answer(check: Check, clock: MovableClock) -> None:
    """A second answer in the same packet must not be taken for the answer to the next token."""

    def serve(server: RawServer, connection: socket.socket, _: int) -> None:
        while request := server.take(connection):
            body = valid(request.partition(b"\r\n\r\n")[2])[2]
            connection.sendall(answer(body) + answer(b'{"valid":false}'))

    with RawServer(serve) as server:
        guard = Guard(server.url, clock=clock.clock)
        decisions = check(guard, bearer(token()), bearer(token(jti="second")), bearer(token(jti="third")))
    assert all(isinstance(decision, Allowed) or decision.status == 503 for decision in decisions)
    assert isinstance(decisions[0], Allowed)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_b_08_redirects_are_not_followed(drive: Drive, stub: StubBroker, status: int) -> None:
    with StubBroker() as trap:
        places = iter([trap.url, f"{stub.url}/v1/token/validate", "https://127.0.0.1:1/", "//x/", "/again"])
        stub.answer = lambda _: (status, {"Location": next(places)}, b"")
        for fault in drive(stub.url, *[lambda: validate("the-token")] * 5):
            assert fault.fault == "redirect"
        assert (stub.calls, trap.calls) == (5, 0)


@pytest.mark.parametrize("size, fits", [(65_536, True), (65_537, False)])
@pytest.mark.parametrize("chunked", [False, True])
def test_b_11_the_cap_is_64_kib(drive: Drive, size: int, fits: bool, chunked: bool) -> None:
    body = b"x" * size
    sent = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (size, body)
        if chunked
        else answer(body)
    )
    with RawServer(says(sent)) as server:
        [found] = drive(server.url, asked)
    assert (isinstance(found, BrokerReply) and found.body == body) if fits else found.fault == "too_large"


@pytest.mark.parametrize("header", [b"Content-Encoding: identity", b"Content-Encoding: IDENTITY", b"X-Encoding: gzip"])
def test_b_11_identity_is_no_encoding(drive: Drive, header: bytes) -> None:
    with RawServer(says(answer(b"{}", header))) as server:
        [reply] = drive(server.url, asked)
    assert reply.body == b"{}"


def test_a_reply_has_its_headers_in_lower_case(drive: Drive) -> None:
    with RawServer(says(answer(b"{}", b"ReTry-After: 7", b"X-A: 1", b"X-A: 2", status=b"429 Slow"))) as server:
        [reply] = drive(server.url, asked)
    assert (reply.status, reply.headers["retry-after"], reply.headers["x-a"], reply.retry_after) == (
        429,
        "7",
        "1, 2",
        7,
    )


def test_a_request_is_the_token_and_nothing_of_anybody_else(drive: Drive, stub: StubBroker) -> None:
    drive(f"{stub.url}/base", lambda: validate("the-token"))
    assert stub.bodies == [b'{"token":"the-token"}']
    assert stub.paths == ["/base/v1/token/validate"]
    [headers] = stub.headers
    assert set(headers) == {
        "host",
        "accept",
        "accept-encoding",
        "connection",
        "user-agent",
        "content-type",
        "content-length",
    }
    assert headers["accept-encoding"] == "identity"
    assert headers["content-type"] == "application/json"
    assert headers["user-agent"].startswith("agentwrit-guard/")


def test_a_bearer_is_sent_where_a_flow_asks_for_it(drive: Drive, stub: StubBroker) -> None:
    def flow() -> Flow[BrokerReply]:
        return (yield BrokerRequest("POST", "/x", b'{"token":"x.e30"}', "the-bearer"))

    drive(LinkOptions(stub.url, user_agent="mine/1"), flow)
    assert stub.headers[0]["authorization"] == "Bearer the-bearer"
    assert stub.headers[0]["user-agent"] == "mine/1"


def test_a_request_may_have_no_body(drive: Drive) -> None:
    def flow() -> Flow[BrokerReply]:
        return (yield BrokerRequest("GET", "/v1/health"))

    with RawServer(says(answer())) as server:
        drive(server.url, flow)
    assert server.requests[0].startswith(b"GET /v1/health HTTP/1.1\r\n")
    assert b"content-type" not in server.requests[0].lower()


def test_one_answer_leaves_nothing_in_the_next_request(drive: Drive, stub: StubBroker) -> None:
    def with_cookie(_: bytes) -> Answer:
        return 200, {"Content-Type": "application/json", "Set-Cookie": "who=first; Path=/"}, b"{}"

    stub.answer = with_cookie
    drive(stub.url, asked, asked)
    assert "cookie" not in stub.headers[1]


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"])
def test_b_23_proxies_of_the_environment_are_not_used(
    drive: Drive, stub: StubBroker, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with RawServer(says(answer())) as proxy:
        monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        [reply] = drive(stub.url, asked)
        assert proxy.accepted == 0
    assert isinstance(reply, BrokerReply)


def test_b_23_netrc_is_not_read(drive: Drive, stub: StubBroker, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login canary password canary\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    drive(stub.url, asked)
    assert "authorization" not in stub.headers[0]


def test_a_link_closes_and_opens_anew(stub: StubBroker) -> None:
    link = Link(LinkOptions(stub.url))
    link.close()
    for _ in range(3):
        assert link.run(asked()).status == 200
        link.close()
    assert stub.calls == 3


def test_closing_under_a_call_leaves_no_connection_open(stub: StubBroker, clock: MovableClock) -> None:
    guard = Guard(stub.url, clock=clock.clock)
    found: list[Allowed | Denied] = []
    caller = threading.Thread(target=lambda: found.append(guard.check(bearer(token()))))
    arrived = threading.Event()
    stub.gate.clear()
    stub.answer = valid
    real = stub.gate.wait

    def wait(timeout: float | None = None) -> bool:
        arrived.set()
        return real(timeout)

    stub.gate.wait = wait
    caller.start()
    assert arrived.wait(20)
    guard.close()
    stub.gate.set()
    caller.join(20)
    assert isinstance(found[0], Allowed) or found[0].status == 503
    guard.close()


@pytest.mark.parametrize("fails", [False, True])
def test_link_where_no_thread_can_be_had(monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    """As in an interpreter that is ending: the caller's own thread does the work, and gets its error."""

    def refuse(*_: object) -> None:
        raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    monkeypatch.setattr(concurrent.futures.ThreadPoolExecutor, "submit", refuse)
    ran: list[str] = []

    def flow() -> Flow[str]:
        ran.append(threading.current_thread().name)
        if fails:
            raise AgentWritError("no")
        return "done"
        yield

    link = Link(LinkOptions("http://127.0.0.1:9"))
    calls: list[Callable[[], str]] = [
        lambda: link.run(flow()),
        lambda: link.share(b"key", flow, now=Instant(0, 0), max_age=1),
    ]
    for call in calls:
        if fails:
            with pytest.raises(AgentWritError, match="no"):
                call()
        else:
            assert call() == "done"
    assert ran == [threading.current_thread().name] * 2
    assert not link._calls
    link.close()
