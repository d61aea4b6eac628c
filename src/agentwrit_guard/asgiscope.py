"""What a guard reads from an ASGI scope and leaves in it, and how a refusal becomes ASGI messages.

`scope["agentwrit"]` maps each guard to what it allowed, None where it let the request by without judging. Nothing
in a scope's headers or state can make such an entry (threats R-20).
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from agentwrit_guard import sharedcaches
from agentwrit_guard.core.decisions import Allowed, Denied, Phase
from agentwrit_guard.errors import ConfigurationError
from agentwrit_guard.guard import Guard

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

KEY: Final = "agentwrit"
_INNERMOST: Final = "agentwrit.innermost"
_REFUSED: Final = "agentwrit.refused"
_REQUEST_ID: Final = "agentwrit.request_id"
_SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")


def authorization(scope: Scope) -> list[bytes]:
    """Every Authorization header. Names are compared without case: not every server lowers them (H-18)."""
    return [value for name, value in scope["headers"] if len(name) == 13 and name.lower() == b"authorization"]


def has_header(scope: Scope, wanted: bytes) -> bool:
    return any(name.lower() == wanted for name, _ in scope["headers"])


def method(scope: Scope) -> str:
    """The HTTP method; a websocket opens with a GET."""
    return scope["method"] if scope["type"] == "http" else "GET"


def route_path(scope: Scope) -> str:
    """The path as the app's router reads it: without the prefix it is mounted under."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    if root and path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/"):
        return path[len(root) :]
    return path


def request_id(scope: Scope) -> str:
    """The caller's X-Request-ID if it is harmless and the only one, else one of our own. The same all request long."""
    known: str | None = scope.get(_REQUEST_ID)
    if known is not None:
        return known
    given = [value for name, value in scope["headers"] if name.lower() == b"x-request-id"]
    chosen: str = given[0].decode() if len(given) == 1 and _SANE_ID.fullmatch(given[0]) else secrets.token_hex(8)
    scope[_REQUEST_ID] = chosen
    return chosen


def enter(scope: Scope, guard: Guard, allowed: Allowed | None) -> None:
    """What a middleware puts down, for all that is further in: its guard is the innermost one from here on."""
    scope[_INNERMOST] = guard
    # A new dict, because some servers hand one state to several requests of a connection.
    state = scope["state"] = {**(scope.get("state") or {})}
    state["agent"] = None if allowed is None else allowed.principal
    scope[KEY] = {**scope[KEY], guard: allowed} if KEY in scope else {guard: allowed}


def leave(scope: Scope, guard: Guard, allowed: Allowed | None) -> None:
    """Put down what `guard` decided, for decorators and dependencies further in."""
    scope[KEY] = {**scope.get(KEY, {}), guard: allowed}
    scope.setdefault("state", {})["agent"] = None if allowed is None else allowed.principal


def guard_of(scope: Scope, guard: Guard | None) -> Guard:
    """The guard to ask: the one given, else that of the innermost middleware. ConfigurationError for neither."""
    asked: Guard | None = guard or scope.get(_INNERMOST)
    if asked is None:
        raise ConfigurationError("a handler requires an agent, but there is no GuardMiddleware and no guard= was given")
    return asked


def allowed_by(scope: Scope, guard: Guard | None) -> Allowed | None:
    """What the guard allowed, else the innermost middleware's, else that of the last decorator that had its own."""
    guards: dict[Guard, Allowed | None] = scope.get(KEY, {})
    asked: Guard | None = guard or scope.get(_INNERMOST)
    if asked is None:
        return list(guards.values())[-1] if guards else None
    return guards.get(asked)


def refusals(scope: Scope) -> list[Denied]:
    """Where decorators and dependencies further in leave their refusals, even when they work on a copied scope."""
    found: list[Denied] = scope.setdefault(_REFUSED, [])
    return found


def record(
    scope: Scope, guard: Guard, decision: Allowed | Denied, *, phase: Phase, front: str, enforced: bool = True
) -> None:
    if isinstance(decision, Allowed) and not guard.recording:
        return
    guard.record(
        decision,
        phase=phase,
        front=front,
        method=method(scope),
        path=scope["path"],
        request_id=request_id(scope),
        route=_declared_path(scope) if phase == "requirement" else None,
        enforced=enforced,
    )


def _declared_path(scope: Scope) -> str | None:
    """The path of the route as declared; None for one of an included router or a mounted app, which is a part only."""
    route = scope.get("route")
    path, regex = getattr(route, "path", None), getattr(route, "path_regex", None)
    whole = route_path({**scope, "root_path": scope.get("app_root_path", scope.get("root_path", ""))})
    return path if isinstance(path, str) and regex is not None and regex.fullmatch(whole) else None


def raw_headers(scope: Scope, denied: Denied) -> list[tuple[bytes, bytes]]:
    """The headers of a refusal, the request id and the length of its body among them."""
    headers = [(name.encode(), value.encode()) for name, value in denied.headers]
    return [
        *headers,
        (b"content-length", str(len(denied.body)).encode()),
        (b"x-request-id", request_id(scope).encode()),
    ]


def private(scope: Scope, send: Send) -> Send:
    """A `send` that keeps shared caches from an answer to an agent, whoever of us let it in."""
    # The dict that all share who work on a copy of the scope.
    state = scope["state"]

    async def kept(message: Message) -> None:
        if message["type"] == "http.response.start" and state.get("agent") is not None:
            headers: list[tuple[bytes, bytes]] = list(message.get("headers") or ())
            texts = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
            added = [(name.lower().encode(), value.encode()) for name, value in sharedcaches.additions(texts)]
            message = {**message, "headers": headers + added}
        await send(message)

    return kept


async def refuse(denied: Denied, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with a refusal. A websocket gets it before accept, or close 1008 where the server knows no answers."""
    if scope["type"] == "http":
        prefix, body = "http", b"" if scope["method"] == "HEAD" else denied.body
    else:
        await receive()
        if "websocket.http.response" not in (scope.get("extensions") or {}):
            await send({"type": "websocket.close", "code": 1008, "reason": denied.reason.error or ""})
            return
        prefix, body = "websocket.http", denied.body
    await send({"type": f"{prefix}.response.start", "status": denied.status, "headers": raw_headers(scope, denied)})
    await send({"type": f"{prefix}.response.body", "body": body})
