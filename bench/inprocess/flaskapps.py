"""A Flask app of one view: bare, with a decorator of somebody's, and guarded as the README says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask

from agentwrit_guard import Guard
from agentwrit_guard.contrib.flask import FlaskGuard, requires_scope
from agentwrit_guard.environ import Environ, StartResponse
from agentwrit_guard.wsgi import GuardMiddleware


def read_customer(customer_id: str) -> dict[str, str]:
    return {"customer": customer_id}


def bare() -> Flask:
    return decorated(lambda view: view)


def decorated(decorator: Callable[[Any], Any]) -> Flask:
    app = Flask(__name__)
    app.add_url_rule("/customers/<customer_id>", "read_customer", decorator(read_customer))
    return app


def guarded(guard: Guard) -> Flask:
    """Any valid agent: nothing stands on the view."""
    app = bare()
    FlaskGuard(app, guard=guard)
    return app


def with_scope(guard: Guard) -> Flask:
    """Only an agent that may read this very customer."""
    app = decorated(requires_scope("read:customers:{customer_id}"))
    FlaskGuard(app, guard=guard)
    return app


def plain(environ: Environ, start_response: StartResponse) -> list[bytes]:
    """A WSGI app without a framework."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["PATH_INFO"].encode()]


def plain_guarded(guard: Guard) -> GuardMiddleware:
    return GuardMiddleware(plain, guard)
