"""Faults before the first byte of an answer: connecting (B-01), TLS (B-18), the environment (B-23)."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final
from unittest import mock

from tests.faults.acts import answers, greets, hangs, reset, resets, says, secured, silent
from tests.faults.broker import PATIENCE, FaultBroker
from tests.faults.fault import Around, Fault
from tests.link.raw import answer

NO = answer(b'{"valid":false}')


def resolving(found: Callable[[threading.Event], list[str]]) -> Around:
    """The name of the broker resolves to these addresses; other names as ever. The event is set at the end."""

    @contextlib.contextmanager
    def around(broker: FaultBroker) -> Iterator[None]:
        real, over = socket.getaddrinfo, threading.Event()

        def resolve(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
            if host not in ("localhost", b"localhost"):
                return real(host, port, *rest, **more)
            addresses = ["127.0.0.1"] if over.is_set() else found(over)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, broker.port)) for address in addresses]

        with mock.patch.object(socket, "getaddrinfo", resolve):
            try:
                yield
            finally:
                over.set()

    return around


def unknown(_: threading.Event) -> list[str]:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def later(_: threading.Event) -> list[str]:
    raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


def stuck(over: threading.Event) -> list[str]:
    over.wait(PATIENCE)
    raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


@contextlib.contextmanager
def full_backlog(broker: FaultBroker) -> Iterator[None]:
    """The queue of connections is full, so that the answer to another SYN never comes."""
    with contextlib.ExitStack() as stack:
        broker.listener.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(broker.listener.getsockname())
        yield


@contextlib.contextmanager
def hello_comes_late(broker: FaultBroker) -> Iterator[None]:
    """The guard begins a handshake, in its sync way, when the broker has closed the connection already."""
    real = ssl.SSLContext.wrap_socket

    def late(*args: Any, **more: Any) -> ssl.SSLSocket:
        broker.idle.wait(PATIENCE)
        return real(*args, **more)

    with mock.patch.object(ssl.SSLContext, "wrap_socket", late):
        yield


def lookup(name: str, found: Callable[[threading.Event], list[str]], word: str = "connect", **more: Any) -> Fault:
    return Fault(name, words=(word,), calls=0, host="localhost", around=resolving(found), **more)


def proof(kind: str, **more: Any) -> Fault:
    """A server that proves the wrong thing. It never gets as far as a token."""
    act = secured(kind, says(NO))
    values: dict[str, Any] = {"words": ("tls",), "settings": OURS, **more}
    return Fault(f"B-18 certificate: {kind}", act, calls=0, https=True, **values)


def behind_tls(name: str, act: Any, *words: str, **more: Any) -> Fault:
    return Fault(f"B-18 {name}", act, words, calls=0, https=True, settings=OURS, **more)


def environ(name: str, **more: Any) -> Fault:
    return Fault(f"B-23 {name}", **more)


UNCLOSED: Final = "older Pythons leave a socket that is reset before the handshake to be collected (CPython gh-113280)"
OURS: Final = {"ca_file": "{root}"}
PROXIES: Final = {
    name: "http://{trap}" for upper in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY") for name in (upper, upper.lower())
}
NO_PROXY_EXCEPTION: Final = {"NO_PROXY": "", "no_proxy": ""}
ROOTS: Final = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")

CONNECTING: Final = [
    Fault("B-01 connection refused", words=("connect",), calls=0, listening=False),
    Fault("B-01 SYN black hole", words=("timeout",), calls=0, listening=False, around=full_backlog, hangs=True),
    lookup("B-01 name unknown", unknown),
    lookup("B-01 resolver fails for now", later),
    lookup("B-01 resolver hangs", stuck, "timeout", hangs=True),
    lookup("B-01 no route", lambda _: ["255.255.255.255"]),
    Fault("B-01 reset as soon as it connects", resets, ("connect", "reset"), calls=0),
    *(proof(kind) for kind in ("self-signed", "wrong address", "wrong name", "expired", "another authority")),
    proof("good", settings={}, curable=False),
    Fault("B-18 certificate of an authority that ca_file no longer has", secured("good", says(NO)), ("tls",), calls=0,
          https=True, curable=False, settings={"ca_file": "{stranger}"}),
    proof("mutual", words=("tls", "reset")),
    behind_tls("handshake hangs", silent, "timeout", hangs=True),
    behind_tls("handshake hangs in the middle of a record",
               greets(b"\x16\x03\x03\x00\x7a\x02", then=FaultBroker.linger), "timeout", hangs=True),
    behind_tls("reset within the handshake", greets(b"", then=lambda _, connection: reset(connection)),
               "connect", "tls"),
    behind_tls("reset before the handshake", resets, "connect", around=hello_comes_late, xfail={"check": UNCLOSED},
               always=False),
    behind_tls("closed within the handshake", greets(b""), "connect", "tls"),
    behind_tls("garbage for a handshake", greets(b"\x00" * 512), "tls"),
    behind_tls("plain http on the TLS port", greets(answer(b'{"valid":false}', status=b"400 Bad Request")), "tls"),
    behind_tls("alert for a handshake", greets(b"\x15\x03\x03\x00\x02\x02\x28"), "tls"),
    Fault("B-18 TLS on the plain port", secured("good", says(NO)), ("reset",), calls=0),
    Fault("B-18 answer within TLS never comes", secured("good", hangs()), ("timeout",), https=True, settings=OURS,
          hangs=True),
    Fault("B-18 a good certificate is no proof of a good answer", secured("good", answers(answer(b"{}"))), ("body",),
          https=True, settings=OURS),
    *(environ(f"{name} names a trap", reason=None, environment={name: url, **NO_PROXY_EXCEPTION})
      for name, url in PROXIES.items()),
    environ("NETRC has a login for the broker", reason=None, environment={"NETRC": "{netrc}"}),
    environ("every proxy variable, and https", act=secured("good", answers(answer(b"[]"))), words=("body",), https=True,
            settings=OURS, environment={**PROXIES, **NO_PROXY_EXCEPTION}),
    environ("every proxy variable, and a broker that is down", words=("connect",), calls=0, listening=False,
            environment={**PROXIES, **NO_PROXY_EXCEPTION}),
    *(environ(f"{name} names the authority", act=secured("good", says(NO)), words=("tls",), calls=0, https=True,
              curable=False, environment={name: "{root}"}) for name in ROOTS),
    environ("SSL_CERT_FILE names a stranger beside ca_file", act=secured("another authority", says(NO)), words=("tls",),
            calls=0, https=True, settings=OURS, environment={"SSL_CERT_FILE": "{stranger}"}),
]  # fmt: skip
