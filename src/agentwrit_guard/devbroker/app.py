"""The Starlette application: routes, and what Go's mux answers where there is none (contract section 2)."""

from __future__ import annotations

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from agentwrit_guard.devbroker import agents, apps, jsonbody, lifecycle, operations, problems, sessions
from agentwrit_guard.devbroker.call import Call
from agentwrit_guard.devbroker.faults import Faults
from agentwrit_guard.devbroker.front import BODY, REQUEST_ID, Calls, Front
from agentwrit_guard.devbroker.problems import Problem
from agentwrit_guard.devbroker.state import Broker

Endpoint = Callable[[Call], Response]

_ROUTES: dict[str, dict[str, Endpoint]] = {
    "/v1/health": {"GET": operations.health},
    "/v1/metrics": {"GET": operations.metrics},
    "/v1/challenge": {"GET": agents.challenge},
    "/v1/register": {"POST": agents.register},
    "/v1/token/validate": {"POST": lifecycle.validate},
    "/v1/token/renew": {"POST": lifecycle.renew},
    "/v1/token/release": {"POST": lifecycle.release},
    "/v1/delegate": {"POST": agents.delegate},
    "/v1/app/auth": {"POST": sessions.app_auth},
    "/v1/app/launch-tokens": {"POST": sessions.app_launch},
    "/v1/admin/auth": {"POST": sessions.admin_auth},
    "/v1/admin/launch-tokens": {"POST": sessions.admin_launch},
    "/v1/admin/apps": {"POST": apps.create, "GET": apps.index},
    "/v1/admin/apps/{app_id}": {"GET": apps.show, "PUT": apps.update, "DELETE": apps.deregister},
    "/v1/revoke": {"POST": operations.revoke},
    "/v1/audit/events": {"GET": operations.audit_events},
}


def build(broker: Broker, faults: Faults, calls: Calls) -> Front:
    """The ASGI application of one broker. Every request to it is counted in `calls`."""
    routes = [Route(path, _Methods(broker, endpoints)) for path, endpoints in _ROUTES.items()]
    app = Starlette(routes=routes, exception_handlers={404: _not_found})
    # A trailing slash is another path: 404, no redirect.
    app.router.redirect_slashes = False
    return Front(app, broker, faults, calls)


class _Methods:
    """One path: picks the endpoint by method, GET answering HEAD as well, and renders its refusals."""

    def __init__(self, broker: Broker, endpoints: dict[str, Endpoint]) -> None:
        self._broker = broker
        self._endpoints = endpoints if "GET" not in endpoints else {**endpoints, "HEAD": endpoints["GET"]}
        self._allow = {"Allow": ", ".join(sorted(self._endpoints))}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._endpoints.get(scope["method"])
        if endpoint is None:
            response: Response = PlainTextResponse("Method Not Allowed\n", 405, self._allow)
        else:
            response = self._answer(endpoint, scope)
        await response(scope, receive, send)

    def _answer(self, endpoint: Endpoint, scope: Scope) -> Response:
        try:
            # One request at a time: of renewals at once exactly one wins.
            with self._broker.lock:
                return endpoint(Call(self._broker, Request(scope), scope[BODY]))
        except jsonbody.Malformed:
            problem = problems.malformed()
        except Problem as refusal:
            problem = refusal
        return problem.response(scope["path"], scope[REQUEST_ID])


def _not_found(request: Request, error: Exception) -> Response:
    return PlainTextResponse("404 page not found\n", 404)
