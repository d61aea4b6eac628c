"""R-13: servers from start to end. The guard opens on use, closes with the app, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import pytest

from agentwrit_guard import Guard
from agentwrit_guard.asgi import GuardMiddleware
from tests.servers.agents import Mint
from tests.servers.hosts import Serve
from tests.servers.rows import DAPHNE, GRANIAN, HYPERCORN, UVICORN
from tests.servers.wire import bearer, send

STRICT = ("-X", "dev", "-W", "error::ResourceWarning")
SERVERS = (UVICORN, HYPERCORN, GRANIAN)


@pytest.mark.parametrize("app", ["fastapi_app", "starlette_app", "asgi_app"])
@pytest.mark.parametrize("server", SERVERS)
def test_r_13_guard_is_closed_with_the_app(server: str, app: str, serve: Serve, mint: Mint) -> None:
    host = serve(server, app, python=STRICT)
    assert send(host.port, "/me", bearer(mint().access_token)).kind == "pass"
    # Unlike SIGTERM, it lets the interpreter go through its own end, where what is left open is complained of.
    assert host.stop(signal.SIGINT) == 0
    if server == UVICORN:
        assert "Application startup complete" in host.output
        assert "Application shutdown complete" in host.output
    if app == "asgi_app":
        assert [word for word in host.output.split() if word.startswith("lifespan.")] == [
            "lifespan.startup",
            "lifespan.shutdown",
        ]
    for word in ("Warning", "Traceback", "ERROR", "unclosed", "Exception ignored"):
        assert word not in host.output


def test_guard_that_was_never_used_ends_well(serve: Serve) -> None:
    host = serve("uvicorn-h11", "asgi_app", python=STRICT, AGENTWRIT_REALM="unused")
    assert send(host.port, "/health").kind == "pass"
    assert host.stop(signal.SIGINT) == 0
    assert "Application shutdown complete" in host.output
    assert "Warning" not in host.output


def test_loop_that_ends_takes_the_guard_along_without_lifespan(serve: Serve, mint: Mint) -> None:
    host = serve("uvicorn-without-lifespan", "asgi_app", python=STRICT)
    assert send(host.port, "/me", bearer(mint().access_token)).kind == "pass"
    assert host.stop(signal.SIGINT) == 0
    assert "Application shutdown complete" not in host.output
    assert "Warning" not in host.output


def test_r_13_daphne_has_no_lifespan_and_the_guard_works_without(serve: Serve, mint: Mint) -> None:
    host = serve(DAPHNE, "asgi_app", python=STRICT)
    assert send(host.port, "/me", bearer(mint().access_token)).kind == "pass"
    assert host.stop(signal.SIGINT) == 0
    for word in ("lifespan", "ResourceWarning", "Traceback"):
        assert word not in host.output


@pytest.mark.parametrize("server", SERVERS)
def test_these_tests_would_notice_an_open_socket(server: str, serve: Serve) -> None:
    host = serve(server, "leaking_app", python=STRICT)
    assert send(host.port, "/health").kind == "pass"
    assert host.stop(signal.SIGINT) == 0
    assert "ResourceWarning: unclosed" in host.output


@pytest.mark.parametrize("kind", ["webtransport", "HTTP", "", None])
def test_r_13_unknown_scope_type_is_refused(kind: Any) -> None:
    """No server here sends one, so this is the middleware alone."""
    called = []

    async def anything(*args: Any) -> None:
        called.append(args)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        called.append(scope)

    guarded = GuardMiddleware(app, Guard("http://127.0.0.1:9"), public=["/health"])
    scope = {"type": kind, "path": "/health", "method": "GET", "headers": []}
    with pytest.raises(RuntimeError, match="cannot judge"):
        asyncio.run(guarded(scope, anything, anything))
    assert called == []
