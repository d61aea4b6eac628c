"""uvicorn from its start to its end: the guard opens on use, closes with the app, and leaves nothing behind."""

from __future__ import annotations

import signal

import pytest

from tests.servers.agents import Mint
from tests.servers.hosts import Serve
from tests.servers.wire import bearer, send

STRICT = ("-X", "dev", "-W", "error::ResourceWarning")


@pytest.mark.parametrize("app", ["fastapi_app", "starlette_app", "asgi_app"])
def test_guard_is_closed_with_the_app(app: str, serve: Serve, mint: Mint) -> None:
    host = serve("uvicorn-h11", app, python=STRICT)
    assert send(host.port, "/me", bearer(mint().access_token)).kind == "pass"
    # Unlike SIGTERM, it lets the interpreter go through its own end, where what is left open is complained of.
    assert host.stop(signal.SIGINT) == 0
    assert "Application startup complete" in host.output
    assert "Application shutdown complete" in host.output
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


def test_these_tests_would_notice_an_open_socket(serve: Serve) -> None:
    host = serve("uvicorn-h11", "leaking_app", python=STRICT)
    assert send(host.port, "/health").kind == "pass"
    assert host.stop(signal.SIGINT) == 0
    assert "ResourceWarning: unclosed" in host.output
