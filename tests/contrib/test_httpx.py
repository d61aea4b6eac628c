"""`AgentAuth` on httpx and its fork: a guarded API on a real socket, the twin, and clients of both kinds."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest
from fastapi import FastAPI, Request

import agentwrit_guard.contrib.httpx
import agentwrit_guard.contrib.httpx2
from agentwrit_guard import AgentWritApp, AsyncAgentWritApp, Clock, Guard
from agentwrit_guard.cli.servers import uvicorn_serving
from agentwrit_guard.contrib.fastapi import CurrentAgent, GuardMiddleware
from agentwrit_guard.devbroker import DevBroker
from agentwrit_guard.errors import AgentWritError, AuthenticationError, ConfigurationError
from tests.client.play import done
from tests.kit.clock import Time

pytestmark = pytest.mark.anyio

LIBRARIES = [(httpx, agentwrit_guard.contrib.httpx.AgentAuth), (httpx2, agentwrit_guard.contrib.httpx2.AgentAuth)]
SCOPE = ["read:data:*"]


class Api:
    """A guarded app: `seen` are the tokens that came, `before` runs before the guard looks at a request."""

    def __init__(self, broker: DevBroker, time: Time) -> None:
        self.seen: list[str] = []
        self.before: Any = lambda: None
        self.url = ""
        app = FastAPI()
        guard = Guard(broker.url, cache_ttl=0, clock=Clock(monotonic=time, wall=time))
        app.add_middleware(GuardMiddleware, guard=guard, public=["/open"])

        @app.api_route("/me", methods=["GET", "POST"])
        async def me(agent: CurrentAgent, request: Request) -> dict[str, str]:
            return {"agent": agent.agent_id, "body": (await request.body()).decode()}

        @app.get("/open")
        async def anybody(request: Request) -> dict[str, str | None]:
            return {"authorization": request.headers.get("authorization")}

        self.app = self._watched(app)

    def _watched(self, app: Any) -> Any:
        async def watched(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                self.seen.extend(
                    v.decode().removeprefix("Bearer ") for k, v in scope["headers"] if k == b"authorization"
                )
                await asyncio.to_thread(self.before)
            await app(scope, receive, send)

        return watched


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def broker(time: Time) -> Iterator[DevBroker]:
    with DevBroker(clock=time) as running:
        yield running


@pytest.fixture
def api(broker: DevBroker, time: Time) -> Iterator[Api]:
    api = Api(broker, time)
    with uvicorn_serving(api.app) as api.url:
        yield api


@pytest.fixture
def app(broker: DevBroker, time: Time) -> Iterator[AgentWritApp]:
    credentials = broker.app(scopes=SCOPE)
    with AgentWritApp(broker.url, credentials.client_id, credentials.client_secret, clock=time) as app:
        yield app


@pytest.fixture
async def async_app(broker: DevBroker, time: Time) -> AsyncIterator[AsyncAgentWritApp]:
    credentials = broker.app(scopes=SCOPE)
    async with AsyncAgentWritApp(broker.url, credentials.client_id, credentials.client_secret, clock=time) as app:
        yield app


@pytest.fixture(params=LIBRARIES, ids=["httpx", "httpx2"])
def library(request: pytest.FixtureRequest) -> tuple[ModuleType, Any]:
    return request.param


def test_sends_the_bearer(library: Any, api: Api, app: AgentWritApp) -> None:
    http, auth = library
    agent = app.create_agent("o", "t", SCOPE)
    with http.Client(auth=auth(agent), trust_env=False) as client:
        assert client.get(f"{api.url}/me").json()["agent"] == agent.agent_id
    assert api.seen == [agent.access_token]


def test_renews_before_the_end(library: Any, api: Api, app: AgentWritApp, broker: DevBroker, time: Time) -> None:
    http, auth = library
    agent = app.create_agent("o", "t", SCOPE, max_ttl=300)
    first = agent.access_token
    with http.Client(auth=auth(agent), trust_env=False) as client:
        for moved in (0, 269, 2, 200, 71):
            time.now += moved
            assert client.get(f"{api.url}/me").status_code == 200
    assert broker.calls["/v1/token/renew"] == 2
    assert api.seen[:2] == [first] * 2
    assert len(set(api.seen)) == 3


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_agent_in_an_async_client(
    library: Any,
    api: Api,
    app: AgentWritApp,
    async_app: AsyncAgentWritApp,
    broker: DevBroker,
    time: Time,
    kind: str,
) -> None:
    http, auth = library
    agent = await done((async_app if kind == "async" else app).create_agent("o", "t", SCOPE, max_ttl=300))
    async with http.AsyncClient(auth=auth(agent), trust_env=False) as client:
        assert (await client.get(f"{api.url}/me")).status_code == 200
        time.now += 280
        answers = await asyncio.gather(*(client.get(f"{api.url}/me") for _ in range(30)))
    assert {answer.status_code for answer in answers} == {200}
    assert broker.calls["/v1/token/renew"] == 1


def test_threads_that_renew_meanwhile(library: Any, api: Api, app: AgentWritApp, broker: DevBroker, time: Time) -> None:
    """Every request is answered, although the tokens of those under way die at each renewal."""
    http, auth = library
    agent = app.create_agent("o", "t", SCOPE, max_ttl=300)
    with http.Client(auth=auth(agent), trust_env=False) as client, ThreadPoolExecutor(8) as pool:

        def ask(number: int) -> int:
            if number == 40:
                time.now += 271
            if number == 80:
                agent.renew()
            status: int = client.get(f"{api.url}/me").status_code
            return status

        assert set(pool.map(ask, range(120))) == {200}
    assert broker.calls["/v1/token/renew"] == 2


def test_request_whose_token_died_on_the_way_is_sent_again(library: Any, api: Api, app: AgentWritApp) -> None:
    http, auth = library
    agent = app.create_agent("o", "t", SCOPE)
    old = agent.access_token

    def renew_once() -> None:
        api.before = lambda: None
        agent.renew()

    with http.Client(auth=auth(agent), trust_env=False) as client:
        for body in (b"", b"once more"):
            api.before = renew_once
            answer = client.post(f"{api.url}/me", content=body)
            assert (answer.status_code, answer.json()["body"]) == (200, body.decode())
            assert [past.status_code for past in answer.history] == [401]
    assert api.seen[0] == old
    assert api.seen[-1] == agent.access_token


async def test_async_request_whose_token_died_on_the_way(
    library: Any, api: Api, app: AgentWritApp, async_app: AsyncAgentWritApp
) -> None:
    http, auth = library
    agent = await async_app.create_agent("o", "t", SCOPE)
    loop = asyncio.get_running_loop()

    def renew_once() -> None:
        api.before = lambda: None
        asyncio.run_coroutine_threadsafe(agent.renew(), loop).result()

    api.before = renew_once
    async with http.AsyncClient(auth=auth(agent), trust_env=False) as client:
        answer = await client.get(f"{api.url}/me")
    assert (answer.status_code, len(api.seen)) == (200, 2)


@pytest.mark.parametrize(
    "body",
    [lambda: {"content": iter([b"one", b"two"])}, lambda: {"files": {"file": io.BytesIO(b"content")}}],
    ids=["streamed", "files"],
)
def test_body_that_is_read_once_is_not_sent_again(library: Any, api: Api, app: AgentWritApp, body: Any) -> None:
    http, auth = library
    agent = app.create_agent("o", "t", SCOPE)

    def renew_once() -> None:
        api.before = lambda: None
        agent.renew()

    api.before = renew_once
    with http.Client(auth=auth(agent), trust_env=False) as client:
        answer = client.post(f"{api.url}/me", **body())
    assert (answer.status_code, len(api.seen)) == (401, 1)


def test_renewal_that_has_not_come_back_is_waited_for(library: Any, app: AgentWritApp) -> None:
    """The broker has killed the old token, and the new one is on its way."""
    http, auth = library
    agent = app.create_agent("o", "t", SCOPE)
    old, settle = agent.access_token, agent.settle
    flow = auth(agent).sync_auth_flow(http.Request("GET", "https://api.example"))
    assert next(flow).headers["authorization"] == f"Bearer {old}"

    def come_back() -> None:
        agent.settle = settle
        agent.renew()

    agent.settle = come_back
    again = flow.send(http.Response(401))
    assert again.headers["authorization"] == f"Bearer {agent.access_token}"
    assert agent.access_token != old


async def test_sync_agent_does_not_block_the_event_loop(library: Any, app: AgentWritApp, time: Time) -> None:
    _, auth = library
    agent = app.create_agent("o", "t", SCOPE, max_ttl=300)
    time.now += 280
    threads: list[str] = []
    renew = agent.renew_if_due

    def watched() -> None:
        threads.append(threading.current_thread().name)
        renew()

    agent.renew_if_due = watched
    flow = auth(agent).async_auth_flow(library[0].Request("GET", "https://api.example"))
    assert (await flow.__anext__()).headers["authorization"]
    await flow.aclose()
    assert threads
    assert threading.current_thread().name not in threads


def test_refusal_of_a_token_that_was_not_renewed_stands(
    library: Any, api: Api, app: AgentWritApp, broker: DevBroker
) -> None:
    http, auth = library
    agent = app.create_agent("o", "t", SCOPE)
    broker.revoke("agent", agent.agent_id)
    with http.Client(auth=auth(agent), trust_env=False) as client:
        assert client.get(f"{api.url}/me").status_code == 401
    assert len(api.seen) == 1


def test_release_on_the_way_leaves_the_refusal(library: Any, api: Api, app: AgentWritApp) -> None:
    http, auth = library
    agent = app.create_agent("o", "t", SCOPE)

    def renew_and_release() -> None:
        agent.renew()
        agent.release()

    api.before = renew_and_release
    with http.Client(auth=auth(agent), trust_env=False) as client:
        assert client.get(f"{api.url}/me").status_code == 401
        with pytest.raises(AgentWritError, match="is released"):
            client.get(f"{api.url}/me")
    assert len(api.seen) == 1


def test_ended_agent_is_an_error_of_ours(library: Any, api: Api, app: AgentWritApp, time: Time) -> None:
    http, auth = library
    agent = app.create_agent("o", "t", SCOPE, max_ttl=300)
    time.now += 301
    with http.Client(auth=auth(agent), trust_env=False) as client, pytest.raises(AuthenticationError):
        client.get(f"{api.url}/me")
    assert api.seen == []


def test_delegated_token(library: Any, api: Api, app: AgentWritApp) -> None:
    http, auth = library
    root, worker = (app.create_agent("o", task, SCOPE) for task in ("t", "u"))
    delegated = root.delegate(worker.agent_id, ["read:data:1"])
    with http.Client(auth=auth(delegated), trust_env=False) as client:
        assert client.get(f"{api.url}/me").json()["agent"] == worker.agent_id


def test_other_origins_get_nothing(library: Any, api: Api, app: AgentWritApp) -> None:
    http, auth = library
    agent = app.create_agent("o", "t", SCOPE)
    elsewhere = api.url.replace("127.0.0.1", "localhost")
    with http.Client(auth=auth(agent, origins=[f"{api.url}/"]), trust_env=False) as client:
        assert client.get(f"{api.url}/open").json() == {"authorization": f"Bearer {agent.access_token}"}
        for stranger in (elsewhere, "http://127.0.0.1:9"):
            request = client.build_request("GET", f"{stranger}/open")
            flow = client.auth.sync_auth_flow(request)
            assert "authorization" not in next(flow).headers
            with pytest.raises(StopIteration):
                flow.send(http.Response(401))


@pytest.mark.parametrize(
    ("origin", "url", "same"),
    [
        ("https://api.example", "https://api.example/x?y", True),
        ("https://api.example:443", "https://api.example/", True),
        ("https://API.example", "https://api.example/", True),
        ("https://api.example:8443", "https://api.example:8443/", True),
        ("https://api.example", "http://api.example/", False),
        ("https://api.example", "https://api.example:8443/", False),
        ("https://api.example", "https://api.example.evil/", False),
        ("https://api.example", "https://evil/?https://api.example", False),
        ("https://api.example", "https://api.example@evil/", False),
        ("https://api.example", "https://api.example./", False),
        ("https://api.example", "https://api.example:0/", False),
        ("https://xn--bcher-kva.example", "https://b\u00fccher.example/", True),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example/", True),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443/", True),
    ],
)
def test_origins(library: Any, app: AgentWritApp, origin: str, url: str, same: bool) -> None:
    http, auth = library
    agent = app.create_agent("o", "t", SCOPE)
    request = next(auth(agent, origins=[origin]).sync_auth_flow(http.Request("GET", url)))
    assert (request.headers.get("authorization") == f"Bearer {agent.access_token}") is same


@pytest.mark.parametrize(
    "origins",
    [
        "https://api.example",
        ["api.example"],
        ["https://"],
        ["https://u@h"],
        ["https://h/path"],
        [7],
        ["https://h:x"],
        5,
        ["https://h#"],
        ["https://h?"],
        ["https://h:0"],
        ["https://h:65536"],
        ["https://h\n"],
        ["https://b\u00fccher.example"],
        ["ftp://h"],
    ],
)
def test_origins_are_checked(library: Any, app: AgentWritApp, origins: Any) -> None:
    agent = app.create_agent("o", "t", SCOPE)
    with pytest.raises(ConfigurationError, match="origins"):
        library[1](agent, origins=origins)


def test_what_is_no_agent(library: Any) -> None:
    with pytest.raises(ConfigurationError, match="agent must be"):
        library[1]("token")


async def test_async_agent_in_a_sync_client(library: Any, api: Api, async_app: AsyncAgentWritApp) -> None:
    http, auth = library
    agent = await async_app.create_agent("o", "t", SCOPE)
    with (
        http.Client(auth=auth(agent), trust_env=False) as client,
        pytest.raises(ConfigurationError, match="AsyncClient"),
    ):
        client.get(f"{api.url}/me")


def test_no_repr_shows_the_token(library: Any, app: AgentWritApp) -> None:
    agent = app.create_agent("o", "t", SCOPE)
    auth = library[1](agent)
    assert agent.access_token not in repr(auth) + repr(auth._bearer) + repr(vars(auth)) + repr(vars(auth._bearer))
