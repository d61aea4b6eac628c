"""Agents for a server, and a trial of it: it lets them in, and nobody else."""

from __future__ import annotations

import asyncio

from bench.drills.stage import Stage, stranger
from bench.serving import cores
from bench.serving.servers import PATH, Server


def minted(scene: Stage, number: int) -> list[bytes]:
    """Credentials of so many agents that may read one customer. Their tokens live for 300 s."""

    async def mint() -> list[bytes]:
        async with scene.agents(number) as known:
            return known

    return asyncio.run(mint())


def make_way(scene: Stage) -> None:
    """Keep the broker off the core of the server that is measured."""
    assert scene.process is not None
    cores.pin(scene.process.pid, cores.REST)


def prove_guarded(server: Server, credentials: bytes) -> None:
    """SystemExit unless it lets an agent in, asks its broker once for two requests, and refuses who must be refused."""
    expected = [
        ("an agent", PATH, credentials, 200),
        ("an agent again", PATH, credentials, 200),
        ("an agent elsewhere", "/customers/7292", credentials, 403),
        ("a stranger", PATH, stranger(), 401),
        ("nobody", PATH, b"", 401),
    ]
    before = server.asked()
    for who, path, given, status in expected:
        _expect(server, who, path, given, status)
    if server.asked() - before != 2:
        raise SystemExit(f"{server.name} asked its broker {server.asked() - before} times for an agent and a stranger")


def prove_bare(server: Server) -> None:
    for who, given in (("nobody", b""), ("a stranger", stranger())):
        _expect(server, who, PATH, given, 200)


def _expect(server: Server, who: str, path: str, credentials: bytes, status: int) -> None:
    found, body = server.get(path, credentials)
    if found != status:
        raise SystemExit(f"{server.name} answers {who} with {found}, not {status}: {body!r}")
