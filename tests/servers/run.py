"""Servers whose own command takes no socket that was bound elsewhere: `python -m tests.servers.run NAME APP FD`."""

from __future__ import annotations

import os
import socket
import sys

from tests.servers.hosts import factory


def waitress(app: str, fd: int, *options: str) -> None:
    import waitress

    waitress.serve(factory(app)(), sockets=[socket.socket(fileno=fd)], url_prefix="".join(options))


def werkzeug(app: str, fd: int) -> None:
    from werkzeug.serving import make_server

    make_server("127.0.0.1", 0, factory(app)(), threaded=True, fd=fd).serve_forever()


def granian(app: str, fd: int, *options: str) -> None:
    from granian import Granian
    from granian._granian import SocketHolder
    from granian.constants import Interfaces

    class Handed(Granian):
        """Granian binds by itself only. Its workers take a listening socket all the same, from a private name."""

        def _init_shared_socket(self) -> None:
            self._shd, self._sfd, self._sso = SocketHolder(fd, False, 1024), fd, None

    prefix = "".join(options) or None
    Handed(f"tests.servers.made:{app}", interface=Interfaces.ASGI, url_path_prefix=prefix, log_level="warning").serve()


def cheroot(app: str, fd: int) -> None:
    from cheroot.wsgi import Server

    # It takes a socket as systemd hands one over: as descriptor 3.
    os.dup2(fd, 3)
    os.environ["LISTEN_PID"] = str(os.getpid())
    Server(("127.0.0.1", 0), factory(app)()).safe_start()


if __name__ == "__main__":
    name, app, fd, *options = sys.argv[1:]
    servers = {"waitress": waitress, "werkzeug": werkzeug, "granian": granian, "cheroot": cheroot}
    servers[name](app, int(fd), *options)
