"""What a guard adds to a request, in apps with more and more routes.

A route without a guard and the one after it, with one, are called in turn, and a round's figure is the median of the
differences: of a thousand routes the last one takes so long to find that the drift of a stretch would drown what is
added.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from agentwrit_guard import Guard
from agentwrit_guard.asgiscope import ASGIApp, Message
from agentwrit_guard.environ import WSGIApp
from bench.effort import Effort
from bench.figures import Figure
from bench.growing import apps
from bench.growing.admission import admit
from bench.inprocess.calls import asgi_scope, wsgi_environ
from bench.peers.tokens import CUSTOMER, Issued, issued

SIZES: Final = (10, 100, 1000)
FRAMEWORKS: Final = ("Starlette", "FastAPI", "Flask")
_SEARCHING: Final = f"Starlette after {SIZES[-1]:,} routes of another app"
_WARM_UP: Final = 20
_MICROSECONDS: Final = 1e6

Call = Callable[[], Awaitable[tuple[int, bytes]]]
"""One request; status and body come out."""
Ask = Callable[[int, str, str | None], Call]
"""Makes one for the number of a route, a customer and a token."""


class Added(NamedTuple):
    """By number of routes, in microseconds: what is added to a request for the last route, and what it takes bare.

    `others` are what is added elsewhere, to tell what it is that grows: for the first route of the largest app, and
    for the last of the smallest after as long a search in another app.
    """

    last: dict[int, Figure]
    bare: dict[int, Figure]
    others: list[Figure]


def added(effort: Effort) -> dict[str, Added]:
    """By framework."""
    token = issued()
    return {name: asyncio.run(_added(name, token, effort)) for name in FRAMEWORKS}


async def _added(name: str, token: Issued, effort: Effort) -> Added:
    places = [(name, size, size - 1) for size in SIZES]
    others = [(name, SIZES[-1], 1)]
    if name == "Starlette":
        others.append((_SEARCHING, SIZES[0], SIZES[0] - 1))
    # The guard is closed within the loop whose connections it would have.
    guard = Guard("http://127.0.0.1:9", allow_http=True, cache_ttl=60)
    async with contextlib.aclosing(guard):
        admit(guard, f"Bearer {token.text}".encode(), json.dumps(token.claims).encode())
        pairs, asks = {}, {}
        for kind, size, number in places + others:
            if (kind, size) not in asks:
                asks[kind, size] = _asks(kind, size, guard)
            bare, guarded = asks[kind, size]
            await _check(bare, guarded, number, token.text)
            pairs[kind, size, number] = bare(number - 1, CUSTOMER, token.text), guarded(number, CUSTOMER, token.text)
        gc.collect()
        gc.freeze()
        rounds: dict[tuple[str, int, int], list[tuple[float, float]]] = {place: [] for place in pairs}
        for _ in range(effort.rounds):
            for place, pair in pairs.items():
                rounds[place].append(await _difference(*pair, effort.stretch / 2))
    what = {place: _figures(place, took) for place, took in rounds.items()}
    return Added(
        {place[1]: what[place][1] for place in places},
        {place[1]: what[place][0] for place in places},
        [what[place][1] for place in others],
    )


def _figures(place: tuple[str, int, int], took: list[tuple[float, float]]) -> tuple[Figure, Figure]:
    kind, size, number = place
    which = f"{kind}, route {number + 1:,} of {size:,}"
    bare, more = zip(*took, strict=True)
    return Figure(f"{which}: bare", "us", bare), Figure(f"{which}: added", "us", more)


async def _difference(bare: Call, guarded: Call, seconds: float) -> tuple[float, float]:
    """Microseconds of the bare one, and how many more of the other."""
    clock = time.perf_counter
    took: list[float] = []
    more: list[float] = []
    for _ in range(_WARM_UP):
        await bare()
        await guarded()
    gc.disable()
    try:
        end = clock() + seconds
        while clock() < end or len(took) < _WARM_UP:
            start = clock()
            await bare()
            middle = clock()
            await guarded()
            took.append(middle - start)
            more.append(clock() - middle - took[-1])
    finally:
        gc.enable()
    return statistics.median(took) * _MICROSECONDS, statistics.median(more) * _MICROSECONDS


async def _check(bare: Ask, guarded: Ask, number: int, token: str) -> None:
    """The agent's customer is read from both; another's and without a token only from the bare one."""
    for customer, shown, status in ((CUSTOMER, token, 200), ("7292", token, 403), (CUSTOMER, None, 401)):
        for ask, of, expected in ((bare, number - 1, 200), (guarded, number, status)):
            found, body = await ask(of, customer, shown)()
            assert found == expected, body
            assert (b'"customer"' in body) is (expected == 200), body


def _asks(name: str, size: int, guard: Guard) -> tuple[Ask, Ask]:
    """What makes requests of an app past its guard, and through it."""
    if name == "Flask":
        by_wsgi = apps.flask_app(size, guard)
        return _wsgi(by_wsgi.bare), _wsgi(by_wsgi.guarded)
    if name == _SEARCHING:
        by_asgi = apps.searching_app(size, SIZES[-1], guard)
    else:
        by_asgi = (apps.starlette_app if name == "Starlette" else apps.fastapi_app)(size, guard)
    return _asgi(by_asgi.bare), _asgi(by_asgi.guarded)


def _asgi(app: ASGIApp) -> Ask:
    def ask(number: int, customer: str, token: str | None) -> Call:
        path = apps.path(number, customer)
        scope = {**asgi_scope(token), "path": path, "raw_path": path.encode()}

        async def call() -> tuple[int, bytes]:
            sent: list[Message] = []

            async def send(message: Message) -> None:
                sent.append(message)

            await app({**scope, "state": {}}, _receive, send)
            return sent[0]["status"], sent[1]["body"]

        return call

    return ask


def _wsgi(app: WSGIApp) -> Ask:
    def ask(number: int, customer: str, token: str | None) -> Call:
        environ = {**wsgi_environ(token), "PATH_INFO": apps.path(number, customer)}

        async def call() -> tuple[int, bytes]:
            said: list[str] = []

            def started(status: str, headers: object, exc_info: object = None) -> Callable[[bytes], object]:
                said.append(status)
                return lambda chunk: None

            body = app({**environ}, started)
            text = b"".join(body)
            close = getattr(body, "close", None)
            if close is not None:
                close()
            return int(said[0].split()[0]), text

        return call

    return ask


async def _receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}
