"""Flask: the extension, `@requires_scope` on views, and `current_agent`."""

from __future__ import annotations

import functools
import inspect
import os
import re
import time
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar, cast

from flask import Flask, Request, Response, abort, current_app, request
from werkzeug.local import LocalProxy

from agentwrit_guard import environ as wsgienviron
from agentwrit_guard.core.bearer import refuse
from agentwrit_guard.core.claims import Principal
from agentwrit_guard.core.decisions import Denied, Reason
from agentwrit_guard.core.requirements import (
    Params,
    Requirement,
    RouteValue,
    Shortfall,
    all_of,
    any_of,
    identifier_text,
)
from agentwrit_guard.core.shadow import Until
from agentwrit_guard.errors import ConfigurationError, ScopeRequired
from agentwrit_guard.guard import Guard
from agentwrit_guard.perimeter import Others
from agentwrit_guard.records import warn_of_shadow
from agentwrit_guard.settings import PREFIX, Settings
from agentwrit_guard.wsgi import GuardMiddleware

__all__ = ["FlaskGuard", "GuardMiddleware", "current_agent", "requires_any_scope", "requires_scope"]

P = ParamSpec("P")
R = TypeVar("R")

_VARIABLE = re.compile(r"<(?:[A-Za-z_]\w*(?:\((?:[^()]|\([^()]*\))*\))?:)?([A-Za-z_]\w*)>")
_OPTIONS = ("public", "protect", "others", "allow_preflight", "private_answers")


class FlaskGuard:
    """Guards a Flask app: `FlaskGuard(app, guard=guard)`, or `init_app(app)` later.

    Without `guard` it makes one for each app from keywords, else `app.config["AGENTWRIT_..."]`, else the
    environment. The options are those of the middleware and may stand in the config too. It wraps `app.wsgi_app`,
    so that no `before_request`, error handler or automatic answer of the app comes before it.
    """

    def __init__(
        self,
        app: Flask | None = None,
        *,
        guard: Guard | None = None,
        public: Iterable[str] | None = None,
        protect: Iterable[str] | None = None,
        others: Others | None = None,
        allow_preflight: bool | None = None,
        private_answers: bool | None = None,
        **settings: Any,
    ) -> None:
        if guard is not None and settings:
            raise ConfigurationError(f"{', '.join(sorted(settings))} belong to the guard that was given")
        self._guard = guard
        self._options = {
            "public": public,
            "protect": protect,
            "others": others,
            "allow_preflight": allow_preflight,
            "private_answers": private_answers,
        }
        self._settings = settings
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        config = {key: value for key, value in app.config.items() if key.startswith(PREFIX)}
        options = {name: config.pop(PREFIX + name.upper(), None) for name in _OPTIONS}
        guard = self._guard
        if guard is None:
            guard = Guard.from_settings(Settings.read({**os.environ, **config}, **self._settings))
        options.update({name: value for name, value in self._options.items() if value is not None})
        given = {name: value for name, value in options.items() if value is not None}
        app.wsgi_app = GuardMiddleware(app.wsgi_app, guard, **given)  # type: ignore[method-assign]
        app.extensions["agentwrit_guard"] = guard
        app.register_error_handler(ScopeRequired, functools.partial(_scope_required, guard))


def _here() -> Request:
    """The request itself: a look through its proxy costs as much as a look at the cache. RuntimeError outside one."""
    return cast("LocalProxy[Request]", request)._get_current_object()


def _principal() -> Principal | None:
    try:
        here = _here()
    except RuntimeError:
        return None
    allowed = wsgienviron.allowed_by(here.environ, None)
    return None if allowed is None else allowed.principal


current_agent: Principal = cast("Principal", LocalProxy(_principal))
"""The agent of this request; falsy where there is none."""


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
    """Let a view run only for an agent that holds every scope; `{name}` is a variable of its rule.

    Goes below `@app.route`, on functions and methods of views, sync or async. Without extension and middleware give
    the `guard`. ConfigurationError at import for a requirement that cannot be meant.
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


def _requires(requirement: Requirement, guard: Guard | None) -> Callable[[Callable[P, R]], Callable[P, R]]:
    if requirement.shadow_end is not None:
        warn_of_shadow(f"requires_scope{requirement.scopes}", requirement.shadow_end, time.time())

    def decorate(view: Callable[P, R]) -> Callable[P, R]:
        if inspect.isclass(view):
            raise ConfigurationError(
                f"requires_scope goes on the methods of {view.__name__} or in its decorators, not on the class"
            )

        is_async = inspect.iscoroutinefunction(view)

        @functools.wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            here = _here()
            asked = wsgienviron.guard_of(here.environ, guard) or current_app.extensions.get("agentwrit_guard")
            params = _params(here, requirement, kwargs)
            if here.url_rule is not None:
                here.environ[wsgienviron.ROUTE] = here.url_rule.rule
            decision = wsgienviron.authorize(here.environ, requirement, params, asked, front="flask")
            if isinstance(decision, Denied):
                # Raised, because a helper's return value stops nothing. No error handler of the app sees it.
                abort(_response(decision))
            app = cast("LocalProxy[Flask]", current_app)._get_current_object()
            if not is_async and getattr(app.ensure_sync, "__func__", None) is Flask.ensure_sync:
                # What Flask itself would do with it, without asking again whether it is async.
                return view(*args, **kwargs)
            return app.ensure_sync(view)(*args, **kwargs)

        return cast("Callable[P, R]", guarded)

    return decorate


def _params(here: Request, requirement: Requirement, values: dict[str, Any]) -> Params:
    """Values for the templates: of each, the text of the path, and what the view gets."""
    params: dict[str, object] = {}
    found = here.view_args or {}
    for name in requirement.variables & found.keys():
        params[name] = RouteValue(_raw_text(here, found, name), values.get(name, found[name]))
    return params


def _raw_text(here: Request, values: dict[str, Any], name: str) -> str:
    """What stands in the path for a variable of the rule; nothing that fits if that cannot be told.

    Either the values that the router found, put back into the rule, give the path: then each stands there as it is.
    Or the variable has a segment of the path to itself.
    """
    rule = "" if here.url_rule is None else here.url_rule.rule
    pieces = _pieces(rule)
    if name not in pieces[1::2]:
        return ""
    path = wsgienviron.path(here.environ).removesuffix("/")
    texts = [*pieces]
    texts[1::2] = [identifier_text(values.get(variable)) for variable in pieces[1::2]]
    if "".join(texts).removesuffix("/") == path:
        return identifier_text(values.get(name))
    segments, found = rule.removesuffix("/").split("/"), path.split("/")
    for segment, text in zip(segments, found, strict=False):
        variable = _VARIABLE.fullmatch(segment)
        if len(segments) == len(found) and variable is not None and variable.group(1) == name:
            return text
    return ""


@functools.lru_cache(maxsize=4096)
def _pieces(rule: str) -> tuple[str, ...]:
    """The texts of a rule and, at every other place, the names of its variables."""
    return tuple(_VARIABLE.split(rule))


def _response(denied: Denied) -> Response:
    return Response(denied.body, denied.status, wsgienviron.headers(request.environ, denied))


def _scope_required(guard: Guard, error: ScopeRequired) -> Response:
    denied = refuse(Reason.INSUFFICIENT_SCOPE, guard.realm, shortfall=Shortfall(error.scopes, error.missing))
    wsgienviron.bind(request.environ, guard, denied, front="flask")
    return _response(denied)
