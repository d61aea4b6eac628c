"""What a validation costs that asks the broker, over a socket on loopback: each token is shown once and never again."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import httpx
import httpx2
from agentwrit.scope import validate as sdk_validate
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastmcp.server.auth.providers.introspection import IntrospectionTokenVerifier

from agentwrit_guard import Allowed, Guard
from bench.alternation import Contender, Took, alternated
from bench.drills.tokens import HEAD, claims, signed
from bench.effort import Effort
from bench.ownloop import one, own_loop
from bench.report import Section, Target
from bench.scriptedbroker import ScriptedBroker, scripted

_SCOPE: Final = ["read:customers:7291", "write:notes:" + "n" * 150]
_NOTES: Final = (
    "every token is new, signed with Ed25519, and shown to one contender once: the broker counted as many questions",
    "a scripted broker in another process, connections kept alive; wall time has its share in it, CPU time has not",
    "guard: default settings; agents' tokens give back what they take of the budget for unknown tokens",
    "bare: one httpx client, by default, post(json=) and json(): no look at the token or at the answer",
    "SDK: agentwrit.scope.validate, which opens a client for each call",
    "it has no async form: async / SDK is against its plain time, without the thread that async code must call it in",
    "FastMCP: its introspection verifier without a cache, by default (a client for each call), and with an http_client",
    "every contender said yes to a good token and no to a bad one before it was measured",
)

T = TypeVar("T")


class _Tokens:
    """New ones, as many as are asked for, and one that the broker rejects."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()
        self._numbers = itertools.count()
        self.shown = 0
        self.bad = self._new().decode()

    def _new(self) -> bytes:
        return signed(self._key, HEAD, claims(f"{next(self._numbers):032x}", scope=_SCOPE))

    def take(self, count: int) -> list[str]:
        self.shown += count
        return [self._new().decode() for _ in range(count)]


def run(effort: Effort) -> Section:
    tokens = _Tokens()
    with scripted([tokens.bad]) as broker, own_loop() as loop, contextlib.ExitStack() as opened:
        took = alternated(
            {**_sync(broker, tokens, opened), **_awaited(broker, tokens, opened, loop)},
            effort,
        )
        asked = broker.asked()
    assert asked == tokens.shown, f"{tokens.shown} tokens were shown, and the broker was asked {asked} times"
    return _section(took, tokens)


def _section(took: dict[str, Took], tokens: _Tokens) -> Section:
    guard, bare, sdk = (took[f"sync: {name}"].wall for name in ("guard", "bare httpx", "SDK"))
    aguard, abare, afastmcp = (
        took[f"async: {name}"].wall for name in ("guard", "bare httpx", "FastMCP, shared client")
    )
    return Section(
        "Cold validation over a socket",
        figures=[
            *(each.wall for each in took.values()),
            *(each.cpu for each in took.values()),
            took["sync: guard"].cpu.over(took["sync: bare httpx"].cpu, "sync: guard / bare, CPU"),
            took["async: guard"].cpu.over(took["async: bare httpx"].cpu, "async: guard / bare, CPU"),
            aguard.over(afastmcp, "async: guard / FastMCP, shared client"),
        ],
        targets=[
            Target(sdk.over(guard, "sync: SDK / guard"), "at least", 25),
            Target(sdk.over(aguard, "async: SDK / guard"), "at least", 15),
            Target(guard.over(bare, "sync: guard / bare"), "at most", 1.25),
            Target(aguard.over(abare, "async: guard / bare"), "at most", 1.25),
        ],
        notes=[*_NOTES, f"tokens of {len(tokens.bad)} bytes"],
    )


def _sync(broker: ScriptedBroker, tokens: _Tokens, opened: contextlib.ExitStack) -> dict[str, Contender]:
    guard = opened.enter_context(contextlib.closing(Guard(broker.url, allow_http=True)))
    client = opened.enter_context(httpx.Client())
    url = f"{broker.url}/v1/token/validate"
    return {
        "sync: guard": _calls(tokens, guard.check, _admitted, _header),
        "sync: bare httpx": _calls(tokens, lambda token: client.post(url, json={"token": token}).json(), _valid, str),
        "sync: SDK": _calls(tokens, lambda token: sdk_validate(broker.url, token), lambda found: found.valid, str),
    }


def _awaited(
    broker: ScriptedBroker, tokens: _Tokens, opened: contextlib.ExitStack, loop: asyncio.AbstractEventLoop
) -> dict[str, Contender]:
    async def close() -> None:
        await guard.aclose()
        await client.aclose()
        await shared.aclose()

    async def post(token: str) -> Any:
        return (await client.post(url, json={"token": token})).json()

    async def default_clients() -> tuple[httpx.AsyncClient, httpx2.AsyncClient]:
        return httpx.AsyncClient(), httpx2.AsyncClient()

    guard = Guard(broker.url, allow_http=True)
    client, shared = loop.run_until_complete(default_clients())
    opened.callback(lambda: loop.run_until_complete(close()))
    url = f"{broker.url}/v1/token/validate"
    return {
        "async: guard": _acalls(loop, tokens, guard.acheck, _admitted, _header),
        "async: bare httpx": _acalls(loop, tokens, post, _valid, str),
        "async: FastMCP": _acalls(loop, tokens, _fastmcp(broker), _found, str),
        "async: FastMCP, shared client": _acalls(loop, tokens, _fastmcp(broker, shared), _found, str),
    }


def _fastmcp(broker: ScriptedBroker, shared: httpx2.AsyncClient | None = None) -> Callable[[str], Awaitable[Any]]:
    verifier = IntrospectionTokenVerifier(
        introspection_url=broker.introspection_url, client_id="bench", client_secret="bench", http_client=shared
    )
    verify: Callable[[str], Awaitable[Any]] = verifier.verify_token
    return verify


def _header(token: str) -> list[bytes]:
    return [f"Bearer {token}".encode()]


def _admitted(decision: object) -> bool:
    return isinstance(decision, Allowed)


def _valid(answer: Any) -> bool:
    return answer["valid"] is True


def _found(access: object) -> bool:
    return access is not None


def _calls(
    tokens: _Tokens, ask: Callable[[T], Any], says_yes: Callable[[Any], bool], spell: Callable[[str], T]
) -> Contender:
    """`ask` for new tokens, each as `spell` makes it, once it has been seen to tell good from bad."""

    def ready(count: int) -> Callable[[], None]:
        shown = [spell(token) for token in tokens.take(count)]

        def run() -> None:
            for each in shown:
                found = ask(each)
            assert says_yes(found)

        return run

    ready(1)()
    tokens.shown += 1
    assert not says_yes(ask(spell(tokens.bad)))
    return ready


def _acalls(
    loop: asyncio.AbstractEventLoop,
    tokens: _Tokens,
    ask: Callable[[T], Awaitable[Any]],
    says_yes: Callable[[Any], bool],
    spell: Callable[[str], T],
) -> Contender:
    """As `_calls`, awaited one after the other in `loop`."""

    def ready(count: int) -> Callable[[], None]:
        shown = [spell(token) for token in tokens.take(count)]

        async def run() -> None:
            for each in shown:
                found = await ask(each)
            assert says_yes(found)

        return lambda: loop.run_until_complete(run())

    ready(1)()
    tokens.shown += 1
    assert not says_yes(loop.run_until_complete(one(ask(spell(tokens.bad)))))
    return ready
