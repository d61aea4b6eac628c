"""The TLS of the broker's connection: always verified, by what the settings name and nothing else."""

from __future__ import annotations

import ssl

import httpx

from agentwrit_guard.errors import ConfigurationError


def tls_context(https: bool, ca_file: str | None, client_cert: str | None, client_key: str | None) -> ssl.SSLContext:
    """Verifies against `ca_file` or the bundled roots, never against the environment's. ConfigurationError for a file
    that cannot be used, with an `http` URL too, because the URL may be mended later."""
    if https and ca_file is None:
        context = httpx.create_ssl_context(trust_env=False)
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
