"""What it costs to create an agent, beside the bare requests that it takes, at the twin in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import time
from collections.abc import Awaitable, Callable
from typing import Final

import agentwrit
import httpx

from agentwrit_guard import AgentWritApp, AsyncAgentWritApp, AuthorizationError
from agentwrit_guard.client import AppCredentials, validate
from bench.alternation import Contender, Took, alternated
from bench.baremint import ORCHESTRATION, Desk
from bench.drills.stage import CEILING, Stage, stage
from bench.effort import Effort
from bench.figures import Figure
from bench.ownloop import one, own_loop
from bench.report import Section, Target
from bench.turns import in_turn

CROWD: Final = 200
_FEW: Final = 40
_SCOPE: Final = ["read:customers:7291"]
_BEYOND: Final = ["write:customers:7291"]
_PATIENCE: Final = 60.0
_NOTES: Final = (
    "three requests an agent, after a login that each contender makes once: launch token, challenge, registration",
    "bare: the same three with one httpx client, by default; cryptography makes the key and signs the challenge",
    "the twin answers slowly beside a broker, and its time is in all that the clock says; CPU is this process's alone",
    "SDK: agentwrit 0.3.0, create_agent; it has no async form",
    f"crowd: {CROWD} create_agent at once of one AsyncAgentWritApp, which has 32 requests under way at most",
    f"bare crowd: one AsyncClient, which has up to 100 by default; its timeout is raised to {_PATIENCE:.0f} s",
    "every contender's agent is valid at the broker, and none got one beyond its app's ceiling",
)


_tasks = itertools.count()


def run(effort: Effort) -> Section:
    with stage(None, None) as scene, own_loop() as loop, contextlib.ExitStack() as opened:
        took = alternated({**_sync(scene, opened), **_awaited(scene, opened, loop)}, effort)
        # One crowd takes seconds.
        fewer = Effort(effort.name, max(1, effort.rounds - 2), effort.stretch, effort.quick)
        crowd = in_turn(_crowds(scene, opened, loop), fewer, "s")
    return _section(took, crowd)


def _section(took: dict[str, Took], crowd: dict[str, Figure]) -> Section:
    ours, bare, aours, abare = (took[name] for name in ("sync: ours", "sync: bare", "async: ours", "async: bare"))
    rates = (
        Figure(f"{name}, agents a second", "/s", tuple(CROWD / seconds for seconds in figure.rounds))
        for name, figure in crowd.items()
    )
    return Section(
        "Minting agents",
        figures=[
            *(each.wall for each in took.values()),
            *(each.cpu for each in took.values()),
            ours.cpu.over(bare.cpu, "sync: ours / bare, CPU"),
            aours.cpu.over(abare.cpu, "async: ours / bare, CPU"),
            took["sync: SDK"].wall.over(ours.wall, "sync: SDK / ours"),
            *crowd.values(),
            *rates,
            crowd["crowd: ours"].over(crowd["crowd: bare"], "crowd: ours / bare"),
        ],
        targets=[
            Target(ours.wall.over(bare.wall, "sync: ours / bare"), "at most", 1.15),
            Target(aours.wall.over(abare.wall, "async: ours / bare"), "at most", 1.15),
        ],
        notes=[*_NOTES],
    )


def _sync(scene: Stage, opened: contextlib.ExitStack) -> dict[str, Contender]:
    app = opened.enter_context(AgentWritApp(scene.url, *_app(scene), allow_http=True))
    sdk = opened.enter_context(contextlib.closing(agentwrit.AgentWritApp(scene.url, *_app(scene))))
    client, desk = opened.enter_context(httpx.Client()), Desk.logged_in(scene.url, _app(scene))

    def ours(task: str, scope: list[str]) -> str:
        return app.create_agent(ORCHESTRATION, task, scope).access_token

    def theirs(task: str, scope: list[str]) -> str:
        token: str = sdk.create_agent(ORCHESTRATION, task, scope).access_token
        return token

    def bare(task: str, scope: list[str]) -> str:
        return desk.mint(client, task, scope)

    def calls(mint: Callable[[str, list[str]], str]) -> Contender:
        def ready(count: int) -> Callable[[], None]:
            names = _names(count)

            def run() -> None:
                for name in names:
                    mint(name, _SCOPE)

            return run

        _check(scene, mint)
        return ready

    return {"sync: ours": calls(ours), "sync: bare": calls(bare), "sync: SDK": calls(theirs)}


def _awaited(scene: Stage, opened: contextlib.ExitStack, loop: asyncio.AbstractEventLoop) -> dict[str, Contender]:
    def calls(mint: Callable[[str, list[str]], Awaitable[str]]) -> Contender:
        def ready(count: int) -> Callable[[], None]:
            names = _names(count)

            async def run() -> None:
                for name in names:
                    await mint(name, _SCOPE)

            return lambda: loop.run_until_complete(run())

        _check(scene, lambda task, scope: loop.run_until_complete(one(mint(task, scope))))
        return ready

    return {
        "async: ours": calls(_ours(scene, opened, loop)),
        "async: bare": calls(_bare(scene, opened, loop)),
    }


def _crowds(
    scene: Stage, opened: contextlib.ExitStack, loop: asyncio.AbstractEventLoop
) -> dict[str, Callable[[], float]]:
    """Each measures the seconds in which a whole crowd has come and has been registered."""

    def crowd(mint: Callable[[str, list[str]], Awaitable[str]]) -> Callable[[], float]:
        async def come(count: int) -> None:
            await asyncio.gather(*(mint(name, _SCOPE) for name in _names(count)))

        def run() -> float:
            gc.collect()
            start = time.perf_counter()
            loop.run_until_complete(come(CROWD))
            return time.perf_counter() - start

        # Logs in, and opens what stays open.
        loop.run_until_complete(come(_FEW))
        return run

    return {
        "crowd: ours": crowd(_ours(scene, opened, loop)),
        "crowd: bare": crowd(_bare(scene, opened, loop)),
    }


def _ours(
    scene: Stage, opened: contextlib.ExitStack, loop: asyncio.AbstractEventLoop
) -> Callable[[str, list[str]], Awaitable[str]]:
    app = AsyncAgentWritApp(scene.url, *_app(scene), allow_http=True)
    opened.callback(lambda: loop.run_until_complete(app.aclose()))

    async def mint(task: str, scope: list[str]) -> str:
        return (await app.create_agent(ORCHESTRATION, task, scope)).access_token

    return mint


def _bare(
    scene: Stage, opened: contextlib.ExitStack, loop: asyncio.AbstractEventLoop
) -> Callable[[str, list[str]], Awaitable[str]]:
    async def open_client() -> httpx.AsyncClient:
        return httpx.AsyncClient(timeout=_PATIENCE)

    client, desk = loop.run_until_complete(open_client()), Desk.logged_in(scene.url, _app(scene))
    opened.callback(lambda: loop.run_until_complete(client.aclose()))
    return lambda task, scope: desk.amint(client, task, scope)


def _app(scene: Stage) -> AppCredentials:
    """One of its own for each contender: the broker counts logins by app."""
    with scene.operator() as operator:
        return operator.create_app(f"bench-{next(_tasks)}", CEILING)


def _names(count: int) -> list[str]:
    return [_name() for _ in range(count)]


def _name() -> str:
    return f"task-{next(_tasks)}"


def _check(scene: Stage, mint: Callable[[str, list[str]], str]) -> None:
    """That it gets a valid agent, and none with more than its app's ceiling."""
    found = validate(scene.url, mint(_name(), _SCOPE), allow_http=True)
    assert found.claims is not None
    assert list(found.claims.scope) == _SCOPE
    try:
        mint(_name(), _BEYOND)
    except (AuthorizationError, agentwrit.AuthorizationError, KeyError):
        return
    raise AssertionError("an agent was created beyond the ceiling of its app")
