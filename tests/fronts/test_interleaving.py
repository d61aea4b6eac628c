"""Each request sees its own agent, whatever runs beside it, before it and after it (threats R-19)."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi import BackgroundTasks, FastAPI, Request, Security
from flask import Flask, copy_current_request_context
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from agentwrit_guard import Guard
from agentwrit_guard.asgi import GuardMiddleware as ASGIGuard
from agentwrit_guard.contrib import fastapi as guard_fastapi
from agentwrit_guard.contrib import flask as guard_flask
from agentwrit_guard.contrib import starlette as guard_starlette
from agentwrit_guard.wsgi import GuardMiddleware as WSGIGuard
from tests.fronts.test_table import bearer, get
from tests.kit import drivers
from tests.kit.fronts import FRONTS, Front
from tests.kit.stub import StubBroker
from tests.kit.tokens import AGENT, token

REQUESTS = 2000  # in each of five ways
AGENTS = [AGENT.replace("task-1", f"task-{number}") for number in range(50)]
CALLS = [get(bearer(token(sub=agent, jti=f"{index:032x}")), path="/who") for index, agent in enumerate(AGENTS)]
NOBODY = get(path="/open")
OPTIONS: dict[str, Any] = {"public": ["/open"]}


@pytest.fixture
def guard(broker: StubBroker, make_front: Callable[..., Front]) -> Guard:
    return make_front("asgi").guard


class Seen:
    """What handlers saw of their agents at the start, later, and in what they left running."""

    def __init__(self) -> None:
        self.pairs: list[tuple[str | None, ...]] = []

    def wrong(self) -> list[tuple[str | None, ...]]:
        return [pair for pair in self.pairs if len(set(pair)) != 1]


def name_of(agent: Any) -> str | None:
    return agent.agent_id if agent else None


def starlette_app(seen: Seen) -> Any:
    async def who(request: Any) -> PlainTextResponse:
        first = name_of(guard_starlette.current_agent(request))
        await asyncio.sleep(0)
        second = name_of(request.state.agent)

        async def after() -> None:
            await asyncio.sleep(0)
            seen.pairs.append((first, second, name_of(guard_starlette.current_agent(request))))

        return PlainTextResponse(str(first), background=BackgroundTask(after))

    return Starlette(routes=[Route("/who", who), Route("/open", who)])


def threaded_app(seen: Seen) -> Any:
    """Starlette runs these in its pool of threads."""

    @guard_starlette.requires_any_scope("read:customers:7291")
    def who(request: Any) -> PlainTextResponse:
        first = name_of(guard_starlette.current_agent(request))
        threading.Event().wait(0)
        seen.pairs.append((first, name_of(request.state.agent)))
        return PlainTextResponse(str(first))

    def anyone(request: Any) -> PlainTextResponse:
        return PlainTextResponse(str(name_of(guard_starlette.current_agent(request))))

    return Starlette(routes=[Route("/who", who), Route("/open", anyone)])


def fastapi_app(seen: Seen) -> Any:
    app = FastAPI()

    @app.get("/who")
    async def who(request: Request, later: BackgroundTasks, agent: Any = Security(guard_fastapi.agent_security)) -> Any:
        first = name_of(agent)
        await asyncio.sleep(0)
        second = name_of(request.state.agent)
        later.add_task(lambda: seen.pairs.append((first, second, name_of(request.state.agent))))
        return PlainTextResponse(str(first))

    @app.get("/open")
    async def anyone(request: Request) -> Any:
        await asyncio.sleep(0)
        return PlainTextResponse(str(name_of(guard_starlette.current_agent(request))))

    return app


@pytest.mark.parametrize("make_app", [starlette_app, threaded_app, fastapi_app])
def test_r_19_tasks_see_their_own_agent(guard: Guard, make_app: Callable[[Seen], Any]) -> None:
    seen = Seen()
    app = ASGIGuard(make_app(seen), guard, **OPTIONS)

    async def one(index: int) -> bytes:
        request = NOBODY if index % 10 == 9 else CALLS[index * 7 % len(CALLS)]
        return (await drivers.asgi_request(app, request)).body

    async def all_of_them() -> list[bytes]:
        answers: list[bytes] = []
        for start in range(0, REQUESTS, 250):
            answers += await asyncio.gather(*(one(index) for index in range(start, start + 250)))
        await guard.aclose()
        return answers

    answers = asyncio.run(all_of_them())
    expected = ["None" if i % 10 == 9 else AGENTS[i * 7 % len(AGENTS)] for i in range(REQUESTS)]
    assert answers == [text.encode() for text in expected]
    assert seen.wrong() == []


def flask_app(seen: Seen) -> Any:
    app = Flask("who")

    def who() -> str:
        first = name_of(guard_flask.current_agent)
        threading.Event().wait(0)
        seen.pairs.append((first, name_of(guard_flask.current_agent)))
        return str(first)

    app.add_url_rule("/who", "who", who)
    app.add_url_rule("/open", "open", who)
    return app


def plain_wsgi_app(guard: Guard, seen: Seen) -> Any:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        allowed = environ["agentwrit_guard"][guard]
        first = name_of(allowed and allowed.principal)
        start_response("200 OK", [])
        yield str(first).encode()
        again = environ["agentwrit_guard"][guard]
        seen.pairs.append((first, name_of(again and again.principal)))

    return app


@pytest.mark.parametrize("kind", ["flask", "plain"])
def test_r_19_threads_see_their_own_agent(guard: Guard, kind: str) -> None:
    seen = Seen()
    app = WSGIGuard(flask_app(seen) if kind == "flask" else plain_wsgi_app(guard, seen), guard, **OPTIONS)
    unclosed = _Unclosed()

    def one(index: int) -> tuple[str, str]:
        request = NOBODY if index % 10 == 9 else CALLS[index * 7 % len(CALLS)]
        wanted = "None" if index % 10 == 9 else AGENTS[index * 7 % len(AGENTS)]
        return drivers.wsgi(app, unclosed, request).body.decode(), wanted

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(one, range(REQUESTS), chunksize=1))
    assert [pair for pair in answers if pair[0] != pair[1]] == []
    assert len(seen.pairs) == REQUESTS
    assert seen.wrong() == []


class _Unclosed:
    """Stands for the guard where a driver closes it after each request: here others are still under way."""

    def close(self) -> None:
        return None


@pytest.mark.parametrize("name", FRONTS)
def test_r_19_no_context_variable_is_left_behind(
    make_front: Callable[..., Front], broker: StubBroker, name: str
) -> None:
    front = make_front(name)
    context = contextvars.copy_context()
    before = dict(context)

    def served() -> None:
        for text in (token(), token(sub=AGENTS[7])):
            assert front.request(get(bearer(text), path="/customers/7291")).status == 200

    context.run(served)
    left = {variable.name: value for variable, value in context.items() if before.get(variable) is not value}
    assert "spiffe" not in repr(left)
    assert not [name for name in left if name.startswith("agentwrit")]


def test_r_19_a_thread_that_a_view_leaves_running_has_no_agent(guard: Guard) -> None:
    app = Flask("left")
    seen: list[str | None] = []
    left: list[threading.Thread] = []
    done = threading.Event()

    def after() -> None:
        assert done.wait(30)
        seen.append(name_of(guard_flask.current_agent))

    @app.get("/who")
    def who() -> str:
        kept = copy_current_request_context(after)  # the framework's own way to take a request along
        left.extend(threading.Thread(target=work) for work in (after, kept))
        for thread in left[-2:]:
            thread.start()
        return str(name_of(guard_flask.current_agent))

    wrapped = WSGIGuard(app, guard)
    for call, agent in zip(CALLS[:3], AGENTS, strict=False):
        assert drivers.wsgi(wrapped, guard, call).body.decode() == agent
    done.set()
    for thread in left:
        thread.join(30)
    assert sorted(map(str, seen)) == sorted(["None"] * 3 + AGENTS[:3])
    assert not guard_flask.current_agent


def test_r_19_the_state_of_one_connection_is_no_memory(make_front: Callable[..., Front], broker: StubBroker) -> None:
    """Some servers hand one `state` to all requests of a connection."""
    front = make_front("asgi")
    state: dict[str, Any] = {"pool": object()}
    seen: list[tuple[str | None, bool]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((name_of(scope["state"]["agent"]), scope["state"]["pool"] is state["pool"]))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    guarded = ASGIGuard(app, front.guard, public=["/open"])

    async def on_one_connection(scope: Any, receive: Any, send: Any) -> None:
        scope["state"] = state
        await guarded(scope, receive, send)

    for call in (CALLS[0], NOBODY, CALLS[1], NOBODY):
        drivers.asgi(on_one_connection, front.guard, call)
    assert seen == [(AGENTS[0], True), (None, True), (AGENTS[1], True), (None, True)]
    assert list(state) == ["pool"]
