"""Pure ASGI middleware: every request and websocket needs a valid agent unless the perimeter says otherwise."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from contextlib import aclosing

from agentwrit_guard import asgiscope, asgiverdict
from agentwrit_guard.asgianswer import Answer, nothing
from agentwrit_guard.asgiscope import ASGIApp, Message, Receive, Scope, Send
from agentwrit_guard.core.bearer import refuse
from agentwrit_guard.core.decisions import Allowed, Denied, Reason
from agentwrit_guard.core.lookup import Lookup
from agentwrit_guard.core.requirements import Shortfall
from agentwrit_guard.errors import ConfigurationError, ScopeRequired
from agentwrit_guard.guard import Guard
from agentwrit_guard.inbox import Inbox
from agentwrit_guard.lasting import Lasting
from agentwrit_guard.perimeter import Others, Perimeter, overrides_method
from agentwrit_guard.vigil import Rounds

__all__ = ["GuardMiddleware"]


class GuardMiddleware:
    """Guards an ASGI app, whatever framework it is of.

    The options are `Perimeter`'s: `public` paths need no agent, `protect` narrows the guard to parts of the app,
    `others="pass"` leaves requests without an AgentWrit credential to the app's own authentication, and
    `allow_preflight=True` lets CORS preflights by. `private_answers=True` keeps shared caches from answers to agents
    that say nothing of caching themselves. The app finds its agent in `request.state.agent`, or with
    `current_agent` of its framework. Websockets and streamed answers end with their agent's token, and are validated
    again every `recheck_interval` seconds. Lifespan passes through and closes the guard's connections at the end.
    """

    def __init__(
        self,
        app: ASGIApp,
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
        self._roots = _root_paths(app)
        self._rounds = Rounds()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._live(scope, receive, send)
            return
        authorization = asgiscope.authorization(scope)
        found = self._look(scope, authorization)
        asked = isinstance(found, Lookup)
        decision = await self._settled(scope, found) if isinstance(found, Lookup) else found
        if isinstance(decision, Denied):
            await asgiscope.refuse(decision, scope, receive, send)
            return
        asgiscope.enter(scope, self.guard, decision)
        # To receive is to ask for the body where the client waits to be asked; only the app may want that.
        if asked and not asgiscope.has_header(scope, b"expect"):
            await self._serve_unless_left(scope, receive, send, decision, authorization)
        else:
            await self._serve(scope, receive, send, decision, authorization)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            raise RuntimeError(f"GuardMiddleware cannot judge a connection of type {scope['type']!r}")

        async def closed_before(message: Message) -> None:
            # The server ends the loop when it hears of this, and with it whatever is still being closed.
            if message["type"] in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
                await self.guard.aclose()
            await send(message)

        try:
            await self.app(scope, receive, closed_before)
        finally:
            await self.guard.aclose()

    def _look(self, scope: Scope, authorization: list[bytes]) -> Allowed | Denied | Lookup | None:
        """What can be said at once; None where the request goes by unjudged, or is refused and nothing is enforced."""
        if self._perimeter.selective and not self._judges(scope):
            return None
        found = self.guard.decide(authorization, query=scope.get("query_string", b""))
        if isinstance(found, Allowed):
            if self.guard.recording:
                asgiscope.record(scope, self.guard, found, phase="middleware", front="asgi")
        elif isinstance(found, Denied):
            return None if self._perimeter.passes(authorization) else self._recorded(scope, found)
        return found

    async def _settled(self, scope: Scope, lookup: Lookup) -> Allowed | Denied | None:
        settled = await asgiverdict.settle(scope, self.guard, lookup, phase="middleware", front="asgi")
        return None if settled is None else self._recorded(scope, settled)

    def _recorded(self, scope: Scope, decision: Allowed | Denied) -> Allowed | Denied | None:
        """The decision, or None where it is a refusal that is not enforced."""
        binds = isinstance(decision, Allowed) or self.guard.enforces()
        asgiscope.record(scope, self.guard, decision, phase="middleware", front="asgi", enforced=binds)
        return decision if binds else None

    def _judges(self, scope: Scope) -> bool:
        """Whether the request needs a decision: the perimeter may let it by."""
        method = asgiscope.method(scope)
        if not self._guards(method, scope):
            return False
        return (
            method != "OPTIONS"
            or not self._perimeter.allows_preflight(
                method,
                asgiscope.has_header(scope, b"origin"),
                asgiscope.has_header(scope, b"access-control-request-method"),
            )
            or _overridden(scope)
        )

    def _guards(self, method: str, scope: Scope) -> bool:
        """Whether the path needs a decision as the router will read it, or as it would with a root path of its own."""
        if self._perimeter.judges(method, asgiscope.route_path(scope)):
            return True
        readings = [asgiscope.route_path({**scope, "root_path": root}) for root in self._roots]
        if any(self._perimeter.judges(method, path) for path in readings):
            return True
        readings.append(asgiscope.route_path(scope))
        return _overridden(scope) and any(map(self._perimeter.judges_overridden, readings))

    async def _serve_unless_left(
        self, scope: Scope, receive: Receive, send: Send, allowed: Allowed | None, authorization: list[bytes]
    ) -> None:
        """Run the app, unless its client has gone meanwhile: then nothing runs and nothing is sent (threats R-22)."""
        async with aclosing(Inbox(receive)) as inbox:
            if not await inbox.abandoned():
                await self._serve(scope, inbox.receive, send, allowed, authorization)

    async def _serve(
        self, scope: Scope, receive: Receive, send: Send, allowed: Allowed | None, authorization: list[bytes]
    ) -> None:
        """Run the app, for as long as its agent may stay (threats R-18)."""
        if self._private_answers:
            send = asgiscope.private(scope, send)
        if allowed is None:
            answer = Answer(scope, send)
        else:
            answer = Lasting(scope, receive, send, self.guard, allowed, authorization, self._rounds)
        try:
            try:
                await self.app(scope, answer.receiver(receive), answer.send)
            except ScopeRequired as error:
                if answer.started:
                    raise
                await self._refuse(scope, error, answer)
            except BaseException:
                await answer.flush()
                raise
            else:
                if answer.held:
                    await answer.flush()
        except Exception:
            # What an app makes of its connection's end is nobody's concern.
            if answer.over is None:
                raise
        finally:
            answer.leave()
        if answer.over is not None:
            # A server that sees the app return may drop the connection without a close.
            await answer.over.wait()

    async def _refuse(self, scope: Scope, error: ScopeRequired, answer: Answer) -> None:
        """Answer what the app's own code refuses from here, so that no error handler of the app can turn it into
        something else (threats R-15)."""
        denied = refuse(Reason.INSUFFICIENT_SCOPE, self.guard.realm, shortfall=Shortfall(error.scopes, error.missing))
        asgiscope.record(scope, self.guard, denied, phase="requirement", front="asgi")
        await asgiscope.refuse(denied, scope, nothing, answer.forward)


def _overridden(scope: Scope) -> bool:
    names = (name.decode("latin-1").lower() for name, _ in scope["headers"])
    return overrides_method(names, scope.get("query_string", b""))


def _root_paths(app: object) -> tuple[str, ...]:
    """Root paths that an app sets by itself, as FastAPI does, after a middleware around it has read the scope."""
    found = []
    while app is not None:
        root = getattr(app, "root_path", None)
        if isinstance(root, str) and root:
            found.append(root.rstrip("/"))
        app = getattr(app, "app", None)
    return tuple(found)


def _check_app(app: object) -> None:
    """Refuse a WSGI app: it would be called with ASGI's arguments at the first request, and fail there."""
    if hasattr(app, "wsgi_app"):
        raise ConfigurationError(f"{type(app).__name__} is a WSGI app; use agentwrit_guard.wsgi.GuardMiddleware")
    if not callable(app):
        raise ConfigurationError(f"app must be an ASGI app, got {type(app).__name__}")
    try:
        inspect.signature(app).bind(None, None, None)
    except TypeError:
        raise ConfigurationError(
            "app does not take (scope, receive, send); for a WSGI app use agentwrit_guard.wsgi.GuardMiddleware"
        ) from None
    except ValueError:
        return
