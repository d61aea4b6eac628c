"""A gateway with TLS before a broker, as real brokers have one. It keeps the Host headers that it sees."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import re
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_HOST = re.compile(rb"(?im)^host: *([^\r\n]*)")


def certificate(folder: Path) -> Path:
    """A key and a certificate for localhost that vouches for itself, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "localhost.pem"
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


@contextlib.contextmanager
def serving(broker_url: str, pem: Path) -> Iterator[tuple[str, set[str]]]:
    """The gateway's https URL, and the hosts that requests have named so far."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    hosts: set[str] = set()
    ready: Future[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parts = urlsplit(broker_url)
        upstream, broker = await asyncio.open_connection(parts.hostname, parts.port)
        await asyncio.gather(_pump(reader, broker, hosts), _pump(upstream, writer, set()))

    async def main() -> None:
        stopping = asyncio.Event()
        server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
        ready.set_result((server.sockets[0].getsockname()[1], asyncio.get_running_loop(), stopping))
        await stopping.wait()
        server.close()

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    port, loop, stopping = ready.result()
    try:
        yield f"https://localhost:{port}", hosts
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, hosts: set[str]) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            hosts.update(host.decode() for host in _HOST.findall(data))
            writer.write(data)
            await writer.drain()
    writer.transport.abort()
