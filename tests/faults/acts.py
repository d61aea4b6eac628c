"""What a fault broker does with a connection, and with a request on it."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable

from tests.faults.broker import Act, FaultBroker
from tests.kit.stub import valid
from tests.link.raw import answer

Said = bytes | Callable[[FaultBroker, bytes], bytes]
"""Bytes of an answer, or how to make them from the body of the request."""

SENT_AT_ONCE = 16 * 1024


def _bytes(said: Said, broker: FaultBroker, body: bytes) -> bytes:
    return said if isinstance(said, bytes) else said(broker, body)


def honest(broker: FaultBroker, connection: socket.socket, _: int) -> None:
    broker.honest(connection)


def silent(broker: FaultBroker, connection: socket.socket, _: int) -> None:
    broker.linger(connection)


def reset(connection: socket.socket) -> None:
    """Close by RST: what was not read yet is lost."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def resets(broker: FaultBroker, connection: socket.socket, _: int) -> None:
    reset(connection)
    broker.idle.set()


def answers(said: Said) -> Act:
    """The same answer to every request on a connection that stays open, until the broker is healed."""

    def act(broker: FaultBroker, connection: socket.socket, _: int) -> None:
        while body := broker.take(connection):
            connection.sendall(answer(valid(body)[2]) if broker.healed else _bytes(said, broker, body))

    return act


def says(*parts: Said, then: Callable[[socket.socket], None] | None = None) -> Act:
    """Takes a request and says this; then hangs up, or does what `then` does."""

    def act(broker: FaultBroker, connection: socket.socket, _: int) -> None:
        body = broker.take(connection)
        for part in parts:
            connection.sendall(_bytes(part, broker, body))
        if then is not None:
            then(connection)

    return act


def hangs(first: bytes = b"") -> Act:
    """Takes a request, says `first`, and no more."""

    def act(broker: FaultBroker, connection: socket.socket, _: int) -> None:
        broker.take(connection)
        connection.sendall(first)
        broker.linger(connection)

    return act


def drips(first: bytes, rest: bytes) -> Act:
    """Says `first` at once, and `rest` again and again with pauses, for ever."""

    def act(broker: FaultBroker, connection: socket.socket, _: int) -> None:
        broker.take(connection)
        connection.sendall(first)
        while not broker.stop.wait(0.02):
            connection.sendall(rest)

    return act


def pours(first: bytes, rest: bytes) -> Act:
    """Says `first` and then `rest` for ever, as fast as the peer takes it; counts what could be sent."""
    rest *= max(1, SENT_AT_ONCE // len(rest))

    def act(broker: FaultBroker, connection: socket.socket, number: int) -> None:
        # A small buffer of our own, or the system would take megabytes that the peer never reads.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SENT_AT_ONCE)
        broker.take(connection)
        connection.sendall(first)
        broker.poured[number] = len(first)
        while not broker.stop.is_set():
            left = memoryview(rest)
            while left:
                sent = connection.send(left)
                broker.poured[number] += sent
                left = left[sent:]

    return act


def secured(kind: str, act: Act) -> Act:
    """`act` behind a TLS handshake with that certificate of the `Pki`."""

    def outer(broker: FaultBroker, connection: socket.socket, number: int) -> None:
        with broker.pki.contexts[kind].wrap_socket(connection.dup(), server_side=True) as secret:
            act(broker, secret, number)

    return outer


def greets(first: bytes, *, then: Callable[[FaultBroker, socket.socket], None] | None = None) -> Act:
    """Says `first` to whatever comes, without waiting for a request."""

    def act(broker: FaultBroker, connection: socket.socket, _: int) -> None:
        connection.recv(65536)
        connection.sendall(first)
        if then is not None:
            then(broker, connection)

    return act


def first_then(first: Callable[[FaultBroker, socket.socket], None], rest: Act = honest) -> Act:
    """The first connection serves one request honestly and then does `first`; every later one does `rest`."""

    def act(broker: FaultBroker, connection: socket.socket, number: int) -> None:
        if number > 1:
            rest(broker, connection, number)
            return
        connection.sendall(answer(valid(broker.take(connection))[2]))
        try:
            with contextlib.suppress(OSError):
                first(broker, connection)
        finally:
            broker.idle.set()

    return act
