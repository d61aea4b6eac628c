"""WSGI middleware: every request needs a valid agent unless the perimeter says otherwise."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from agentwrit_guard import environ as wsgienviron
from agentwrit_guard.core.bearer import refuse
from agentwrit_guard.core.decisions import Allowed, Denied, Reason
from agentwrit_guard.core.lookup import Lookup
from agentwrit_guard.core.requirements import Shortfall
from agentwrit_guard.environ import Environ, StartResponse, WSGIApp
from agentwrit_guard.errors import ConfigurationError, ScopeRequired
from agentwrit_guard.guard import Guard
from agentwrit_guard.lastingbody import LastingBody
from agentwrit_guard.perimeter import Others, Perimeter, overrides_method

__all__ = ["GuardMiddleware"]


class GuardMiddleware:
    """Guards a WSGI app, whatever framework it is of. Options as for the ASGI middleware.

    The app finds what was decided in `environ["agentwrit_guard"][guard]`.
    """

    def __init__(
        self,
        app: WSGIApp,
        guard: Guard,
        *,
        public: Iterable[str] = (),
        protect: Iterable[str] | None = None,
        others: Others = "refuse",
        allow_preflight: bool = False,
        private_answers: bool = False,
    ) -> None:
        _check_app(app)
        if not isinstance(guard, Guard):
            raise ConfigurationError(f"guard must be a Guard, got {type(guard).__name__}")
        self.app = app
        self.guard = guard
        if not isinstance(private_answers, bool):
            raise ConfigurationError(f"private_answers must be True or False, got {private_answers!r}")
        self._perimeter = Perimeter(public, protect, others, allow_preflight)
        self._private_answers = private_answers

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        judged = not self._perimeter.selective or self._judges(environ)
        authorization = wsgienviron.authorization(environ) if judged else []
        decision = self._decide(environ, authorization) if judged else None
        if isinstance(decision, Denied):
            return wsgienviron.refuse(decision, environ, start_response)
        wsgienviron.enter(environ, self.guard, decision)
        if self._private_answers:
            start_response = wsgienviron.private(environ, start_response)
        if decision is None:
            return self._pass(environ, start_response)
        return LastingBody(environ, start_response, self.guard, decision, authorization).of(self._pass)

    def _decide(self, environ: Environ, authorization: list[bytes]) -> Allowed | Denied | None:
        found = self.guard.decide(authorization, query=wsgienviron.query(environ))
        if isinstance(found, Allowed):
            if self.guard.recording:
                wsgienviron.record(environ, self.guard, found, phase="middleware", front="wsgi")
            return found
        if isinstance(found, Lookup):
            settled = wsgienviron.settle(environ, self.guard, found, phase="middleware", front="wsgi")
            return None if settled is None else self._recorded(environ, settled)
        return None if self._perimeter.passes(authorization) else self._recorded(environ, found)

    def _judges(self, environ: Environ) -> bool:
        """Whether the request needs a decision: the perimeter may let it by."""
        method = wsgienviron.method(environ)
        path = wsgienviron.path(environ)
        if not self._perimeter.judges(method, path):
            return _overridden(environ) and self._perimeter.judges_overridden(path)
        return (
            method != "OPTIONS"
            or not self._perimeter.allows_preflight(
                method, "HTTP_ORIGIN" in environ, "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ
            )
            or _overridden(environ)
        )

    def _recorded(self, environ: Environ, decision: Allowed | Denied) -> Allowed | Denied | None:
        """The decision, or None where it is a refusal that is not enforced."""
        binds = isinstance(decision, Allowed) or self.guard.enforces()
        wsgienviron.record(environ, self.guard, decision, phase="middleware", front="wsgi", enforced=binds)
        return decision if binds else None

    def _pass(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Run the app. What a decorator refuses is answered from here, so that no error handler of the app can turn
        it into something else (threats R-15)."""
        refusals = wsgienviron.refusals(environ)
        started = False

        def guarded_start(*args: Any, **kwargs: Any) -> Callable[[bytes], Any]:
            nonlocal started
            started = True
            if refusals:
                return lambda _: None
            write: Callable[[bytes], Any] = start_response(*args, **kwargs)
            return write

        body: Iterable[bytes] = ()
        try:
            body = self.app(environ, guarded_start)
            if not started and not refusals:
                # The app does its work when it is iterated: begin, to see whether it refuses.
                body = _Begun(body)
        except ScopeRequired as error:
            if started:
                raise
            denied = refuse(
                Reason.INSUFFICIENT_SCOPE, self.guard.realm, shortfall=Shortfall(error.scopes, error.missing)
            )
            wsgienviron.record(environ, self.guard, denied, phase="requirement", front="wsgi")
            return wsgienviron.refuse(denied, environ, start_response)
        if not refusals:
            return body
        close = getattr(body, "close", None)
        if close is not None:
            close()
        return wsgienviron.refuse(refusals[0], environ, start_response)


def _overridden(environ: Environ) -> bool:
    names = (key[5:].replace("_", "-").lower() for key in environ if key.startswith("HTTP_"))
    return overrides_method(names, wsgienviron.query(environ))


class _Begun:
    """A body whose first chunk has been taken from it."""

    def __init__(self, body: Iterable[bytes]) -> None:
        self._body = body
        try:
            iterator = iter(body)
            first = list(itertools.islice(iterator, 1))
        except BaseException:
            self.close()
            raise
        self._chunks = itertools.chain(first, iterator)

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is not None:
            close()


def _check_app(app: object) -> None:
    """Refuse an ASGI app: it would be called with WSGI's arguments at the first request, and fail there."""
    if not callable(app):
        raise ConfigurationError(f"app must be a WSGI app, got {type(app).__name__}")
    try:
        inspect.signature(app).bind(None, None)
    except TypeError:
        raise ConfigurationError(
            "app does not take (environ, start_response); for an ASGI app use agentwrit_guard.asgi.GuardMiddleware"
        ) from None
    except ValueError:
        return
    if inspect.iscoroutinefunction(app):
        raise ConfigurationError("app is a coroutine function; use agentwrit_guard.asgi.GuardMiddleware")
