"""Bytes behind an answer (threats B-24): a connection that has them is not used again, and little of them is kept."""

from __future__ import annotations

import socket
import tracemalloc

import pytest

from agentwrit_guard.core.wire import BrokerReply, BrokerRequest, Flow, ask
from agentwrit_guard.transport import LinkOptions
from tests.link.conftest import Drive
from tests.link.raw import RawServer, answer

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
SURPLUS = answer(b'{"valid":false}')


def asked() -> Flow[BrokerReply]:
    return (yield from ask(BrokerRequest.post("/x", {"token": "t"})))


ANSWERS = [
    pytest.param(answer(b"{}"), True, id="by length"),
    pytest.param(answer(b""), True, id="empty"),
    pytest.param(OK + b"content-LENGTH:2\r\n\r\n{}", True, id="by length, other spelling"),
    pytest.param(CHUNKED + b"2\r\n{}\r\n0\r\n\r\n", True, id="by chunks"),
    pytest.param(CHUNKED + b"1;x=y\r\n{\r\nA\r\n" + b" " * 10 + b"\r\n1\r\n}\r\n0\r\n\r\n", True,
    id="by chunks with extensions"),
    pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", True, id="204"),
    pytest.param(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", True, id="304"),
    pytest.param(CHUNKED + b"0000000002\r\n{}\r\n0\r\n\r\n", False, id="a chunk length written too long"),
    pytest.param(answer(b"{}") + SURPLUS, False, id="a second answer"),
    pytest.param(answer(b"{}") + b"\n", False, id="one byte more"),
    pytest.param(answer(b"") + b"{}", False, id="a body behind length 0"),
    pytest.param(CHUNKED + b"2\r\n{}\r\n0\r\n\r\n" + SURPLUS, False, id="a second answer behind chunks"),
    pytest.param(CHUNKED + b"2\r\n{}\r\n0\r\nX-Trailer: 1\r\n\r\n", False, id="trailers, whose end is not looked for"),
    pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n" + SURPLUS, False, id="a second answer behind 204"),
    pytest.param(b"HTTP/1.1 102 Processing\r\n\r\n" + answer(b"{}"), False, id="an interim answer"),
    pytest.param(OK + b"Content-Length: 2\r\nConnection: close\r\n\r\n{}", False, id="said to be the last"),
    pytest.param(
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}" + answer(b"{}"), False, id="bare LF, with another answer's length"
    ),
]  # fmt: skip


@pytest.mark.parametrize("sent, reused", ANSWERS)
def test_b_24_only_a_connection_without_surplus_is_used_again(drive: Drive, sent: bytes, reused: bool) -> None:
    def serve(server: RawServer, connection: socket.socket, _: int) -> None:
        while server.take(connection):
            connection.sendall(sent)

    with RawServer(serve) as server:
        replies = drive(server.url, asked, asked, asked)
    assert all(isinstance(reply, BrokerReply) for reply in replies)
    assert len({(reply.status, reply.body) for reply in replies}) == 1
    assert server.accepted == (1 if reused else 3)


# As good as endless, and the same on every machine: what is kept grows a little with what arrives in time.
ENOUGH = 64_000_000
ENDLESS = {
    "interim answers": (b"", b"HTTP/1.1 102 Processing\r\n\r\n" * 1000),
    "chunk extensions": (CHUNKED, (b"1;x=" + b"y" * 8000 + b"\r\n \r\n") * 4),
}


@pytest.mark.parametrize("first, rest", ENDLESS.values(), ids=ENDLESS)
def test_b_11_little_is_kept_of_an_endless_answer(drive: Drive, first: bytes, rest: bytes) -> None:
    sent = 0

    def serve(server: RawServer, connection: socket.socket, _: int) -> None:
        nonlocal sent
        server.take(connection)
        connection.sendall(first)
        sent = 0
        while sent < ENOUGH and not server.stop.is_set():
            connection.sendall(rest)
            sent += len(rest)
        server.stop.wait()

    with RawServer(serve) as server:
        drive(server.url, *[lambda: ask(BrokerRequest("POST", "/x"))], timeout=0.05)  # what is loaded once is loaded
        tracemalloc.start()
        try:
            [fault] = drive(LinkOptions(server.url, timeout=1.0), asked)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert fault.fault in ("timeout", "too_large", "reset")
    assert peak < 2_000_000, (peak, sent)
