"""The Python blocks of the official SDK's own README, as it is installed, with the import changed and nothing else."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI

from agentwrit_guard import Agent, AgentWritApp, Guard
from agentwrit_guard.cli.servers import uvicorn_serving
from agentwrit_guard.contrib.fastapi import CurrentAgent, GuardMiddleware, requires_scope
from agentwrit_guard.devbroker import DevBroker

_README = importlib.metadata.metadata("agentwrit").get_payload()
_BLOCKS: dict[str, list[str]] = {}
for _section in re.split(r"^## ", str(_README), flags=re.MULTILINE)[1:]:
    _BLOCKS[_section.splitlines()[0]] = re.findall(r"^```python\n(.*?)^```", _section, flags=re.MULTILINE | re.DOTALL)


def changed(title: str) -> str:
    (text,) = _BLOCKS[title]
    assert "agentwrit" in text or title != "Quick Start"
    return re.sub(r"\bfrom agentwrit\b", "from agentwrit_guard", text)


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[DevBroker]:
    with DevBroker() as broker:
        credentials = broker.app(scopes=["read:data:*"])
        monkeypatch.setenv("AGENTWRIT_BROKER_URL", broker.url)
        monkeypatch.setenv("AGENTWRIT_CLIENT_ID", credentials.client_id)
        monkeypatch.setenv("AGENTWRIT_CLIENT_SECRET", credentials.client_secret)
        yield broker


@pytest.fixture
def app(broker: DevBroker) -> Iterator[AgentWritApp]:
    with AgentWritApp.from_env() as app:
        yield app


def test_quick_start(broker: DevBroker, capsys: pytest.CaptureFixture[str]) -> None:
    api = FastAPI()
    api.add_middleware(GuardMiddleware, guard=Guard(broker.url))

    @api.get("/data/customers")
    @requires_scope("read:data:customers")
    async def customers(agent: CurrentAgent) -> str:
        return agent.agent_id

    names: dict[str, Any] = {}
    with uvicorn_serving(api) as url:
        text = changed("Quick Start")
        assert "https://your-api/" in text
        exec(text.replace("https://your-api/", f"{url}/"), names)
    assert isinstance(names["app"], AgentWritApp)
    assert isinstance(names["agent"], Agent)
    assert (names["resp"].status_code, names["resp"].json()) == (200, names["agent"].agent_id)
    assert "read:data:customers" in capsys.readouterr().out
    assert broker.calls["/v1/token/release"] == 1
    assert not names["app"].validate(names["agent"].access_token).valid
    names["app"].close()


def test_lifecycle(app: AgentWritApp, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {"app": app, "other": app.create_agent("svc", "other", ["read:data:x"])}
    exec(changed("Agent Lifecycle"), names)
    assert names["agent"].agent_id in capsys.readouterr().out
    assert names["delegated"].delegation_chain[0].agent == names["agent"].agent_id


def test_scopes() -> None:
    text = changed("Scope Format")
    calls = re.findall(r"^(scope_is_subset\(.*\)) +# (True|False)\b.*$", text, flags=re.MULTILINE)
    assert len(calls) == 3
    names: dict[str, Any] = {}
    exec(text, names)
    for call, said in calls:
        assert str(eval(call, names)) == said


def test_delegation(app: AgentWritApp, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {"app": app, "agent_b": app.create_agent("pipeline", "b", ["read:data:partition-7"])}
    exec("from agentwrit_guard import validate\n" + changed("Delegation"), names)
    assert "partition-7" in capsys.readouterr().out


def test_errors(app: AgentWritApp, broker: DevBroker, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {"app": app, "scope": ["delete:data:x"]}
    exec(changed("Error Handling"), names)
    assert capsys.readouterr().out.splitlines()[0] == "403"
    with broker.outage():
        exec(changed("Error Handling"), names)
    assert capsys.readouterr().out == "Broker unreachable\n"
