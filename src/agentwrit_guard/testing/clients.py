"""A client for an app in process, whatever framework it is of, that sends an Authorization header by default."""

from __future__ import annotations

import inspect
import sys
from typing import Any

from agentwrit_guard.errors import ConfigurationError

_WHERE = "http://testserver"


def client_for(app: Any, headers: dict[str, str]) -> Any:
    """Flask's own client, Starlette's TestClient for other ASGI apps, httpx's for other WSGI apps.

    The headers are defaults: a request that sends its own keeps them.
    """
    # An app is of a framework only if that has been imported.
    flask = sys.modules.get("flask")
    if flask is not None and isinstance(app, flask.Flask):
        client = app.test_client()
        for name, value in headers.items():
            client.environ_base[f"HTTP_{name.upper().replace('-', '_')}"] = value
        return client
    # Two first: a WSGI app may take a third argument that has a default.
    if _takes(app, 2):
        import httpx

        return httpx.Client(transport=httpx.WSGITransport(app=app), base_url=_WHERE, headers=headers)
    if _takes(app, 3):
        from starlette.testclient import TestClient

        return TestClient(app, base_url=_WHERE, headers=headers)
    raise ConfigurationError(f"app must be an ASGI or WSGI app, got {type(app).__name__}")


def _takes(app: Any, number: int) -> bool:
    """Whether it is called with so many arguments: three are ASGI's, two are WSGI's."""
    if not callable(app):
        return False
    if inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(type(app).__call__):
        return number == 3
    try:
        inspect.signature(app).bind(*range(number))
    except (TypeError, ValueError):
        return False
    return True
