"""The TLS of the broker's connection: always verified, by what the settings name and nothing else."""

from __future__ import annotations

import logging
import os
import ssl
import threading

import certifi

from agentwrit_guard.errors import ConfigurationError

_events = logging.getLogger("agentwrit_guard.events")

_Stamp = tuple[tuple[int, int, int] | None, ...]


class Tls:
    """The TLS context of new connections, made anew when a file that it came from has changed.

    Short-lived certificates are replaced under running processes. A new file that cannot be used leaves the last
    good context in force, and is shouted about. ConfigurationError at the making only.
    """

    def __init__(self, https: bool, ca_file: str | None, client_cert: str | None, client_key: str | None) -> None:
        self._made_of = https, ca_file, client_cert, client_key
        self._files = tuple(path for path in (ca_file, client_cert, client_key) if path is not None)
        self.reset()
        # Looked at before they are read: a change in between is found the next time.
        self._stamp = self._look()
        self._context = tls_context(*self._made_of)

    def reset(self) -> None:
        """A new lock, for a forked child."""
        self._lock = threading.Lock()

    def context(self) -> ssl.SSLContext:
        if self._files:
            stamp = self._look()
            with self._lock:
                if stamp != self._stamp:
                    self._stamp = stamp
                    self._renew()
        return self._context

    def _renew(self) -> None:
        try:
            self._context = tls_context(*self._made_of)
        except ConfigurationError as error:
            _events.error(
                "%s; connections go on with what was read before", error, extra={"event": "tls_file_unusable"}
            )  # fmt: skip

    def _look(self) -> _Stamp:
        return tuple(map(_stamp, self._files))


def _stamp(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def tls_context(https: bool, ca_file: str | None, client_cert: str | None, client_key: str | None) -> ssl.SSLContext:
    """Verifies against `ca_file` or the bundled roots, never against the environment's. ConfigurationError for a file
    that cannot be used, with an `http` URL too, because the URL may be mended later."""
    if https and ca_file is None:
        context = ssl.create_default_context(cafile=certifi.where())
    else:
        # Without roots nothing can be verified by it, and it costs nothing to make.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.keylog_filename = None  # type: ignore[assignment]
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=ca_file)
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"ca_file {ca_file!r} cannot be used: {error}") from None
    if client_cert is not None:
        try:
            # An encrypted key is refused: OpenSSL would ask for its password on the terminal.
            context.load_cert_chain(client_cert, client_key, password=lambda: "")
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"client_cert {client_cert!r} cannot be used: {error}") from None
    return context
