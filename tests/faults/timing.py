"""Faults of time and of connections: slow (B-02, B-17), broken off (B-03), kept alive (B-24)."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final

from tests.faults.acts import drips, first_then, hangs, honest, reset, says, silent
from tests.faults.broker import Act, FaultBroker
from tests.faults.fault import Fault
from tests.kit.stub import valid
from tests.link.raw import answer

LINE: Final = b"HTTP/1.1 200 OK\r\n"
CHUNKED: Final = LINE + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
NO: Final = answer(b'{"valid":false}')


def true(_: FaultBroker, body: bytes) -> bytes:
    return answer(valid(body)[2])


def half(broker: FaultBroker, body: bytes) -> bytes:
    """An answer that would be a yes, but for its second half."""
    whole = true(broker, body)
    return whole[: len(whole) - len(valid(body)[2]) // 2]


def slow(name: str, act: Act, *words: str, calls: int = 1) -> Fault:
    return Fault(f"B-02 {name}", act, words or ("timeout",), calls=calls, hangs=True)


def broken(name: str, act: Act) -> Fault:
    """No whole answer comes: asked once more, and then given up."""
    return Fault(f"B-03 {name}", act, ("reset",), calls=2)


def resets_after(*parts: bytes | Callable[[FaultBroker, bytes], bytes]) -> Act:
    return says(*parts, then=reset)


def dies_then_drips(broker: FaultBroker, connection: socket.socket, number: int) -> None:
    """The retry has no deadline of its own."""
    (drips(b"", b"H") if number > 1 else says())(broker, connection, number)


def health_is_fine(broker: FaultBroker, connection: socket.socket, _: int) -> None:
    """Says that the broker is well, to a question that nobody asked, and never what was asked for."""
    broker.take(connection)
    connection.sendall(b"HTTP/1.1 102 Processing\r\nX-Status: ok\r\n\r\n")
    broker.linger(connection)


def closes(_: FaultBroker, connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_RDWR)
    connection.close()


def resets_idle(_: FaultBroker, connection: socket.socket) -> None:
    reset(connection)


def closes_on_the_next(broker: FaultBroker, connection: socket.socket) -> None:
    broker.idle.set()
    broker.take(connection)


def adds(surplus: bytes) -> Callable[[FaultBroker, socket.socket], None]:
    def act(broker: FaultBroker, connection: socket.socket) -> None:
        connection.sendall(surplus)
        broker.idle.set()
        broker.linger(connection)

    return act


def with_surplus(surplus: Callable[[bytes], bytes]) -> Act:
    """The surplus comes in one piece with the answer to the first token."""

    def act(broker: FaultBroker, connection: socket.socket, number: int) -> None:
        if number > 1:
            honest(broker, connection, number)
            return
        body = broker.take(connection)
        connection.sendall(answer(valid(body)[2]) + surplus(body))
        broker.idle.set()
        broker.linger(connection)

    return act


def idle(name: str, act: Act, calls: int = 1) -> Fault:
    """The broker is well: what happened to an idle connection must not be seen."""
    return Fault(f"B-24 {name}", act, reason=None, calls=calls, warm=True)


TIMING: Final = [
    slow("accepts and never answers", silent, calls=0),
    slow("reads and never answers", hangs()),
    slow("status line and no more", hangs(LINE)),
    slow("headers and no body", hangs(answer(b"", length=60))),
    slow("half a body", hangs(answer(b'{"valid":true,', length=600))),
    slow("drip of the status line", drips(b"", b"H")),
    slow("drip of headers", drips(LINE, b"X-A: 1\r\n")),
    slow("drip of the body", drips(answer(b"", length=60_000), b" ")),
    slow("drip of chunks", drips(CHUNKED, b"1\r\n \r\n")),
    slow("drip of a body without length", drips(LINE + b"Content-Type: application/json\r\n\r\n", b" ")),
    slow("drip of interim answers", drips(b"", b"HTTP/1.1 102 Processing\r\n\r\n")),
    slow("drip of trailers", drips(CHUNKED + b"0\r\n", b"X-A: 1\r\n")),
    slow("closed, and then a drip", dies_then_drips, calls=2),
    Fault("B-17 health answers, validate hangs", health_is_fine, ("timeout",), hangs=True),
    broken("closed without a word", says()),
    broken("reset without a word", resets_after()),
    broken("reset within the headers", resets_after(LINE + b"Content-Ty")),
    broken("closed within the headers", says(LINE + b"Content-Ty")),
    broken("reset within the body", resets_after(half)),
    broken("closed within the body", says(half)),
    broken("closed within a chunk", says(CHUNKED + b'5\r\n{"v')),
    broken("closed before the last chunk", says(CHUNKED + b'f\r\n{"valid":false}\r\n')),
    broken("Content-Length is too long", says(answer(b'{"valid":false}', length=16))),
    Fault("B-03 Content-Length is too short", says(answer(b'{"valid":false}', length=14)), ("body",)),
    broken("two Content-Lengths", says(answer(b'{"valid":false}', b"Content-Length: 3"))),
    broken("negative Content-Length", says(answer(b"{}", length=-1))),
    broken("another protocol", says(b"SSH-2.0-OpenSSH_9.6\r\n")),
    broken("HTTP/0.9", says(b'{"valid":false}')),
    broken("HTTP/2 without being asked", says(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + b"\x00" * 18)),
    idle("closed while idle", first_then(closes)),
    idle("reset while idle", first_then(resets_idle)),
    idle("closed as the next request comes", first_then(closes_on_the_next), calls=2),
    idle("a 408 in farewell, while idle", first_then(adds(answer(b"", status=b"408 Request Timeout")))),
    idle("false behind the answer, in one piece", with_surplus(lambda _: NO)),
    idle("the same answer again, in one piece", with_surplus(lambda body: answer(valid(body)[2]))),
    idle("one byte behind the answer", with_surplus(lambda _: b"\n")),
    idle("false behind the answer, a moment later", first_then(adds(NO))),
    Fault("B-24 closed as the next request comes, and again", first_then(closes_on_the_next, says()), ("reset",),
          calls=2, warm=True),
]  # fmt: skip
