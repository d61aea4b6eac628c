"""The dependencies: who sends the request, as a security scheme of OpenAPI."""

# No `from __future__ import annotations`: FastAPI cannot resolve the text of a callable object's annotations.

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from fastapi import Security
from fastapi.dependencies.models import Dependant
from fastapi.openapi.models import HTTPBearer as HTTPBearerModel
from fastapi.openapi.models import SecurityBase as SecurityModel
from fastapi.routing import iter_route_contexts
from fastapi.security import SecurityScopes
from fastapi.security.base import SecurityBase
from starlette.requests import HTTPConnection
from starlette.routing import BaseRoute

from agentwrit_guard import asgiscope, asgiverdict
from agentwrit_guard.contrib.starlette import refused, route_params
from agentwrit_guard.core.claims import Principal
from agentwrit_guard.core.decisions import Denied
from agentwrit_guard.core.engine import ANY_AGENT
from agentwrit_guard.core.lookup import Lookup
from agentwrit_guard.core.requirements import Requirement, all_of, identifier_text
from agentwrit_guard.core.scopes import Scope
from agentwrit_guard.errors import ConfigurationError
from agentwrit_guard.guard import Guard
from agentwrit_guard.perimeter import Perimeter


class AgentSecurity(SecurityBase):
    """A dependency that gives the `Principal`: `Security(agent_security, scopes=["read:data:{xid}"])`.

    Scopes are all required, on a handler, a router or the app. FastAPI shows them to nobody before the first request
    to their route, which is a 500 if one is malformed: `AgentSecurity.check(app)` finds it at start-up. Without
    `guard` it asks that of the innermost middleware. The instance is the key for `app.dependency_overrides`.
    """

    def __init__(self, guard: Guard | None = None) -> None:
        self.guard = guard
        self.model: SecurityModel = HTTPBearerModel(bearerFormat="JWT")
        self.scheme_name: str = "AgentWrit"

    async def __call__(self, conn: HTTPConnection, security_scopes: SecurityScopes) -> Principal | None:
        requirement = _requirement(tuple(security_scopes.scopes))
        params = route_params(conn.scope, requirement, converted_values(conn, requirement))
        decision = await asgiverdict.authorize(conn.scope, requirement, params, self.guard, front="fastapi")
        if isinstance(decision, Denied):
            raise refused(conn, decision)
        # One that is taken away from the app is still what the wrapper of a decorator judges on.
        wrapper = any(isinstance(scope, Declared) for scope in security_scopes.scopes)
        if decision is None or (asgiverdict.spared(conn.scope, self.guard) and not wrapper):
            return None
        return decision.principal

    @staticmethod
    def check(app: object) -> None:
        """Look at the scopes of every route of an app, its routers and its mounted apps, when all of them are there.

        ConfigurationError for a scope that cannot be meant, as the decorators raise it, with the path of its route.
        """
        routes = _routes(app)
        if routes is None:
            raise ConfigurationError(f"check wants a FastAPI app, got {type(app).__name__}")
        for path, dependant in _dependants(routes, ""):
            scopes = (*(dependant.parent_oauth_scopes or ()), *(dependant.own_oauth_scopes or ()))
            try:
                if isinstance(dependant.call, AgentSecurity):
                    _requirement(scopes)
                elif isinstance(dependant.call, OptionalAgentSecurity):
                    _no_scopes(scopes)
            except ConfigurationError as error:
                raise ConfigurationError(f"route {path}: {error}") from None


class OptionalAgentSecurity(SecurityBase):
    """A dependency that gives the `Principal`, or None when the request has no AgentWrit credential.

    For APIs that serve humans too: none, another scheme, and a bearer that is not of our kind give None; a token of
    our kind that is not valid is refused. It takes no scopes, because nobody would be refused for them: require them
    of the agent that it gives, or with a decorator.
    """

    def __init__(self, guard: Guard | None = None) -> None:
        self.guard = guard
        self.model: SecurityModel = HTTPBearerModel(bearerFormat="JWT")
        self.scheme_name: str = "AgentWrit"
        self._perimeter = Perimeter(others="pass")

    async def __call__(self, conn: HTTPConnection, security_scopes: SecurityScopes) -> Principal | None:
        _no_scopes(security_scopes.scopes)
        guard = asgiscope.guard_of(conn.scope, self.guard)
        allowed = asgiscope.allowed_by(conn.scope, guard)
        decision = None if allowed is None else guard.rejudge(allowed, ANY_AGENT)
        if allowed is not None and decision is allowed:
            return allowed.principal
        if decision is None:
            authorization = asgiscope.authorization(conn.scope)
            found = guard.decide(authorization, query=conn.scope.get("query_string", b""))
            if isinstance(found, Denied) and self._perimeter.passes(authorization):
                return None
            if isinstance(found, Lookup):
                decision = await asgiverdict.settle(conn.scope, guard, found, phase="requirement", front="fastapi")
            else:
                decision = found
        decision = asgiverdict.settled(conn.scope, guard, decision, ANY_AGENT, front="fastapi")
        if isinstance(decision, Denied):
            raise refused(conn, decision)
        return None if decision is None or asgiverdict.spared(conn.scope, guard) else decision.principal


agent_security: AgentSecurity = AgentSecurity()
optional_agent: OptionalAgentSecurity = OptionalAgentSecurity()

CurrentAgent = Annotated[Principal, Security(agent_security)]
OptionalAgent = Annotated[Principal | None, Security(optional_agent)]


class Declared(str):
    """A scope that the decorator's wrapper judges. OpenAPI shows it, the dependency leaves it alone.

    It equals no plain text: FastAPI keeps what a dependency gave by its scopes, and what was given where nothing was
    judged must not stand for a dependency of the same text that judges it.
    """

    __slots__ = ("requirement",)

    def __new__(cls, text: str, requirement: Requirement) -> "Declared":
        declared = super().__new__(cls, text)
        declared.requirement = requirement
        return declared

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Declared) and str.__eq__(self, other) and self.requirement == other.requirement

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((str.__hash__(self), self.requirement))

    requirement: Requirement


@functools.lru_cache(maxsize=1024)
def _requirement_of(scopes: tuple[str, ...], max_age: float | None, end: float | None) -> Requirement:
    declared = all_of(*scopes, max_age=max_age) if scopes else Requirement.authenticated(max_age=max_age)
    found = dataclasses.replace(declared, shadow_end=end)
    return ANY_AGENT if found == ANY_AGENT else found


def _requirement(scopes: tuple[str, ...]) -> Requirement:
    """What the dependency judges: the scopes given to it as they are, and how fresh the decorators want the agent.

    Where all there is comes from decorators in shadow mode, it enforces no sooner than they do.
    """
    declared = [scope.requirement for scope in scopes if isinstance(scope, Declared)]
    ages = [requirement.max_age for requirement in declared if requirement.max_age is not None]
    plain = tuple(scope for scope in scopes if not isinstance(scope, Declared))
    ends = [requirement.shadow_end for requirement in declared if requirement.shadow_end is not None]
    shadow = ends and not plain and len(ends) == len(declared)
    return _requirement_of(plain, min(ages) if ages else None, min(ends) if shadow else None)


def _no_scopes(scopes: Sequence[str]) -> None:
    """ConfigurationError for a scope of an agent's. Others come down from dependencies above, and are not for us."""
    wanted = [scope for scope in scopes if not isinstance(scope, Declared) and Scope.parse(scope) is not None]
    if wanted:
        raise ConfigurationError(f"scope {wanted[0]!r} is given to OptionalAgentSecurity, which requires none")


def _routes(app: Any) -> Sequence[BaseRoute] | None:
    """The routes of an app inside its middlewares, None if it has no router that can be looked into."""
    while app is not None and not hasattr(app, "routes"):
        app = getattr(app, "app", None)
    return getattr(app, "routes", None)


def _dependants(routes: Sequence[BaseRoute], prefix: str) -> Iterator[tuple[str, Dependant]]:
    """Every dependency of these routes, however deep, with the path that needs it."""
    for context in iter_route_contexts(routes):
        path = prefix + (context.path or "")
        yield from _dependants(_routes(getattr(context.original_route, "app", None)) or (), path)
        pending = [getattr(context, "dependant", None)]
        while pending:
            dependant = pending.pop()
            if dependant is not None:
                pending.extend(dependant.dependencies)
                yield path, dependant


def converted_values(conn: HTTPConnection, requirement: Requirement) -> dict[str, Any]:
    """What the handler and the dependencies of its route make of the parameters that templates name.

    Of several, one that is not the text of the path: then the template has no value that all agree on. What cannot
    be converted is left out, because FastAPI answers it with 422.
    """
    values: dict[str, Any] = {}
    pending = [getattr(conn.scope.get("route"), "dependant", None)] if requirement.variables else []
    while pending:
        dependant = pending.pop()
        if dependant is None:
            continue
        pending.extend(dependant.dependencies)
        for field in dependant.path_params:
            if field.alias in requirement.variables:
                text = conn.path_params.get(field.alias)
                value, errors = field.validate(text, {}, loc=("path", field.alias))
                if not errors and (field.alias not in values or identifier_text(value) != text):
                    values[field.alias] = value
    return values
