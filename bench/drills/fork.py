"""Children that are forked from a process whose guard is in use: nothing of it is shared (C-19)."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import functools
import json
import os
import socket
import stat
import struct
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from agentwrit_guard import Allowed, Denied, Guard, Requirement
from bench.drills.crowd import PATIENCE, forked
from bench.drills.findings import Findings
from bench.drills.stage import Stage
from bench.drills.tokens import claims_of

OWN = 4
# bytes_acked and bytes_received of Linux's tcp_info.
_CARRIED = struct.Struct("120xQQ")


# The broker is asked, whatever is known.
FRESH = Requirement.authenticated(max_age=0)


@dataclass
class Tally:
    """What one process found. `sockets` are those to the broker that it has opened itself: name by inode."""

    outcomes: collections.Counter[str] = field(default_factory=collections.Counter)
    mixed: int = 0
    recalled: int = 0
    sockets: dict[int, str] = field(default_factory=dict)

    def count(self, credentials: bytes, decision: Allowed | Denied) -> None:
        if isinstance(decision, Allowed):
            self.outcomes[decision.source] += 1
            self.mixed += decision.principal.claims.jti != claims_of(credentials)["jti"]
        else:
            self.outcomes[f"{decision.status} {decision.reason.code}"] += 1


async def run(stage: Stage, children: int, rounds: int) -> Findings:
    """In each round the guard is used, sync and in this event loop, and as many children are forked from within it.

    While those of the first round work, and of every second one after it, this process keeps still, and its
    connections must carry nothing; in the others it works, too.
    """
    guard = stage.guard()
    port = _port(stage.url)
    here = Tally()
    there: list[Tally] = []
    stirred = shared = 0
    async with stage.agents((children + 1) * OWN) as known:
        mine, theirs = known[:OWN], [known[OWN * number : OWN * (number + 1)] for number in range(1, children + 1)]
        for number in range(rounds):
            busy = number % 2 == 1
            await _use(guard, mine, here)
            before = _sockets(port)
            # Each has tokens of its own, and this process's, too.
            works = [functools.partial(_work, guard, tokens + mine, port) for tokens in theirs]
            with forked(works) as crowd:
                deadline = time.monotonic() + PATIENCE
                while not crowd.done() and time.monotonic() < deadline:
                    if busy:
                        await _use(guard, mine, here)
                    await asyncio.sleep(0.01)
                after = _sockets(port)
                tallies = [_told(said) for said in crowd.said()]
            stirred += 0 if busy else sum(after.get(inode) != socket for inode, socket in before.items())
            named = collections.Counter(name for tally in tallies for name in tally.sockets.values())
            named.update(name for name, _ in after.values())
            inodes = collections.Counter(inode for tally in tallies for inode in tally.sockets)
            inodes.update(after.keys())
            shared += sum(times > 1 for times in (*named.values(), *inodes.values()))
            there += tallies
        await _use(guard, mine, here)
    await guard.aclose()
    outcomes: collections.Counter[str] = sum((tally.outcomes for tally in there), collections.Counter())
    mixed = here.mixed + sum(tally.mixed for tally in there)
    recalled = sum(tally.recalled for tally in there)
    return Findings(
        {
            "children": f"{children} at once, {rounds} times",
            "of which came to an end": len(there),
            "answers here": dict(here.outcomes),
            "answers in children": dict(outcomes),
            "answers with another token's claims": mixed,
            "identities of this process in a child": recalled,
            "connections of children": sum(len(tally.sockets) for tally in there),
            "sockets that two of them have": shared,
            "connections of this process that carried a byte while it kept still": stirred,
        },
        {
            "every child comes to an end": len(there) == children * rounds,
            "every child has two connections of its own at least": all(len(tally.sockets) >= 2 for tally in there),
            "0 sockets shared": shared == stirred == 0,
            "0 answers with another token's claims": mixed == 0,
            "every token let in": all(told in ("cache", "broker") for told in here.outcomes + outcomes),
            "no child goes by this process's identities": recalled == 0,
        },
    )


def _work(guard: Guard, tokens: list[bytes], port: int) -> str:
    """What a child does: it uses the guard at once, and tells what it found."""
    inherited = _sockets(port)
    tally = Tally()

    async def use() -> None:
        await _use(guard, tokens, tally, anew=True)
        # Those of an event loop close with it.
        tally.sockets = {inode: name for inode, (name, _) in _sockets(port).items() if inode not in inherited}

    asyncio.run(use())
    return json.dumps([tally.outcomes, tally.mixed, tally.recalled, list(tally.sockets.items())])


def _told(said: str) -> Tally:
    outcomes, mixed, recalled, sockets = json.loads(said)
    return Tally(collections.Counter(outcomes), mixed, recalled, dict(sockets))


async def _use(guard: Guard, tokens: list[bytes], tally: Tally, *, anew: bool = False) -> None:
    """Bring each token as it is, and then where the broker has to be asked, sync and async."""
    for credentials in tokens:
        first = guard.check([credentials])
        tally.recalled += anew and first.source != "broker"
        for decision in (first, guard.check([credentials], FRESH), await guard.acheck([credentials], FRESH)):
            tally.count(credentials, decision)


def _port(url: str) -> int:
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 80)


def _sockets(port: int) -> dict[int, tuple[str, tuple[int, int]]]:
    """The connections of this process to such a port, by inode: their own end, and how many bytes they carried."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            status = os.stat(f"/proc/self/fd/{name}")
            if not stat.S_ISSOCK(status.st_mode):
                continue
            with socket.socket(fileno=os.dup(int(name))) as same:
                if same.family in (socket.AF_INET, socket.AF_INET6) and same.getpeername()[1] == port:
                    carried = _CARRIED.unpack_from(same.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256))
                    found[status.st_ino] = (str(same.getsockname()), carried)
    return found
