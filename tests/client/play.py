"""Flows played by hand, and one way to call sync and async clients alike."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import inspect
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from agentwrit_guard.client import AgentWritApp, AsyncAgentWritApp
from agentwrit_guard.core.wire import BrokerReply, BrokerRequest
from agentwrit_guard.devbroker import AppCredentials, DevBroker

AGENT = "spiffe://agentwrit.local/agent/o/t/0123456789abcdef"
OTHER = "spiffe://agentwrit.local/agent/o/u/fedcba9876543210"
RECORD = {"agent": AGENT, "scope": ["read:data:*"], "delegated_at": "2026-11-23T05:49:28.5Z", "signature": "ab"}


def play(flow: Any, *replies: BrokerReply | Exception) -> tuple[list[BrokerRequest], Any]:
    """The requests that the flow makes when it is given these replies, and what it returns; its error is raised."""
    requests = []
    try:
        request = next(flow)
        for reply in replies:
            requests.append(request)
            request = flow.throw(reply) if isinstance(reply, Exception) else flow.send(reply)
    except StopIteration as stop:
        assert len(requests) == len(replies), "the flow wanted fewer replies"
        return requests, stop.value
    raise AssertionError(f"the flow wants more: {request}")


def reply(status: int = 200, /, **members: object) -> BrokerReply:
    return BrokerReply(status, {"content-type": "application/json"}, json.dumps(members).encode())


def problem(status: int, detail: str = "no", **headers: str) -> BrokerReply:
    body = {"type": "urn:agentwrit:error:some_code", "title": "T", "status": status, "detail": detail}
    return BrokerReply(
        status,
        {"content-type": "application/problem+json", **headers},
        json.dumps({**body, "instance": "/v1/x", "error_code": "some_code", "request_id": "r1"}).encode(),
    )


def token(sub: str = AGENT, **claims: object) -> str:
    """A token of the broker's form, with a signature that nobody checks here."""
    payload = {"iss": "", "sub": sub, "exp": 1400, "nbf": 1100, "iat": 1100, "jti": "j", "scope": ["read:data:*"]}
    parts = [json.dumps(part).encode() for part in ({"alg": "EdDSA", "typ": "JWT"}, {**payload, **claims})]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (*parts, bytes(64)))


async def done(value: Any) -> Any:
    """What a call of either kind of client comes to."""
    return await value if inspect.isawaitable(value) else value


@contextlib.asynccontextmanager
async def entered(context: Any) -> AsyncIterator[Any]:
    """`with` for what is sync, `async with` for what is async."""
    if hasattr(context, "__aenter__"):
        async with context as value:
            yield value
    else:
        with context as value:
            yield value


@dataclass(frozen=True)
class Kind:
    """Sync or async: the app class, and how to make many calls at once."""

    name: str
    app: type[AgentWritApp] | type[AsyncAgentWritApp]

    def open(self, broker: DevBroker, app: AppCredentials, **options: Any) -> Any:
        return entered(self.app(broker.url, app.client_id, app.client_secret, **options))

    async def at_once(self, call: Callable[[], Any], times: int) -> list[Any]:
        """The results or errors of concurrent calls, from threads or from tasks."""
        calls = (call() if self.name == "async" else asyncio.to_thread(call) for _ in range(times))
        return await asyncio.gather(*calls, return_exceptions=True)


KINDS = (Kind("sync", AgentWritApp), Kind("async", AsyncAgentWritApp))
