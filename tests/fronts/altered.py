"""What servers, middleware and gateways make of a request before a front sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agentwrit_guard import Guard
from tests.kit.drivers import Answer, Request
from tests.kit.fronts import FRONTS, Front

ASGI = tuple(name for name in FRONTS if name not in ("wsgi", "flask", "flask-alone"))


def alter(front: Front, change: Callable[[dict[str, Any]], None]) -> Front:
    """The front behind a server that hands over scopes, or environs, with this change."""
    inner = front.app

    async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
        change(scope)
        await inner(scope, receive, send)

    def wsgi(environ: dict[str, Any], start_response: Any) -> Any:
        change(environ)
        return inner(environ, start_response)

    front.app = asgi if front.websockets else wsgi
    return front


def serve(front: Front, failures: list[Exception] | None = None) -> Front:
    """The front behind what every server has: an exception that comes out of the app is a bare 500."""
    send = front.send

    def answered(app: Any, guard: Guard, request: Request) -> Answer:
        try:
            return send(app, guard, request)
        except Exception as error:
            if failures is not None:
                failures.append(error)
            return Answer(500, [], b"")

    front.send = answered
    return front
