"""R-18: a streamed answer over WSGI ends with its agent's token, at the next chunk."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask, Response

from agentwrit_guard.contrib.flask import FlaskGuard
from agentwrit_guard.errors import ConnectionEnded
from agentwrit_guard.wsgi import GuardMiddleware
from tests.kit.stub import invalid, valid
from tests.kit.tokens import NOW, token
from tests.lasting.lines import ENDS, EXP, World

EVENTS = [("Content-Type", "text/event-stream; charset=utf-8")]
PLAIN = [("Content-Type", "text/plain")]


class Streaming:
    """An app that streams what a test says, and is closed."""

    def __init__(self, headers: list[tuple[str, str]], *chunks: bytes) -> None:
        self.headers = headers
        self.chunks = list(chunks or (b"one", b"two", b"three"))
        self.closed = False

    def __call__(self, environ: Any, start_response: Any) -> Iterator[bytes]:
        try:
            start_response("200 OK", self.headers)
            yield from self.chunks
        finally:
            self.closed = True


class Answer:
    """What a server makes of an app's answer, chunk by chunk."""

    def __init__(self, world: World, app: Any, **claims: Any) -> None:
        self.written: list[bytes] = []
        self.headers: list[tuple[str, str]] = []
        self.error: Any = None
        self.environ: dict[str, Any] = {
            "REQUEST_METHOD": "GET",
            "SCRIPT_NAME": "",
            "PATH_INFO": "/stream",
            "QUERY_STRING": "",
            "SERVER_NAME": "testserver",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_AUTHORIZATION": f"Bearer {token(**claims)}",
            "HTTP_X_REQUEST_ID": "r-1",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(),
            "wsgi.errors": io.StringIO(),
            "wsgi.file_wrapper": Wrapper,
        }
        guarded = app if isinstance(app, (GuardMiddleware, Flask)) else GuardMiddleware(app, world.guard)
        self.body = guarded(self.environ, self.start)
        self.chunks = iter(self.body)

    def start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
        self.headers, self.error = headers, exc_info
        return self.written.append

    def rest(self) -> list[bytes]:
        return list(self.chunks)

    def close(self) -> None:
        getattr(self.body, "close", lambda: None)()


class Wrapper:
    """A server's wrapper of a file."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.file)


@pytest.fixture(autouse=True)
def _closed(world: World) -> Iterator[None]:
    yield
    world.guard.close()


@pytest.mark.parametrize("end", ENDS)
def test_r_18_a_stream_of_events_is_completed(world: World, end: str) -> None:
    app = Streaming(EVENTS)
    answer = Answer(world, app)
    assert next(answer.chunks) == b"one"
    ENDS[end](world)
    assert answer.rest() == []
    answer.close()
    assert app.closed
    assert world.reasons == [end.partition(",")[0]]


@pytest.mark.parametrize("end", ENDS)
def test_r_18_any_other_stream_is_broken_off(world: World, end: str) -> None:
    app = Streaming(PLAIN)
    answer = Answer(world, app)
    assert [next(answer.chunks), next(answer.chunks)] == [b"one", b"two"]
    ENDS[end](world)
    with pytest.raises(ConnectionEnded) as caught:
        next(answer.chunks)
    assert isinstance(caught.value, OSError)
    assert answer.rest() == []
    answer.close()
    assert app.closed
    assert world.reasons == [end.partition(",")[0]]


def test_r_18_an_end_is_recorded(world: World) -> None:
    answer = Answer(world, Streaming(EVENTS))
    next(answer.chunks)
    world.clock.move(EXP)
    answer.rest()
    opened, ended = world.events
    assert (opened.outcome, opened.phase, opened.request_id) == ("allowed", "middleware", "r-1")
    assert (ended.outcome, ended.phase, ended.reason, ended.status) == ("denied", "connection", "expired", 401)
    assert (ended.front, ended.method, ended.path, ended.request_id) == ("wsgi", "GET", "/stream", "r-1")


def test_r_18_a_first_chunk_may_take_its_time_but_not_a_first_event(world: World) -> None:
    plain, events = Answer(world, Streaming(PLAIN)), Answer(world, Streaming(EVENTS))
    # A generator has been started to see whether it refuses.
    world.clock.move(EXP)
    assert next(plain.chunks) == b"one"
    with pytest.raises(ConnectionEnded):
        next(plain.chunks)
    assert events.rest() == []
    assert len(world.ended) == 2


@pytest.mark.parametrize("make_body", [list, tuple, lambda chunks: Wrapper(chunks)])
def test_r_18_what_is_whole_is_left_to_the_server(world: World, make_body: Callable[[Any], Any]) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", PLAIN)
        return bodies.append(make_body([b"one", b"two"])) or bodies[0]

    bodies: list[Any] = []
    answer = Answer(world, app)
    assert answer.body is bodies[0]
    world.clock.move(EXP)
    assert answer.rest() == [b"one", b"two"]
    assert world.ended == []


@pytest.mark.parametrize("ignores", [True, False])
@pytest.mark.parametrize("headers", [EVENTS, PLAIN])
def test_r_18_what_an_app_writes_by_itself_is_held_against_it_too(
    world: World, headers: list[tuple[str, str]], ignores: bool
) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        write = start_response("200 OK", headers)
        write(b"one")
        write(b"two")
        world.clock.move(EXP)
        try:
            write(b"too late")
        except ConnectionEnded:
            if not ignores:
                raise
        return [b"too late"]

    if not ignores:
        with pytest.raises(ConnectionEnded):
            Answer(world, app)
    else:
        answer = Answer(world, app)
        assert answer.written == [b"one", b"two"]
        if headers is PLAIN:
            with pytest.raises(ConnectionEnded):
                answer.rest()
        assert answer.rest() == []
    assert len(world.ended) == 1


def test_r_18_the_broker_is_asked_every_interval(world: World) -> None:
    answer = Answer(world, Streaming(PLAIN, *[b"more"] * 30), exp=NOW + 3600)
    calls = world.broker.calls
    for _ in range(25):
        assert next(answer.chunks) == b"more"
        world.clock.move(5)
    assert world.broker.calls - calls == 4
    world.broker.answer = invalid
    world.clock.move(30)
    with pytest.raises(ConnectionEnded):
        next(answer.chunks)
    assert len(world.ended) == 1


def test_r_18_an_outage_ends_it_at_twice_the_interval_and_not_before(world: World) -> None:
    answer = Answer(world, Streaming(PLAIN, *[b"more"] * 20), exp=NOW + 3600)
    next(answer.chunks)
    world.broker.answer = lambda _: (500, {}, b"")
    calls = world.broker.calls
    world.clock.move(30)
    # Not every chunk waits for a broker that has just failed.
    assert [next(answer.chunks) for _ in range(3)] == [b"more"] * 3
    asked = world.broker.calls - calls
    world.clock.move(0.5)
    next(answer.chunks)
    assert world.broker.calls - calls == 2 * asked > 0
    world.clock.move(29)
    next(answer.chunks)
    world.broker.answer = valid
    world.clock.move(20)
    next(answer.chunks)
    world.broker.answer = lambda _: (500, {}, b"")
    world.clock.move(60)
    with pytest.raises(ConnectionEnded):
        next(answer.chunks)
    assert [event.status for event in world.ended] == [503]


def test_r_18_without_an_interval_nobody_is_asked(make: Callable[..., World]) -> None:
    world = make(recheck_interval=0)
    answer = Answer(world, Streaming(PLAIN), exp=NOW + 3600)
    next(answer.chunks)
    calls = world.broker.calls
    world.clock.move(3000)
    next(answer.chunks)
    assert world.broker.calls == calls
    world.clock.move(600)
    with pytest.raises(ConnectionEnded):
        next(answer.chunks)
    world.guard.close()


def test_r_18_a_fault_of_the_guards_own_is_no_yes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """R-21: it ends as an outage does."""
    answer = Answer(world, Streaming(PLAIN), exp=NOW + 3600)
    next(answer.chunks)
    monkeypatch.setattr(world.guard, "check", lambda *_: 1 / 0)
    world.clock.move(30)
    next(answer.chunks)
    world.clock.move(30)
    with pytest.raises(ConnectionEnded):
        next(answer.chunks)
    assert [event.status for event in world.ended] == [503]


@pytest.mark.parametrize("by_name", [True, False])
def test_r_18_a_server_is_told_of_an_apps_error(world: World, by_name: bool) -> None:
    told = (RuntimeError, RuntimeError("of the app"), None)

    def app(environ: Any, start_response: Any) -> list[bytes]:
        if by_name:
            start_response("500 Oops", PLAIN, exc_info=told)
        else:
            start_response("500 Oops", PLAIN, told)
        return []

    assert Answer(world, app).error is told


def test_r_18_what_an_app_raises_by_itself_is_its_own(world: World) -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", EVENTS)
        yield b"one"
        raise RuntimeError("of the app")

    answer = Answer(world, app)
    next(answer.chunks)
    with pytest.raises(RuntimeError, match="of the app"):
        next(answer.chunks)
    assert world.ended == []


def test_r_18_a_stream_of_flask(world: World) -> None:
    app = Flask("streaming")
    FlaskGuard(app, guard=world.guard)
    closed = []

    @app.get("/stream")
    def stream() -> Response:
        def numbers() -> Iterator[str]:
            try:
                yield from map(str, range(10))
            finally:
                closed.append(True)

        return Response(numbers(), mimetype="text/event-stream")

    @app.get("/plain")
    def plain() -> str:
        return "whole"

    answer = Answer(world, app)
    assert next(answer.chunks) == b"0"
    world.clock.move(EXP)
    assert answer.rest() == []
    answer.close()
    assert closed == [True]
    assert len(world.ended) == 1


# B-22: answers to agents that could not be validated again.


def test_b_22_an_answer_says_how_old_what_it_goes_by_is(make: Callable[..., World]) -> None:
    world = make(stale_if_error=30)
    assert Answer(world, Streaming(PLAIN)).headers == PLAIN
    world.broker.answer = lambda _: (500, {}, b"")
    world.clock.move(12)
    assert Answer(world, Streaming(PLAIN)).headers == [*PLAIN, ("X-AgentWrit-Stale", "12")]
    world.guard.close()
