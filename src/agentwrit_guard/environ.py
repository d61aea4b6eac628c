"""What a guard reads from a WSGI environ and leaves in it, and how a refusal becomes a WSGI answer.

`environ["agentwrit_guard"]` maps each guard to what it allowed, None where it let the request by without judging.
No header can make such a key: headers arrive as `HTTP_...`.
"""

from __future__ import annotations

import functools
import re
import secrets
from collections.abc import Callable, Iterable
from typing import Any, Final

from agentwrit_guard import sharedcaches
from agentwrit_guard.core.decisions import Allowed, Denied, Phase
from agentwrit_guard.core.lookup import Lookup
from agentwrit_guard.core.requirements import Params, Requirement
from agentwrit_guard.core.shadow import SHADOW_WAIT
from agentwrit_guard.errors import ConfigurationError
from agentwrit_guard.guard import Guard

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
WSGIApp = Callable[[Environ, StartResponse], Iterable[bytes]]

KEY: Final = "agentwrit_guard"
_INNERMOST: Final = "agentwrit_guard.innermost"
_REFUSED: Final = "agentwrit_guard.refused"
_REQUEST_ID: Final = "agentwrit_guard.request_id"
ROUTE: Final = "agentwrit_guard.route"
_SHADOW: Final = "agentwrit_guard.shadow"
_SPARED: Final = "agentwrit_guard.spared"
_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


def authorization(environ: Environ) -> list[bytes]:
    """The Authorization header. Servers join a repeated one with a comma, which no token has (H-06)."""
    value = environ.get("HTTP_AUTHORIZATION")
    return [] if value is None else [value.encode("latin-1")]


def query(environ: Environ) -> bytes:
    text: str = environ.get("QUERY_STRING", "")
    return text.encode("latin-1")


def method(environ: Environ) -> str:
    return str(environ["REQUEST_METHOD"])


def path(environ: Environ) -> str:
    """The path as the app's router reads it: PATH_INFO is bytes in the guise of latin-1 (PEP 3333)."""
    text: str = environ.get("PATH_INFO", "")
    return text.encode("latin-1").decode("utf-8", "replace")


def request_id(environ: Environ) -> str:
    """The caller's X-Request-ID if it is harmless, else one of our own. The same all request long."""
    known: str | None = environ.get(_REQUEST_ID)
    if known is not None:
        return known
    given: str = environ.get("HTTP_X_REQUEST_ID", "")
    chosen = given if _SANE_ID.fullmatch(given) else secrets.token_hex(8)
    environ[_REQUEST_ID] = chosen
    return chosen


def enter(environ: Environ, guard: Guard, allowed: Allowed | None) -> None:
    """What a middleware puts down, for all that is further in: its guard is the innermost one from here on."""
    environ[_INNERMOST] = guard
    leave(environ, guard, allowed)


def leave(environ: Environ, guard: Guard, allowed: Allowed | None) -> None:
    """Put down what `guard` decided, for decorators further in."""
    environ[KEY] = {**environ.get(KEY, {}), guard: allowed}


def guard_of(environ: Environ, guard: Guard | None) -> Guard | None:
    """The guard to ask: the one given, else that of the innermost middleware, else None."""
    innermost: Guard | None = environ.get(_INNERMOST)
    return guard or innermost


def allowed_by(environ: Environ, guard: Guard | None) -> Allowed | None:
    """What the guard allowed, else the innermost middleware's, else that of the last decorator that had its own."""
    guards: dict[Guard, Allowed | None] = environ.get(KEY, {})
    asked = guard_of(environ, guard)
    if asked is None:
        return list(guards.values())[-1] if guards else None
    return guards.get(asked)


def authorize(
    environ: Environ, requirement: Requirement, params: Params, guard: Guard | None, *, front: str
) -> Allowed | Denied | None:
    """Judge a handler's requirement on the identity of this request, established now if no middleware has.

    None where the request goes on without an agent, because nothing is enforced.
    """
    asked = guard_of(environ, guard)
    if asked is None:
        raise ConfigurationError("a handler requires an agent, but there is no GuardMiddleware and no guard= was given")
    # What was taken away from the app is still what there is to judge on.
    known: dict[Guard, Allowed | None] = {**environ.get(KEY, {}), **environ.get(_SPARED, {})}
    allowed = known.get(asked)
    decision: Allowed | Denied | Lookup | None
    decision = None if allowed is None else asked.rejudge(allowed, requirement, params)
    if decision is None:
        decision = asked.decide(authorization(environ), requirement, params, query=query(environ))
    if isinstance(decision, Lookup):
        decision = settle(environ, asked, decision, phase="requirement", front=front)
    return settled(environ, asked, decision, requirement, front=front)


def settle(environ: Environ, guard: Guard, lookup: Lookup, *, phase: Phase, front: str) -> Allowed | Denied | None:
    """What a lookup comes to. None where nothing is enforced, and it takes longer than such a request may wait."""
    if guard.enforces(lookup.requirement):
        return guard.settle(lookup)
    # Before the app has the environ: a copy of it would be given another id.
    request_id(environ)
    late = functools.partial(_record_late, environ, guard, phase, front)
    return guard.settle_aside(lookup, _patience(environ, guard), late)


def settled(
    environ: Environ, guard: Guard, decision: Allowed | Denied | None, requirement: Requirement, *, front: str
) -> Allowed | Denied | None:
    """Record a handler's decision; a refusal binds the middleware whatever the app makes of it.

    One that is not enforced takes the agent away, whatever else is allowed to this request: the app must not take for
    proven what would have been refused.
    """
    if isinstance(decision, Denied) and guard.enforces(requirement):
        bind(environ, guard, decision, front=front)
        return decision
    allowed = decision if isinstance(decision, Allowed) else None
    spared: dict[Guard, Allowed | None] = environ.get(_SPARED, {})
    if allowed is None or guard in spared:
        environ[_SPARED] = {**spared, guard: allowed}
        leave(environ, guard, None)
    else:
        leave(environ, guard, allowed)
    if decision is not None:
        record(environ, guard, decision, phase="requirement", front=front, enforced=allowed is not None)
    return allowed


def bind(environ: Environ, guard: Guard, denied: Denied, *, front: str) -> None:
    """Record a refusal that nothing of the app can undo."""
    refusals(environ).append(denied)
    record(environ, guard, denied, phase="requirement", front=front)


def refusals(environ: Environ) -> list[Denied]:
    """Where decorators further in leave their refusals, even when they work on a copied environ."""
    found: list[Denied] = environ.setdefault(_REFUSED, [])
    return found


def record(
    environ: Environ,
    guard: Guard,
    decision: Allowed | Denied,
    *,
    phase: Phase,
    front: str,
    enforced: bool = True,
) -> None:
    if isinstance(decision, Allowed) and not guard.recording:
        return
    guard.record(
        decision,
        phase=phase,
        front=front,
        method=method(environ),
        path=path(environ),
        request_id=request_id(environ),
        route=environ.get(ROUTE) if phase == "requirement" else None,
        enforced=enforced,
    )


def _record_late(environ: Environ, guard: Guard, phase: Phase, front: str, decision: Allowed | Denied) -> None:
    record(environ, guard, decision, phase=phase, front=front, enforced=False)


def _patience(environ: Environ, guard: Guard) -> float:
    """Seconds that shadow mode may still cost this request, all its decisions together."""
    now = guard.monotonic()
    return max(0.0, float(environ.setdefault(_SHADOW, now + SHADOW_WAIT)) - now)


def headers(environ: Environ, denied: Denied) -> list[tuple[str, str]]:
    """The headers of a refusal, the request id and the length of its body among them."""
    titled = [(name.title().replace("Www-", "WWW-"), value) for name, value in denied.headers]
    return [*titled, ("Content-Length", str(len(denied.body))), ("X-Request-ID", request_id(environ))]


def private(environ: Environ, start_response: StartResponse) -> StartResponse:
    """A `start_response` that keeps shared caches from an answer to an agent, whoever of us let it in."""

    def kept(status: str, headers: list[tuple[str, str]], *rest: Any, **named: Any) -> Any:
        if not any(environ.get(KEY, {}).values()):
            return start_response(status, headers, *rest, **named)
        return start_response(status, [*headers, *sharedcaches.additions(headers)], *rest, **named)

    return kept


def refuse(denied: Denied, environ: Environ, start_response: StartResponse) -> list[bytes]:
    """Answer with a refusal."""
    start_response(f"{denied.status} {_PHRASES[denied.status]}", headers(environ, denied))
    return [] if method(environ) == "HEAD" else [denied.body]


_PHRASES: Final = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 503: "Service Unavailable"}
