"""Servers whose own command takes no socket that was bound elsewhere: `python -m tests.servers.run NAME APP FD`."""

from __future__ import annotations

import socket
import sys
from typing import Any

from tests.servers import apps


def waitress(app: Any, fd: int) -> None:
    import waitress

    waitress.serve(app, sockets=[socket.socket(fileno=fd)])


def werkzeug(app: Any, fd: int) -> None:
    from werkzeug.serving import make_server

    make_server("127.0.0.1", 0, app, threaded=True, fd=fd).serve_forever()


if __name__ == "__main__":
    name, factory, fd = sys.argv[1:]
    {"waitress": waitress, "werkzeug": werkzeug}[name](getattr(apps, factory)(), int(fd))
