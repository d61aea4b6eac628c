"""What a request costs whose token is known already, in one process and without a server."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from agentwrit_guard import Allowed, Denied, Guard, all_of
from agentwrit_guard.asgiscope import ASGIApp, authorization
from agentwrit_guard.core.requirements import RouteValue
from agentwrit_guard.environ import WSGIApp
from bench.effort import Effort
from bench.figures import Figure
from bench.inprocess import asgiapps, fastapiapps, flaskapps
from bench.inprocess.calls import asgi_call, asgi_scope, check_asgi, check_wsgi, wsgi_call
from bench.inprocess.coldcaches import cold
from bench.peers import flaskpeers
from bench.peers.introspection import cached_introspection
from bench.peers.issuer import Issuer, issuing
from bench.peers.localjwt import with_joserfc, with_pyjwt
from bench.peers.tokens import CUSTOMER, TOKEN_BYTES, Issued, issued
from bench.report import Section, Target
from bench.turns import atimed, in_turn, timed

_TTL: Final = 60.0
_WARM_UP: Final = 300
_ADDED: Final = "added a request"
_NOTES: Final = (
    f"one token of {TOKEN_BYTES} bytes for all, 12 request headers; cache_ttl={_TTL:.0f}, else the guard's defaults",
    "all let the token in and refused a tampered one before they were measured; HTTPBearer refuses no token, only none",
    "decide is given the header's value; from 12 headers: it is searched for first, which no other contender does",
    "the keyed hash (blake2b) and dict know the token alone: no times, no claims, no bound",
    "FastMCP: its introspection verifier with cache_ttl_seconds=300, filled from a local endpoint by a real call",
    "FastMCP is awaited in a running event loop, and its coroutine is a part of what it costs",
    "PyJWT, joserfc: signature and times, the key is prepared; they ask nobody, and know of no revocation",
    "ASGI: Starlette behind the middleware; FastAPI, Flask: behind the middleware, nothing on the route",
    "cold caches: two mebibytes of other memory are read before each request, which leaves nothing of the last one",
    "agent: and CurrentAgent in the handler; scope: and requires_scope with a template on the route",
    "Authlib: require_oauth() with its JWT validator (RFC 7523); joserfc is asked for EdDSA, which Authlib does not",
    "Authlib, dict: its introspection validator (RFC 7662) over a dict that forgets nothing and looks at no time",
)


def run(effort: Effort) -> Section:
    section = Section("Warm decision, in process", series={_ADDED: {}}, notes=[*_NOTES])
    token = issued()
    # For differences of a few microseconds: contenders that take turns more often see more of the same machine.
    fine = dataclasses.replace(effort, rounds=3 * effort.rounds, stretch=effort.stretch / 2)
    # What the peers have imported is out of the collector's sight: it runs before each stretch, and would have to walk
    # through all of it.
    gc.collect()
    gc.freeze()
    try:
        with issuing(token) as issuer:
            for part in (_core, _asgi, _fastapi, _wsgi, _flask):
                with contextlib.closing(Guard(issuer.url, allow_http=True, cache_ttl=_TTL)) as guard:
                    part(section, token, issuer, guard, effort if part is _core else fine)
    finally:
        gc.unfreeze()
    return section


def _core(section: Section, token: Issued, issuer: Issuer, guard: Guard, effort: Effort) -> None:
    text, value, scope = token.text, f"Bearer {token.text}".encode(), asgi_scope(token.text)
    requirement, params = all_of("read:customers:{customer_id}"), {"customer_id": RouteValue(CUSTOMER, CUSTOMER)}
    key, raw = b"k" * 32, text.encode()
    table = {hashlib.blake2b(raw, key=key, digest_size=32).digest(): token}
    assert isinstance(guard.check([f"Bearer {token.tampered}".encode()]), Denied)
    assert isinstance(guard.check([value]), Allowed)
    assert isinstance(guard.decide(authorization(scope)), Allowed)
    assert isinstance(guard.decide([value], requirement, params), Allowed)
    assert isinstance(guard.decide([value], requirement, {"customer_id": RouteValue("7292", "7292")}), Denied)
    verify = asyncio.run(cached_introspection(issuer, token))
    pyjwt, joserfc = with_pyjwt(token), with_joserfc(token)
    once = Effort(effort.name, 1, effort.stretch, effort.quick)

    def called(call: Callable[[], object]) -> Callable[[], float]:
        return lambda: timed({"": call}, once)[""].median

    took = in_turn(
        {
            "bare keyed hash and dict": called(lambda: table[hashlib.blake2b(raw, key=key, digest_size=32).digest()]),
            "decide, any agent": called(lambda: guard.decide([value])),
            "decide, any agent, from 12 headers": called(lambda: guard.decide(authorization(scope))),
            "decide, route template": called(lambda: guard.decide([value], requirement, params)),
            "FastMCP, cached": lambda: asyncio.run(atimed({"": lambda: verify(text)}, once))[""].median,
            "PyJWT": called(lambda: pyjwt(text)),
            "joserfc": called(lambda: joserfc(text)),
        },
        effort,
        "us",
    )
    bare, known, templated = took["bare keyed hash and dict"], took["decide, any agent"], took["decide, route template"]
    section.figures += [
        *took.values(),
        took["decide, any agent, from 12 headers"].over(bare, "any agent from 12 headers / bare keyed hash"),
        templated.over(bare, "route template / bare keyed hash"),
        templated.over(known, "route template / any agent"),
        known.over(took["joserfc"], "any agent / joserfc"),
    ]
    section.targets += [
        Target(known.over(took["FastMCP, cached"], "any agent / FastMCP, cached"), "at most", 0.4),
        Target(known.over(took["PyJWT"], "any agent / PyJWT"), "at most", 1 / 40),
        Target(known.over(bare, "any agent / bare keyed hash"), "at most", 3),
    ]


def _asgi(section: Section, token: Issued, issuer: Issuer, guard: Guard, effort: Effort) -> None:
    apps: dict[str, ASGIApp] = {
        "bare Starlette": asgiapps.bare(),
        "ASGI": asgiapps.guarded(guard),
        "ASGI, scope": asgiapps.with_scope(guard),
    }
    refused = dict.fromkeys(("ASGI", "ASGI, scope"), token.tampered)
    took = asyncio.run(_awaited(apps, refused, token, guard, effort))
    _added(section, took, "bare Starlette")
    colder = asyncio.run(_awaited(apps, refused, token, guard, effort, cold))
    section.figures += colder.values()
    for name in refused:
        section.figures.append(colder[name].above(colder["bare Starlette"], f"{name}: added, cold caches"))
    ratio = took["ASGI"].over(took["bare Starlette"], "Starlette behind the middleware / bare")
    why = "two fifths of so small an app are about what the decision alone takes inside it"
    section.targets.append(Target(ratio, "at most", 1.4, why))


def _fastapi(section: Section, token: Issued, issuer: Issuer, guard: Guard, effort: Effort) -> None:
    ours: dict[str, ASGIApp] = {
        "FastAPI": fastapiapps.middleware(guard),
        "FastAPI, agent": fastapiapps.with_agent(guard),
        "FastAPI, scope": fastapiapps.with_scope(guard),
        "FastAPI, scope and agent": fastapiapps.quick_start(guard),
    }
    apps: dict[str, ASGIApp] = {
        "bare FastAPI": fastapiapps.bare(),
        "FastAPI HTTPBearer": fastapiapps.http_bearer(),
        **ours,
    }
    refused = {"FastAPI HTTPBearer": None, **dict.fromkeys(ours, token.tampered)}
    took = asyncio.run(_awaited(apps, refused, token, guard, effort))
    added = _added(section, took, "bare FastAPI")
    ratios = {name: added[name].over(added["FastAPI HTTPBearer"], f"{name}: added / HTTPBearer's") for name in ours}
    why = "both add about the same, and which of them is ahead changes from run to run"
    section.targets.append(Target(ratios.pop("FastAPI"), "at most", 1, why))
    section.figures += ratios.values()


def _wsgi(section: Section, token: Issued, issuer: Issuer, guard: Guard, effort: Effort) -> None:
    guarded = flaskapps.plain_guarded(guard)
    check_wsgi(guarded, token.text, token.tampered)
    apps: dict[str, WSGIApp] = {"bare WSGI": flaskapps.plain, "WSGI": guarded}
    _added(section, timed({name: wsgi_call(app, token.text) for name, app in apps.items()}, effort), "bare WSGI")


def _flask(section: Section, token: Issued, issuer: Issuer, guard: Guard, effort: Effort) -> None:
    checked: dict[str, WSGIApp] = {
        "Flask": flaskapps.guarded(guard),
        "Flask, scope": flaskapps.with_scope(guard),
        "Flask Authlib": flaskapps.decorated(flaskpeers.signed(token)()),
        "Flask Authlib, dict": flaskapps.decorated(flaskpeers.introspected(issuer)()),
    }
    for app in checked.values():
        check_wsgi(app, token.text, token.tampered)
    apps: dict[str, WSGIApp] = {"bare Flask": flaskapps.bare(), **checked}
    added = _added(
        section, timed({name: wsgi_call(app, token.text) for name, app in apps.items()}, effort), "bare Flask"
    )
    ours, signed = added["Flask"], added["Flask Authlib"]
    section.figures += [
        added["Flask, scope"].over(signed, "Flask, scope: added / Authlib's"),
        ours.over(added["Flask Authlib, dict"], "Flask: added / Authlib's, dict"),
    ]
    section.targets.append(Target(ours.over(signed, "Flask: added / Authlib's"), "at most", 0.2))


async def _awaited(
    apps: Mapping[str, ASGIApp],
    refused: Mapping[str, str | None],
    token: Issued,
    guard: Guard,
    effort: Effort,
    measured: Callable[..., Awaitable[dict[str, Figure]]] = atimed,
) -> dict[str, Figure]:
    """Microseconds of each, after those named in `refused` have let the token in, and refused that other one."""
    try:
        for name, other in refused.items():
            await check_asgi(apps[name], token.text, other)
        calls = {name: asgi_call(app, token.text) for name, app in apps.items()}
        for call in calls.values():
            # Until the interpreter has specialised what runs often.
            for _ in range(_WARM_UP):
                await call()
        return await measured(calls, effort)
    finally:
        await guard.aclose()


def _added(section: Section, took: Mapping[str, Figure], base: str) -> dict[str, Figure]:
    """What each has more than the bare one, which goes into the series; the times themselves are figures."""
    section.figures += took.values()
    added = {name: figure.above(took[base], name) for name, figure in took.items() if name != base}
    section.series[_ADDED].update(added)
    return added
