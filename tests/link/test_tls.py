"""TLS to the broker: always verified, and by what the settings name only (threats B-18, B-23, CFG-01a)."""

from __future__ import annotations

import datetime
import ipaddress
import pathlib
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from agentwrit_guard import Allowed, Denied, Guard
from agentwrit_guard.core.wire import BrokerReply, Flow, validate
from agentwrit_guard.errors import BrokerUnavailable, ConfigurationError
from agentwrit_guard.link import Link
from agentwrit_guard.transport import LinkOptions
from tests.kit.clock import MovableClock
from tests.kit.stub import valid
from tests.kit.tokens import token
from tests.link.conftest import Check, Drive
from tests.link.raw import OK, RawServer, answer, says


@dataclass(frozen=True)
class Party:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    cert_file: str
    key_file: str

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert_file, self.key_file)
        return context


class Issuer:
    """A certificate authority of the test's own."""

    def __init__(self, folder: pathlib.Path, name: str) -> None:
        self._folder = folder
        self.root = self.issue(name, authority=True)

    def issue(
        self, name: str, *, host: str = "127.0.0.1", days: int = 1, authority: bool = False, own: bool = False
    ) -> Party:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signer = None if authority or own else self.root
        now = datetime.datetime.now(datetime.timezone.utc)
        try:
            alternative: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            alternative = x509.DNSName(host)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(signer.certificate.subject if signer else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=10))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
            .sign(signer.key if signer else key, hashes.SHA256())
        )
        paths = [self._folder / f"{name}.{kind}.pem" for kind in ("cert", "key")]
        paths[0].write_bytes(certificate.public_bytes(Encoding.PEM))
        paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return Party(certificate, key, str(paths[0]), str(paths[1]))


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    return Issuer(tmp_path_factory.mktemp("pki"), "root")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    return Issuer(tmp_path_factory.mktemp("other"), "other-root")


@pytest.fixture
def secure(issuer: Issuer) -> Iterator[RawServer]:
    with RawServer(says(answer()), issuer.issue("broker").context()) as server:
        yield server


def test_b_18_a_certificate_of_the_named_authority(drive: Drive, issuer: Issuer, secure: RawServer) -> None:
    [claims] = drive(LinkOptions(secure.url, ca_file=issuer.root.cert_file), lambda: validate("t"))
    assert claims is None
    assert len(secure.requests) == 1


def test_b_18_through_a_guard(check: Check, clock: MovableClock, issuer: Issuer) -> None:
    def serve(server: RawServer, connection: ssl.SSLSocket, _: int) -> None:
        request = server.take(connection)
        connection.sendall(answer(valid(request.partition(b"\r\n\r\n")[2])[2]))

    with RawServer(serve, issuer.issue("guarded").context()) as server:
        good = Guard(server.url, ca_file=issuer.root.cert_file, clock=clock.clock)
        [allowed] = check(good, [b"Bearer " + token().encode()])
        [denied] = check(Guard(server.url, clock=clock.clock), [b"Bearer " + token().encode()])
    assert isinstance(allowed, Allowed)
    assert isinstance(denied, Denied)
    assert (denied.status, denied.detail["fault"]) == (503, "tls")


@pytest.mark.parametrize("kind", ["self-signed", "wrong address", "wrong name", "expired", "of another authority"])
def test_b_18_a_certificate_that_proves_nothing(drive: Drive, issuer: Issuer, stranger: Issuer, kind: str) -> None:
    party = {
        "self-signed": lambda: issuer.issue("self", own=True),
        "wrong address": lambda: issuer.issue("address", host="127.0.0.2"),
        "wrong name": lambda: issuer.issue("name", host="localhost"),
        "expired": lambda: issuer.issue("expired", days=-1),
        "of another authority": lambda: stranger.issue("stranger"),
    }[kind]()
    with RawServer(says(answer()), party.context()) as server:
        [fault] = drive(LinkOptions(server.url, ca_file=issuer.root.cert_file), lambda: validate("t"))
        assert fault.fault == "tls"
        assert server.requests == []


def test_b_18_without_ca_file_only_the_bundled_roots_count(drive: Drive, secure: RawServer) -> None:
    [fault] = drive(secure.url, lambda: validate("t"))
    assert fault.fault == "tls"
    assert secure.requests == []


def test_b_23_the_environment_adds_no_root(
    drive: Drive, issuer: Issuer, secure: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, issuer.root.cert_file)
    monkeypatch.setenv("SSL_CERT_DIR", str(pathlib.Path(issuer.root.cert_file).parent))
    [fault] = drive(secure.url, lambda: validate("t"))
    assert fault.fault == "tls"


@pytest.mark.parametrize("named", [True, False])
def test_b_23_the_environment_gets_no_session_keys(
    drive: Drive,
    issuer: Issuer,
    secure: RawServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: pathlib.Path,
    named: bool,
) -> None:
    keys = tmp_path / "keys.log"
    monkeypatch.setenv("SSLKEYLOGFILE", str(keys))
    drive(LinkOptions(secure.url, ca_file=issuer.root.cert_file if named else None), lambda: validate("t"))
    assert not keys.exists() or "SECRET" not in keys.read_text()


def test_b_18_no_fall_back_to_plain(drive: Drive, issuer: Issuer) -> None:
    heard: list[bytes] = []

    def plainly(_: RawServer, connection: socket.socket, __: int) -> None:
        heard.append(connection.recv(65536))
        connection.sendall(answer())

    with RawServer(plainly) as plain:
        options = LinkOptions(plain.url.replace("http:", "https:"), ca_file=issuer.root.cert_file)
        [fault] = drive(options, lambda: validate("the-token"))
        assert fault.fault == "tls"
    assert heard
    assert not any(b"the-token" in bytes_heard for bytes_heard in heard)


def test_cfg_01a_a_client_certificate_is_shown(drive: Drive, issuer: Issuer) -> None:
    context = issuer.issue("mtls").context()
    context.load_verify_locations(issuer.root.cert_file)
    context.verify_mode = ssl.CERT_REQUIRED
    client = issuer.issue("client")
    with RawServer(says(answer(b"[]")), context) as server:
        options = LinkOptions(
            server.url, ca_file=issuer.root.cert_file, client_cert=client.cert_file, client_key=client.key_file
        )
        [fault] = drive(options, lambda: validate("t"))
        assert (fault.fault, len(server.requests)) == ("body", 1)
        [fault] = drive(LinkOptions(server.url, ca_file=issuer.root.cert_file), lambda: validate("t"))
        assert fault.fault in ("reset", "tls")
        assert len(server.requests) == 1
    assert not isinstance(fault, BrokerReply)


def test_cfg_01a_a_key_of_another_certificate_is_a_start_up_error(issuer: Issuer) -> None:
    one, two = issuer.issue("one"), issuer.issue("two")
    with pytest.raises(ConfigurationError, match="client_cert"):
        Guard("https://127.0.0.1:1", client_cert=one.cert_file, client_key=two.key_file)


@pytest.mark.parametrize("url", ["https://127.0.0.1:1", "http://127.0.0.1:1"])
def test_cfg_01a_a_missing_ca_file_is_a_start_up_error(url: str, tmp_path: pathlib.Path) -> None:
    with pytest.raises(ConfigurationError, match="ca_file"):
        Guard(url, ca_file=str(tmp_path / "missing.pem"))


@pytest.mark.parametrize("setting", ["ca_file", "client_cert"])
def test_cfg_01a_a_path_that_is_none_is_a_start_up_error(setting: str) -> None:
    with pytest.raises(ConfigurationError, match=setting):
        Guard("https://127.0.0.1:1", **{setting: "a\0b"})


def test_cfg_01a_an_encrypted_key_is_refused_instead_of_asked_about(issuer: Issuer, tmp_path: pathlib.Path) -> None:
    party = issuer.issue("locked")
    locked = tmp_path / "locked.pem"
    lock = BestAvailableEncryption(b"password")
    locked.write_bytes(party.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock))
    with pytest.raises(ConfigurationError, match="client_cert"):
        Guard("https://127.0.0.1:1", client_cert=party.cert_file, client_key=str(locked))


def _again(server: RawServer, connection: socket.socket, _: int) -> None:
    """One answer a connection, so that the next request opens a new one."""
    server.take(connection)
    connection.sendall(answer(OK, b"Connection: close"))


def test_cfg_01a_a_new_authority_in_the_file_counts_from_the_next_connection(
    drive: Drive, issuer: Issuer, stranger: Issuer, tmp_path: pathlib.Path
) -> None:
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(pathlib.Path(issuer.root.cert_file).read_bytes())

    def replace() -> Flow[None]:
        ca_file.write_bytes(pathlib.Path(stranger.root.cert_file).read_bytes() + b"\n")
        yield from ()

    with RawServer(_again, issuer.issue("rotated").context()) as server:
        options = LinkOptions(server.url, ca_file=str(ca_file))
        before, _, after = drive(options, lambda: validate("t"), replace, lambda: validate("t"))
    assert before is None
    assert after.fault == "tls"
    assert len(server.requests) == 1


def test_cfg_01a_a_new_client_certificate_is_shown_from_the_next_connection(
    drive: Drive, issuer: Issuer, stranger: Issuer, tmp_path: pathlib.Path
) -> None:
    context = issuer.issue("mtls-rotated").context()
    context.load_verify_locations(issuer.root.cert_file)
    context.verify_mode = ssl.CERT_REQUIRED
    shown = tmp_path / "client.pem"

    def put(party: Party) -> None:
        shown.write_bytes(pathlib.Path(party.cert_file).read_bytes() + pathlib.Path(party.key_file).read_bytes())

    def replace() -> Flow[None]:
        put(issuer.issue("known"))
        yield from ()

    put(stranger.issue("unknown"))
    with RawServer(_again, context) as server:
        options = LinkOptions(server.url, ca_file=issuer.root.cert_file, client_cert=str(shown))
        before, _, after = drive(options, lambda: validate("t"), replace, lambda: validate("t"))
    assert before.fault in ("reset", "tls")
    assert after is None


@pytest.mark.parametrize("broken", [b"", b"no certificate", None])
def test_cfg_01a_a_broken_new_file_leaves_the_last_good_one(
    drive: Drive, issuer: Issuer, tmp_path: pathlib.Path, broken: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(pathlib.Path(issuer.root.cert_file).read_bytes())

    def spoil() -> Flow[None]:
        if broken is None:
            ca_file.unlink()
        else:
            ca_file.write_bytes(broken)
        yield from ()

    with RawServer(_again, issuer.issue("kept").context()) as server:
        options = LinkOptions(server.url, ca_file=str(ca_file))
        calls = drive(options, lambda: validate("t"), spoil, lambda: validate("t"), lambda: validate("t"))
    assert calls == [None] * 4
    said = [record for record in caplog.records if getattr(record, "event", "") == "tls_file_unusable"]
    assert [record.levelname for record in said] == ["ERROR"]
    assert "ca_file" in said[0].getMessage()


@pytest.mark.parametrize("secured", [False, True], ids=["http", "https"])
def test_closing_a_link_wakes_a_thread_that_waits_for_an_answer(issuer: Issuer, secured: bool) -> None:
    asked = threading.Event()

    def silent(server: RawServer, connection: socket.socket, _: int) -> None:
        server.take(connection)
        asked.set()
        server.stop.wait(60)

    faults: list[BrokerUnavailable] = []

    def ask(link: Link) -> None:
        with pytest.raises(BrokerUnavailable) as caught:
            link.run(validate("t"))
        faults.append(caught.value)

    with RawServer(silent, issuer.issue("silent").context() if secured else None) as server:
        link = Link(LinkOptions(server.url, ca_file=issuer.root.cert_file, timeout=50))
        waiting = threading.Thread(target=ask, args=(link,))
        waiting.start()
        assert asked.wait(20)
        link.close()
        waiting.join()
    assert [fault.fault for fault in faults] == ["closed"]
