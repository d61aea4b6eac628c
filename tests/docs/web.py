"""Apps as the pages show them: made from the text of a block, asked in process, and closed."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import httpx
from flask import Flask

from agentwrit_guard import AgentWritApp, Guard, wsgi
from tests.docs.pages import Block

Ask = tuple[str, str, dict[str, Any]]


def get(path: str, headers: dict[str, str] | None = None) -> Ask:
    return "GET", path, {"headers": headers or {}}


def post(path: str, headers: dict[str, str] | None = None, **options: Any) -> Ask:
    return "POST", path, {"headers": headers or {}, **options}


def talk(app: Any, *asks: Ask) -> list[httpx.Response]:
    """The answers to requests that one client sends, cookies and all."""
    if not inspect.iscoroutinefunction(app) and not inspect.iscoroutinefunction(type(app).__call__):
        with httpx.Client(transport=httpx.WSGITransport(app=app), base_url="https://api.test") as client:
            return [client.request(method, path, **options) for method, path, options in asks]
    return asyncio.run(_talk(app, asks))


async def _talk(app: Any, asks: tuple[Ask, ...]) -> list[httpx.Response]:
    # The end of the lifespan closes the guard's connections.
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="https://api.test") as client:
        answers = [await client.request(method, path, **options) for method, path, options in asks]
    events = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive() -> Any:
        return events.pop(0)

    async def send(_: Any) -> None:
        return None

    await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)
    return answers


@contextmanager
def running(block: Block) -> Iterator[dict[str, Any]]:
    """The names that a block defines. What it opened is closed afterwards."""
    module = ModuleType(block.name)
    # Line numbers as in the page, so that a traceback points there.
    code = compile("\n" * (block.line - 1) + block.text, block.page, "exec")
    try:
        exec(code, module.__dict__)
        yield module.__dict__
    finally:
        for value in list(vars(module).values()):
            if isinstance(value, (Guard, AgentWritApp)):
                value.close()
            elif isinstance(value, wsgi.GuardMiddleware):
                value.guard.close()
            elif isinstance(value, Flask) and "agentwrit_guard" in value.extensions:
                value.extensions["agentwrit_guard"].close()
