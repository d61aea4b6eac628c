"""uvicorn on a socket that it inherits: `python -m bench.serving.asgiserver FD APP`.

Its own `--fd` takes every socket for one of the local domain, and then leaves the delays of small packets on.
"""

from __future__ import annotations

import socket
import sys

import uvicorn

KEPT = 120
"""Seconds that an idle connection lasts: more than any plan."""
GRACE = 1
"""Seconds that requests get at the end."""


def main(descriptor: str, app: str) -> None:
    config = uvicorn.Config(
        f"bench.serving.apps:{app}",
        factory=True,
        http="httptools",
        ws="none",
        access_log=False,
        log_level="warning",
        timeout_keep_alive=KEPT,
        timeout_graceful_shutdown=GRACE,
    )
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(descriptor))])


if __name__ == "__main__":
    main(*sys.argv[1:])
