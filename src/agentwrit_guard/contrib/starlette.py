"""Starlette: `@requires_scope` on endpoints, and the agent of a request."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable
from typing import Any, Final, ParamSpec, TypeVar, cast

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketState

from agentwrit_guard import asgiscope, asgiverdict
from agentwrit_guard.asgi import GuardMiddleware
from agentwrit_guard.asgiscope import Scope
from agentwrit_guard.core.claims import Principal
from agentwrit_guard.core.decisions import Denied
from agentwrit_guard.core.requirements import Params, Requirement, RouteValue, all_of, any_of
from agentwrit_guard.core.shadow import Until
from agentwrit_guard.errors import ConfigurationError
from agentwrit_guard.guard import Guard
from agentwrit_guard.records import warn_of_shadow

__all__ = ["GuardMiddleware", "current_agent", "requires_any_scope", "requires_scope"]

_MAX_SEGMENTS: Final = 256

P = ParamSpec("P")
R = TypeVar("R")


def current_agent(conn: HTTPConnection, *, guard: Guard | None = None) -> Principal | None:
    """The agent that the guard (else the innermost middleware's) let in, None on a path it did not judge."""
    allowed = asgiscope.allowed_by(conn.scope, guard)
    return None if allowed is None else allowed.principal


def requires_scope(
    *scopes: str | Requirement,
    guard: Guard | None = None,
    max_age: float | None = None,
    max_depth: int | None = None,
    delegated: bool = True,
    charset: str | None = None,
    enforce: bool = True,
    until: Until = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let an endpoint run only for an agent that holds every scope; `{name}` is a parameter of its path.

    Goes on functions and methods that take a request or websocket, sync or async, below `Route` and nearest to the
    function. Without the middleware give the `guard`, and the decorator authenticates too. ConfigurationError at
    import for a requirement that cannot be meant.
    """
    requirement = all_of(
        *scopes,
        max_age=max_age,
        max_depth=max_depth,
        delegated=delegated,
        charset=charset,
        enforce=enforce,
        until=until,
    )
    return _requires(requirement, guard)


def requires_any_scope(
    *scopes: str | Requirement,
    guard: Guard | None = None,
    max_age: float | None = None,
    max_depth: int | None = None,
    delegated: bool = True,
    charset: str | None = None,
    enforce: bool = True,
    until: Until = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """As `requires_scope`, where one of the scopes is enough."""
    requirement = any_of(
        *scopes,
        max_age=max_age,
        max_depth=max_depth,
        delegated=delegated,
        charset=charset,
        enforce=enforce,
        until=until,
    )
    return _requires(requirement, guard)


class AgentRefused(Exception):
    """Raised where an answer that is returned would stop nothing, as in a dependency. Answered with `denied` as it is.

    It is no HTTPException: an app's own page for a 403 must not turn a refusal into something else (threats R-15).
    """

    def __init__(self, denied: Denied) -> None:
        super().__init__(denied.reason.code)
        self.denied = denied


def refused(conn: HTTPConnection, denied: Denied) -> AgentRefused:
    """The exception, and its handler put where Starlette looks for one, so that no set-up is needed."""
    handlers = conn.scope.get("starlette.exception_handlers")
    if handlers:
        handlers[0].setdefault(AgentRefused, _render)
    return AgentRefused(denied)


async def _render(conn: HTTPConnection, error: AgentRefused) -> Response | None:
    if isinstance(conn, WebSocket):
        await deny_websocket(conn, error.denied)
        return None
    return denial(conn, error.denied)


def _is_fastapi(conn: HTTPConnection) -> bool:
    """Whether the route resolves dependencies: then the function may be one, and its answer a value among others."""
    return getattr(conn.scope.get("route"), "dependant", None) is not None


def denial(conn: HTTPConnection, denied: Denied) -> Response:
    """A refusal as a response of this framework."""
    response = Response(b"" if conn.scope.get("method") == "HEAD" else denied.body, denied.status)
    response.raw_headers = asgiscope.raw_headers(conn.scope, denied)
    return response


async def deny_websocket(websocket: WebSocket, denied: Denied) -> None:
    """Refuse a websocket: with the answer itself before accept where the server can, else by close 1008."""
    connecting = websocket.application_state is WebSocketState.CONNECTING
    if connecting and "websocket.http.response" in (websocket.scope.get("extensions") or {}):
        await websocket.send_denial_response(denial(websocket, denied))
    else:
        await websocket.close(1008, denied.reason.error or "")


def route_params(scope: Scope, requirement: Requirement, values: dict[str, Any]) -> Params:
    """Values for the templates of a requirement: of each, the text of the path, and what the handler gets.

    Only parameters of the route count, whatever else has the same name (threats S-11). A value that is not text and
    whose text cannot be found is given one that fits nothing.
    """
    params: dict[str, object] = {}
    found = scope.get("path_params", {})
    for name in requirement.variables:
        if name not in found:
            continue
        parsed = found[name]
        raw = _raw_text(scope, name)
        if raw is None:
            raw = parsed if isinstance(parsed, str) else ""
        params[name] = RouteValue(raw, values.get(name, parsed))
    return params


def _requires(requirement: Requirement, guard: Guard | None) -> Callable[[Callable[P, R]], Callable[P, R]]:
    if requirement.shadow_end is not None:
        warn_of_shadow(f"requires_scope{requirement.scopes}", requirement.shadow_end, time.time())

    def decorate(endpoint: Callable[P, R]) -> Callable[P, R]:
        if inspect.isclass(endpoint):
            raise ConfigurationError(f"requires_scope goes on the methods of {endpoint.__name__}, not on the class")
        guarded = _guard_async if is_async(endpoint) else _guard_sync
        return cast("Callable[P, R]", guarded(endpoint, requirement, guard))

    return decorate


def is_async(handler: Callable[..., Any]) -> bool:
    """Whether calling it gives a coroutine: also of an object whose `__call__` does."""
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(type(handler).__call__)


def _guard_async(endpoint: Callable[..., Any], requirement: Requirement, guard: Guard | None) -> Callable[..., Any]:
    @functools.wraps(endpoint)
    async def guarded(*args: Any, **kwargs: Any) -> Any:
        conn = _connection(args, kwargs)
        params = route_params(conn.scope, requirement, {})
        decision = await asgiverdict.authorize(conn.scope, requirement, params, guard, front="starlette")
        if not isinstance(decision, Denied):
            return await endpoint(*args, **kwargs)
        if _is_fastapi(conn):
            raise refused(conn, decision)
        return await deny_websocket(conn, decision) if isinstance(conn, WebSocket) else denial(conn, decision)

    return guarded


def _guard_sync(endpoint: Callable[..., Any], requirement: Requirement, guard: Guard | None) -> Callable[..., Any]:
    @functools.wraps(endpoint)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        conn = _connection(args, kwargs)
        params = route_params(conn.scope, requirement, {})
        decision = asgiverdict.authorize_blocking(conn.scope, requirement, params, guard, front="starlette")
        if not isinstance(decision, Denied):
            return endpoint(*args, **kwargs)
        if _is_fastapi(conn):
            raise refused(conn, decision)
        return denial(conn, decision)

    return guarded


def _connection(args: tuple[Any, ...], kwargs: dict[str, Any]) -> HTTPConnection:
    if args and type(args[0]) is Request:
        # Nearly always; the general question is one for an abstract class, and takes ten times as long.
        return args[0]
    for value in (*args, *kwargs.values()):
        if isinstance(value, HTTPConnection):
            return value
    raise ConfigurationError("requires_scope is on something that is called without a request or websocket")


def _raw_text(scope: Scope, name: str) -> str | None:
    """What stands in the path for a parameter, before any conversion; None if the route does not tell."""
    route: Any = scope.get("route")
    regex = getattr(route, "path_regex", None)
    if regex is not None and name in regex.groupindex:
        path = asgiscope.route_path(scope)
        converted, convert = scope["path_params"][name], route.param_convertors[name].convert
        # A route of an included router knows its own path only, so that it fits an end of the whole: the one that
        # gives the value which the router has found. The first slash is nearly always enough.
        start, left = path.find("/"), _MAX_SEGMENTS
        while start >= 0 and left:
            match = regex.match(path[start:])
            if match is not None:
                text = match.group(name)
                if convert(text) == converted:
                    return str(text)
            start, left = path.find("/", start + 1), left - 1
    outer = {**scope, "root_path": scope.get("app_root_path", scope.get("root_path", ""))}
    found = _walk(getattr(scope.get("router"), "routes", ()), asgiscope.route_path(outer))
    return found.get(name)


def _walk(routes: Any, path: str) -> dict[str, str]:
    for route in routes:
        regex = getattr(route, "path_regex", None)
        match = None if regex is None else regex.match(path)
        if match is None:
            continue
        groups: dict[str, str] = match.groupdict()
        inner = getattr(route, "routes", None)
        return groups if inner is None else {**groups, **_walk(inner, "/" + groups.pop("path", ""))}
    return {}
