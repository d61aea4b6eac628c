from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import pytest

from agentwrit_guard import Allowed, Denied, Guard
from agentwrit_guard.core.wire import Flow
from agentwrit_guard.errors import BrokerUnavailable
from agentwrit_guard.link import AsyncLink, Link
from agentwrit_guard.transport import LinkOptions
from tests.kit.clock import MovableClock
from tests.kit.stub import StubBroker


class Drive(Protocol):
    """Runs flows one after another over one link, and gives what each returned, or the fault that it raised."""

    def __call__(self, options: LinkOptions | str, *flows: Callable[[], Flow[Any]],
        timeout: float | None = ...) -> list[Any]: ...  # fmt: skip


class Check(Protocol):
    """Checks tokens one after another with one guard, in one event loop if there is one."""

    def __call__(self, guard: Guard, *entries: list[bytes]) -> list[Allowed | Denied]: ...


def _drive_sync(options: LinkOptions | str, *flows: Callable[[], Flow[Any]], timeout: float | None = None) -> list[Any]:
    link = Link(LinkOptions(options) if isinstance(options, str) else options)
    found: list[Any] = []
    try:
        for flow in flows:
            try:
                found.append(link.run(flow(), timeout=timeout))
            except BrokerUnavailable as fault:
                found.append(fault)
    finally:
        link.close()
    return found


def _drive_async(
    options: LinkOptions | str, *flows: Callable[[], Flow[Any]], timeout: float | None = None
) -> list[Any]:
    async def main() -> list[Any]:
        link = AsyncLink(LinkOptions(options) if isinstance(options, str) else options)
        found: list[Any] = []
        try:
            for flow in flows:
                try:
                    found.append(await link.run(flow(), timeout=timeout))
                except BrokerUnavailable as fault:
                    found.append(fault)
        finally:
            await link.aclose()
        return found

    return asyncio.run(main())


def _check_sync(guard: Guard, *entries: list[bytes]) -> list[Allowed | Denied]:
    try:
        return [guard.check(entry) for entry in entries]
    finally:
        guard.close()


def _check_async(guard: Guard, *entries: list[bytes]) -> list[Allowed | Denied]:
    async def main() -> list[Allowed | Denied]:
        try:
            return [await guard.acheck(entry) for entry in entries]
        finally:
            await guard.aclose()

    return asyncio.run(main())


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=["sync", "async"])
def drive(request: pytest.FixtureRequest) -> Drive:
    return _drive_sync if request.param == "sync" else _drive_async


@pytest.fixture(params=["sync", "async"])
def check(request: pytest.FixtureRequest) -> Check:
    return _check_sync if request.param == "sync" else _check_async


@pytest.fixture
def stub() -> Iterator[StubBroker]:
    with StubBroker() as broker:
        yield broker


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()
