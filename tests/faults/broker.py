"""A scripted fault broker over real sockets: bad until it is healed, and then an honest broker at the same address.

What it does with a connection is an `Act`, run in a thread of its own; `acts.py` has the building blocks. It counts
the tokens that reached it, and knows which of its connections the guard has not hung up on yet.
"""

from __future__ import annotations

import contextlib
import pathlib
import socket
import ssl
import threading
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.kit.clock import MovableClock
from tests.kit.stub import valid
from tests.link.raw import answer
from tests.link.test_tls import Issuer

THREADS = "fault-broker"
PATIENCE = 60.0
_HEAD = b"POST /v1/token/validate HTTP/1.1\r\n"


class Pki:
    """Files for a guard's settings: an authority that is trusted, one that is not, the key that the broker had before.
    And a server's TLS context for each kind of proof."""

    def __init__(self, folder: pathlib.Path) -> None:
        ours, theirs = folder / "ours", folder / "theirs"
        ours.mkdir()
        theirs.mkdir()
        issuer, stranger = Issuer(ours, "root"), Issuer(theirs, "other-root")
        self.files = {
            "root": issuer.root.cert_file,
            "stranger": stranger.root.cert_file,
            "old_key": str(folder / "old-key.pem"),
            "netrc": str(folder / "netrc"),
        }
        public = Ed25519PrivateKey.from_private_bytes(b"o" * 32).public_key()
        (folder / "old-key.pem").write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        (folder / "netrc").write_text("machine 127.0.0.1 login somebody password secret\n")
        good = issuer.issue("broker")
        self.contexts = {
            "good": good.context(),
            "self-signed": issuer.issue("self", own=True).context(),
            "wrong address": issuer.issue("address", host="127.0.0.2").context(),
            "wrong name": issuer.issue("name", host="localhost").context(),
            "expired": issuer.issue("expired", days=-1).context(),
            "another authority": stranger.issue("stranger").context(),
            "mutual": good.context(),
        }
        self.contexts["mutual"].load_verify_locations(self.files["root"])
        self.contexts["mutual"].verify_mode = ssl.CERT_REQUIRED


class FaultBroker:
    """Binds at once, listens from `open` on, and acts badly until `heal`."""

    def __init__(self, act: Act, pki: Pki, trap: str, clock: MovableClock, *, secured: bool = False) -> None:
        self._act = act
        self.pki = pki
        self.trap = trap
        """Host and port of a server that nobody may ever talk to."""
        self.clock = clock
        self.secured = secured
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.healed = False
        self.stop = threading.Event()
        self.idle = threading.Event()
        """Set by acts that do something to a connection while the guard keeps it for later."""
        self.accepted = 0
        self.tokens: list[bytes] = []
        """Bodies of the whole validate requests that came."""
        self.poured: dict[int, int] = {}
        self._lock = threading.Lock()
        self._held: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> FaultBroker:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        with self._lock:
            for connection in self._held:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()

    @property
    def held(self) -> int:
        """How many connections the guard has not hung up on."""
        with self._lock:
            return len(self._held)

    def open(self) -> None:
        if not self._threads:
            self.listener.listen(128)
            self._start(self._accept)

    def heal(self) -> None:
        self.healed = True
        self.open()

    def take(self, connection: socket.socket) -> bytes:
        """The body of the next request, kept in `tokens`; empty when the peer has gone."""
        data = b""
        while (end := _end(data)) is None or len(data) < end:
            chunk = connection.recv(65536)
            if not chunk:
                return b""
            data += chunk
        head, _, body = data.partition(b"\r\n\r\n")
        assert data.startswith(_HEAD), "the guard asks for nothing but a validation"
        assert b"\r\nauthorization:" not in head.lower(), "and shows the token alone"
        self.tokens.append(body)
        return body

    def honest(self, connection: socket.socket) -> None:
        """Say of every token what a broker that likes it says, until the peer hangs up."""
        while body := self.take(connection):
            connection.sendall(answer(valid(body)[2]))

    def linger(self, connection: socket.socket) -> None:
        """Say no more, and return when the peer has hung up."""
        while connection.recv(65536):
            pass

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, name=THREADS, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            connection.settimeout(PATIENCE)
            with self._lock:
                self.accepted += 1
                self._held.add(connection)
            self._start(self._serve, connection, self.accepted)

    def _serve(self, connection: socket.socket, number: int) -> None:
        try:
            with contextlib.suppress(OSError):
                if not self.healed:
                    self._act(self, connection, number)
                elif self.secured:
                    with self.pki.contexts["good"].wrap_socket(connection.dup(), server_side=True) as secret:
                        self.honest(secret)
                else:
                    self.honest(connection)
        finally:
            with self._lock:
                self._held.discard(connection)
                connection.close()


Act = Callable[[FaultBroker, socket.socket, int], None]


def _end(data: bytes) -> int | None:
    """Where the request that `data` begins with ends, None while its head is not whole."""
    head, blank, _ = data.partition(b"\r\n\r\n")
    if not blank:
        return None
    lines = [line.lower() for line in head.split(b"\r\n")]
    return len(head) + 4 + sum(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
