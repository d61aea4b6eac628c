"""A pool for each connection: which one a request gets, and that none is lost or lent twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

import httpcore
import pytest

from agentwrit_guard import pools
from agentwrit_guard.pools import KEEPALIVE, AsyncPools, Pools

REQUEST = httpcore.Request("GET", "http://127.0.0.1/")


class OneConnection:
    """Stands for httpcore's pools, both kinds: says who answered, and whether it was closed."""

    def __init__(self) -> None:
        self.closed = 0
        self.fails: BaseException | None = None
        self.connections: list[Connection] = []
        self._requests: list[object] = []

    def handle_request(self, request: httpcore.Request) -> httpcore.Response:
        if self.fails is not None:
            raise self.fails
        return httpcore.Response(200, content=Body(), extensions={"by": self})

    async def handle_async_request(self, request: httpcore.Request) -> httpcore.Response:
        return self.handle_request(request)

    def close(self) -> None:
        self.closed += 1

    async def aclose(self) -> None:
        self.closed += 1


class Connection:
    """What a cancelled call may leave: neither idle nor closed."""

    def is_idle(self) -> bool:
        return False

    def is_closed(self) -> bool:
        return False


class Body:
    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def __iter__(self) -> Iterator[bytes]:
        yield b"x"

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"x"

    def close(self) -> None:
        if self.error is not None:
            raise self.error

    async def aclose(self) -> None:
        self.close()


class Both:
    """The sync and the async kind alike."""

    def __init__(self, kind: type[Pools] | type[AsyncPools]) -> None:
        self.made: list[OneConnection] = []
        self._pools: Any = kind(cast("Any", self._make))
        self._sync = kind is Pools

    def _make(self) -> OneConnection:
        self.made.append(OneConnection())
        return self.made[-1]

    def ask(self) -> Any:
        if self._sync:
            return self._pools.handle_request(REQUEST)
        return asyncio.run(self._pools.handle_async_request(REQUEST))

    def end(self, response: Any) -> None:
        response.stream.close() if self._sync else asyncio.run(response.stream.aclose())

    def close(self) -> None:
        self._pools.close() if self._sync else asyncio.run(self._pools.aclose())


@pytest.fixture(params=[Pools, AsyncPools])
def both(request: pytest.FixtureRequest) -> Both:
    return Both(request.param)


def test_the_connection_that_was_used_last_is_used_first(both: Both) -> None:
    first, second = both.ask(), both.ask()
    assert [response.extensions["by"] for response in (first, second)] == both.made
    both.end(first)
    both.end(second)
    assert both.ask().extensions["by"] is both.made[1]
    assert both.ask().extensions["by"] is both.made[0]
    assert len(both.made) == 2


def test_an_answer_that_is_closed_twice_gives_its_connection_back_once(both: Both) -> None:
    response = both.ask()
    both.end(response)
    both.end(response)
    assert both.ask().extensions["by"] is both.made[0]
    assert both.ask().extensions["by"] is not both.made[0]


@pytest.mark.parametrize("error", [OSError("broken"), KeyboardInterrupt(), asyncio.CancelledError()])
def test_a_request_that_fails_loses_no_connection(both: Both, error: BaseException) -> None:
    both.end(both.ask())
    both.made[0].fails = error
    with pytest.raises(type(error)):
        both.ask()
    both.made[0].fails = None
    assert both.ask().extensions["by"] is both.made[0]


@pytest.mark.parametrize("left", ["connection", "request"])
@pytest.mark.parametrize("when", ["asked", "ended"])
def test_a_connection_that_was_left_in_the_middle_is_never_used_again(both: Both, left: str, when: str) -> None:
    """As httpcore leaves one when a deadline cancels it at a bad moment."""
    response = both.ask()
    spoilt = both.made[0]
    if when == "asked":
        both.end(response)
        spoilt.fails = asyncio.CancelledError()
    if left == "connection":
        spoilt.connections.append(Connection())
    else:
        spoilt._requests.append(object())
    if when == "asked":
        with pytest.raises(asyncio.CancelledError):
            both.ask()
    else:
        both.end(response)
    assert both.ask().extensions["by"] is both.made[1]
    assert spoilt.closed == 1


def test_an_answer_that_cannot_be_closed_loses_no_connection(both: Both) -> None:
    response = both.ask()
    response.stream._body.error = OSError("broken")
    with pytest.raises(OSError, match="broken"):
        both.end(response)
    assert both.ask().extensions["by"] is both.made[0]


def test_connections_that_were_idle_for_too_long_are_closed_one_with_each_request(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(pools.time, "monotonic", lambda: now)
    for response in [both.ask() for _ in range(3)]:
        both.end(response)
    now += KEEPALIVE - 1
    both.end(both.ask())
    now += 1
    both.end(both.ask())
    assert [pool.closed for pool in both.made] == [1, 0, 0]
    both.end(both.ask())
    assert [pool.closed for pool in both.made] == [1, 1, 0]
    both.end(both.ask())
    assert [pool.closed for pool in both.made] == [1, 1, 0]


def test_closing_closes_all_of_them_lent_or_idle(both: Both) -> None:
    both.ask()
    both.end(both.ask())
    both.close()
    assert [pool.closed for pool in both.made] == [1, 1]
