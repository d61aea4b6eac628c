"""`@requires_scope` on handlers: the wrapper judges templates on the arguments that the handler receives."""

# No `from __future__ import annotations`: FastAPI cannot resolve the text of a callable object's annotations.

import functools
import inspect
import weakref
from collections.abc import Callable, Iterator
from typing import Annotated, Any, ParamSpec, TypeVar, cast

from fastapi import Depends, Security
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket

from agentwrit_guard import asgiscope
from agentwrit_guard.contrib.fastapi.security import AgentSecurity, Declared, agent_security, converted_values, refused
from agentwrit_guard.contrib.starlette import denial, deny_websocket, is_async, route_params
from agentwrit_guard.core.claims import Principal
from agentwrit_guard.core.decisions import Allowed, Denied
from agentwrit_guard.core.engine import judge
from agentwrit_guard.core.requirements import Requirement, all_of, any_of, identifier_text
from agentwrit_guard.errors import ConfigurationError
from agentwrit_guard.guard import Guard

P = ParamSpec("P")
R = TypeVar("R")

_AGENT = "agentwrit_agent"
_CONNECTION = "agentwrit_connection"
_GATE = "agentwrit_gate"
_KEYWORD = inspect.Parameter.KEYWORD_ONLY


def requires_scope(
    *scopes: str | Requirement,
    guard: Guard | None = None,
    max_age: float | None = None,
    max_depth: int | None = None,
    delegated: bool = True,
    charset: str | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a handler run only for an agent that holds every scope; `{name}` is a parameter of its path.

    Goes below the route decorator. A template is judged on the value that the handler receives. Without the
    middleware give the `guard`. ConfigurationError at import for a requirement that cannot be meant.
    """
    requirement = all_of(*scopes, max_age=max_age, max_depth=max_depth, delegated=delegated, charset=charset)
    return _requires(requirement, guard)


def requires_any_scope(
    *scopes: str | Requirement,
    guard: Guard | None = None,
    max_age: float | None = None,
    max_depth: int | None = None,
    delegated: bool = True,
    charset: str | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """As `requires_scope`, where one of the scopes is enough."""
    requirement = any_of(*scopes, max_age=max_age, max_depth=max_depth, delegated=delegated, charset=charset)
    return _requires(requirement, guard)


_securities: weakref.WeakValueDictionary[Guard, AgentSecurity] = weakref.WeakValueDictionary()


def _requires(requirement: Requirement, guard: Guard | None) -> Callable[[Callable[P, R]], Callable[P, R]]:
    security = agent_security if guard is None else _securities.setdefault(guard, AgentSecurity(guard))

    def decorate(handler: Callable[P, R]) -> Callable[P, R]:
        if inspect.isclass(handler):
            raise ConfigurationError(f"requires_scope goes on a handler, not on the class {handler.__name__}")
        if _AGENT in inspect.signature(handler).parameters:
            raise ConfigurationError("requires_scope stands twice on one handler; give all scopes to one of them")
        guarded = _wrap(handler, requirement, guard)
        extra = _extra(requirement, security)
        if inspect.isasyncgenfunction(handler) or inspect.isgeneratorfunction(handler):
            gate = Depends(_gate(handler, requirement, guard, extra))
            extra = [*extra, inspect.Parameter(_GATE, _KEYWORD, annotation=Annotated[None, gate])]
        return cast("Callable[P, R]", _declared(guarded, _signature(handler, extra)))

    return decorate


def _extra(requirement: Requirement, security: AgentSecurity) -> list[inspect.Parameter]:
    """The arguments that a wrapper needs beside the handler's own."""
    scopes = [Declared(text, requirement) for text in requirement.scopes]
    return [
        inspect.Parameter(
            _AGENT,
            _KEYWORD,
            # Not from the cache of another dependency: scopes equal as text may be declared with another max_age.
            annotation=Annotated[Principal, Security(security, scopes=scopes, use_cache=False)],
        ),
        inspect.Parameter(_CONNECTION, _KEYWORD, annotation=HTTPConnection),
    ]


def _signature(handler: Callable[..., Any], extra: list[inspect.Parameter]) -> inspect.Signature:
    own = inspect.signature(handler)
    parameters = list(own.parameters.values())
    rest = [parameter for parameter in parameters if parameter.kind is inspect.Parameter.VAR_KEYWORD]
    return own.replace(parameters=[*parameters[: len(parameters) - len(rest)], *extra, *rest])


def _gate(
    handler: Callable[..., Any], requirement: Requirement, guard: Guard | None, extra: list[inspect.Parameter]
) -> Callable[..., Any]:
    """A dependency that judges before the response of a generator starts, on the values that it will receive: it
    declares the same path parameters, so that they are converted in the same way."""

    async def gate(**values: Any) -> None:
        conn: HTTPConnection = values.pop(_CONNECTION)
        denied = _judge(conn, values.pop(_AGENT), requirement, guard, values)
        if denied is not None:
            raise refused(conn, denied)

    own = inspect.signature(handler, eval_str=True).parameters.values()
    same = [parameter.replace(kind=_KEYWORD) for parameter in own if parameter.name in requirement.variables]
    return _declared(gate, inspect.Signature([*same, *extra]))


def _declared(function: Any, signature: inspect.Signature) -> Callable[..., Any]:
    """The function, which FastAPI will take for one of this signature."""
    function.__signature__ = signature
    declared: Callable[..., Any] = function
    return declared


def _wrap(handler: Callable[..., Any], requirement: Requirement, guard: Guard | None) -> Callable[..., Any]:
    """A wrapper of the handler's own kind: a sync handler stays sync, a generator stays one."""

    def judged(kwargs: dict[str, Any]) -> tuple[HTTPConnection, Denied | None]:
        conn: HTTPConnection = kwargs.pop(_CONNECTION)
        kwargs.pop(_GATE, None)
        return conn, _judge(conn, kwargs.pop(_AGENT), requirement, guard, kwargs)

    @functools.wraps(handler)
    async def asynchronous(*args: Any, **kwargs: Any) -> Any:
        conn, denied = judged(kwargs)
        if denied is None:
            return await handler(*args, **kwargs)
        return await deny_websocket(conn, denied) if isinstance(conn, WebSocket) else denial(conn, denied)

    @functools.wraps(handler)
    def synchronous(*args: Any, **kwargs: Any) -> Any:
        conn, denied = judged(kwargs)
        return handler(*args, **kwargs) if denied is None else denial(conn, denied)

    @functools.wraps(handler)
    async def asynchronous_items(*args: Any, **kwargs: Any) -> Any:
        conn, denied = judged(kwargs)
        if denied is not None:
            raise refused(conn, denied)
        async for item in handler(*args, **kwargs):
            yield item

    @functools.wraps(handler)
    def synchronous_items(*args: Any, **kwargs: Any) -> Iterator[Any]:
        conn, denied = judged(kwargs)
        if denied is not None:
            raise refused(conn, denied)
        yield from handler(*args, **kwargs)

    if inspect.isasyncgenfunction(handler):
        return asynchronous_items
    if inspect.isgeneratorfunction(handler):
        return synchronous_items
    return asynchronous if is_async(handler) else synchronous


def _judge(
    conn: HTTPConnection, agent: Principal, requirement: Requirement, guard: Guard | None, values: dict[str, Any]
) -> Denied | None:
    params = route_params(conn.scope, requirement, _received(conn, requirement, values))
    allowed = asgiscope.allowed_by(conn.scope, guard)
    if allowed is None or allowed.principal is not agent:
        # The dependency was overridden: judge the agent that the override gave.
        return judge(Allowed(agent, "override"), requirement, params, "agentwrit")
    asked = asgiscope.guard_of(conn.scope, guard)
    decision = asgiscope.settled(conn.scope, asked, asked.judge(allowed, requirement, params), front="fastapi")
    return decision if isinstance(decision, Denied) else None


def _received(conn: HTTPConnection, requirement: Requirement, values: dict[str, Any]) -> dict[str, Any]:
    """What the handler receives for the parameters that templates name: by alias, or as an argument of that name,
    which a dependency may have made. A value that disagrees with the text of the path comes first."""
    received = converted_values(conn, requirement)
    for name in requirement.variables & values.keys():
        text = conn.path_params.get(name)
        if name not in received or identifier_text(received[name]) == text:
            received[name] = values[name]
    return received
