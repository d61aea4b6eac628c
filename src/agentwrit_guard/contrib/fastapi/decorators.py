"""`@requires_scope` on handlers: the wrapper judges templates on the arguments that the handler receives."""

# No `from __future__ import annotations`: FastAPI cannot resolve the text of a callable object's annotations.

import functools
import inspect
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Annotated, Any, ParamSpec, TypeVar, cast

from fastapi import Depends, Security
from starlette.requests import HTTPConnection

from agentwrit_guard import asgiscope, asgiverdict
from agentwrit_guard.contrib.fastapi.security import AgentSecurity, Declared, agent_security, converted_values
from agentwrit_guard.contrib.starlette import is_async, refused, route_params
from agentwrit_guard.core.claims import Principal
from agentwrit_guard.core.decisions import Allowed, Denied
from agentwrit_guard.core.engine import judge
from agentwrit_guard.core.requirements import Requirement, all_of, any_of, identifier_text
from agentwrit_guard.core.shadow import Until
from agentwrit_guard.errors import ConfigurationError
from agentwrit_guard.guard import Guard
from agentwrit_guard.records import warn_of_shadow

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
    enforce: bool = True,
    until: Until = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a handler run only for an agent that holds every scope; `{name}` is a parameter of its path.

    Goes below the route decorator. A template is judged on the value that the handler receives. Without the
    middleware give the `guard`. ConfigurationError at import for a requirement that cannot be meant.
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


_securities: weakref.WeakValueDictionary[Guard, AgentSecurity] = weakref.WeakValueDictionary()


def _requires(requirement: Requirement, guard: Guard | None) -> Callable[[Callable[P, R]], Callable[P, R]]:
    if requirement.shadow_end is not None:
        warn_of_shadow(f"requires_scope{requirement.scopes}", requirement.shadow_end, time.time())

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
        decision = _judge(conn, values.pop(_AGENT), requirement, guard, values)
        if isinstance(decision, Denied):
            raise refused(conn, decision)

    own = inspect.signature(handler, eval_str=True).parameters.values()
    same = [parameter.replace(kind=_KEYWORD) for parameter in own if parameter.name in requirement.variables]
    return _declared(gate, inspect.Signature([*same, *extra]))


def _declared(function: Any, signature: inspect.Signature) -> Callable[..., Any]:
    """The function, which FastAPI will take for one of this signature."""
    function.__signature__ = signature
    declared: Callable[..., Any] = function
    return declared


def _wrap(handler: Callable[..., Any], requirement: Requirement, guard: Guard | None) -> Callable[..., Any]:
    """A wrapper of the handler's own kind: a sync handler stays sync, a generator stays one.

    A refusal is raised. A response that is returned would be no more than a value where the handler is a dependency,
    and the route's own handler would run with it.
    """

    def judge_first(kwargs: dict[str, Any]) -> None:
        conn: HTTPConnection = kwargs.pop(_CONNECTION)
        agent = kwargs.pop(_AGENT)
        kwargs.pop(_GATE, None)
        decision = _judge(conn, agent, requirement, guard, kwargs)
        if isinstance(decision, Denied):
            raise refused(conn, decision)
        if asgiverdict.spared(conn.scope, guard):
            # Dependencies gave it to the handler before the requirement was judged.
            kwargs.update({name: None for name, value in kwargs.items() if isinstance(value, Principal)})

    @functools.wraps(handler)
    async def asynchronous(*args: Any, **kwargs: Any) -> Any:
        judge_first(kwargs)
        return await handler(*args, **kwargs)

    @functools.wraps(handler)
    def synchronous(*args: Any, **kwargs: Any) -> Any:
        judge_first(kwargs)
        return handler(*args, **kwargs)

    @functools.wraps(handler)
    async def asynchronous_items(*args: Any, **kwargs: Any) -> Any:
        judge_first(kwargs)
        async for item in handler(*args, **kwargs):
            yield item

    @functools.wraps(handler)
    def synchronous_items(*args: Any, **kwargs: Any) -> Iterator[Any]:
        judge_first(kwargs)
        yield from handler(*args, **kwargs)

    if inspect.isasyncgenfunction(handler):
        return asynchronous_items
    if inspect.isgeneratorfunction(handler):
        return synchronous_items
    return asynchronous if is_async(handler) else synchronous


def _judge(
    conn: HTTPConnection, agent: Principal, requirement: Requirement, guard: Guard | None, values: dict[str, Any]
) -> Allowed | Denied | None:
    """None where nothing is enforced: the handler runs, without an agent."""
    params = route_params(conn.scope, requirement, _received(conn, requirement, values))
    allowed = asgiverdict.evidence(conn.scope, guard)
    late = allowed is None and asgiverdict.spared(conn.scope, guard)
    if late and not asgiscope.guard_of(conn.scope, guard).enforces(requirement):
        return asgiverdict.authorize_late(conn.scope, requirement, params, guard, front="fastapi")
    if allowed is None or allowed.principal is not agent:
        # The dependency was overridden: judge the agent that the override gave.
        overridden = Allowed(agent, "override")
        return judge(overridden, requirement, params, "agentwrit") or overridden
    asked = asgiscope.guard_of(conn.scope, guard)
    decision = asked.judge(allowed, requirement, params)
    return asgiverdict.settled(conn.scope, asked, decision, requirement, front="fastapi")


def _received(conn: HTTPConnection, requirement: Requirement, values: dict[str, Any]) -> dict[str, Any]:
    """What the handler receives for the parameters that templates name: by alias, or as an argument of that name,
    which a dependency may have made. A value that disagrees with the text of the path comes first."""
    received = converted_values(conn, requirement)
    for name in requirement.variables & values.keys():
        text = conn.path_params.get(name)
        if name not in received or identifier_text(received[name]) == text:
            received[name] = values[name]
    return received
