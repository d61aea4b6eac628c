"""What is wrong is said before anything is sent, and by the argument's name."""

from __future__ import annotations

from typing import Any

import pytest

from agentwrit_guard.client import Operator, avalidate, validate
from agentwrit_guard.devbroker import AppCredentials, DevBroker
from agentwrit_guard.errors import AgentWritError, ConfigurationError, CryptoError
from tests.client.play import OTHER, Kind, done

GOOD: dict[str, Any] = {"orch_id": "o", "task_id": "t", "requested_scope": ["read:data:1"]}
BAD_SCOPES = [
    "read:data:1",
    b"read:data:1",
    None,
    [],
    (),
    {"read:data:1"},
    ["read:data"],
    ["read:data:1", "read::1"],
    ["read:data:1", 7],
    [""],
]

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            (name, value)
            for name in ("orch_id", "task_id")
            for value in ("", ".", "..", "a/b", "é", "a\n", "a b", None)
        ),
        *(("requested_scope", value) for value in BAD_SCOPES),
        *(("max_ttl", value) for value in (0, -1, 1.5, "300", True, None)),
        *(("label", value) for value in ("", 7)),
    ],
)
async def test_create_agent(
    kind: Kind, broker: DevBroker, credentials: AppCredentials, name: str, value: object
) -> None:
    async with kind.open(broker, credentials) as app:
        with pytest.raises(ConfigurationError, match=name) as caught:
            await done(app.create_agent(**{**GOOD, name: value}))
    assert isinstance(caught.value, AgentWritError)
    assert isinstance(caught.value, ValueError)
    assert not broker.calls


async def test_create_agent_with_another_key(kind: Kind, broker: DevBroker, credentials: AppCredentials) -> None:
    async with kind.open(broker, credentials) as app:
        with pytest.raises(CryptoError, match="private_key"):
            await done(app.create_agent(**GOOD, private_key="pem"))
    assert not broker.calls


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("scope", value) for value in BAD_SCOPES),
        *(("delegate_to", value) for value in ("", None)),
        *(("ttl", value) for value in (0, -1, 1.5, True)),
    ],
)
async def test_delegate(kind: Kind, broker: DevBroker, credentials: AppCredentials, name: str, value: object) -> None:
    given: dict[str, Any] = {"delegate_to": OTHER, "scope": ["read:data:1"], name: value}
    async with kind.open(broker, credentials) as app:
        agent = await done(app.create_agent(**GOOD))
        with pytest.raises(ConfigurationError, match=name):
            await done(agent.delegate(given.pop("delegate_to"), given.pop("scope"), **given))
    assert not broker.calls["/v1/delegate"]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"broker_url": "broker.example"}, "broker_url"),
        ({"broker_url": "http://broker.example"}, "broker_url"),
        ({"broker_url": None}, "broker_url"),
        ({"client_id": ""}, "client_id"),
        ({"client_id": None}, "client_id"),
        ({"client_secret": ""}, "client_secret"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"timeout": float("inf")}, "timeout"),
        ({"timeout": "10"}, "timeout"),
        ({"timeout": True}, "timeout"),
        ({"user_agent": ""}, "user_agent"),
        ({"user_agent": "a\r\nb: c"}, "user_agent"),
        ({"user_agent": "é"}, "user_agent"),
        ({"allow_http": 1}, "allow_http"),
        ({"ca_file": ""}, "ca_file"),
        ({"ca_file": "/nowhere/ca.pem"}, "ca_file"),
        ({"client_cert": "/nowhere/cert.pem"}, "client_cert"),
        ({"client_key": "key.pem"}, "client_key is set without client_cert"),
    ],
)
def test_app(kind: Kind, changes: dict[str, Any], text: str) -> None:
    given = {"broker_url": "https://broker.example", "client_id": "id", "client_secret": "s3cr3t", **changes}
    with pytest.raises(ConfigurationError, match=text) as caught:
        kind.app(**given)
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda it: it.create_app("Upper", ["read:data:1"]), "name"),
        (lambda it: it.create_app("x", ["read:data:1"]), "name"),
        (lambda it: it.create_app(None, ["read:data:1"]), "name"),
        (lambda it: it.create_app("app", "read:data:1"), "scopes"),
        (lambda it: it.create_app("app", []), "scopes"),
        (lambda it: it.create_app("app", ["read:data:1"], token_ttl=59), "token_ttl .* from 60 to 86400"),
        (lambda it: it.create_app("app", ["read:data:1"], token_ttl=86401), "token_ttl"),
        (lambda it: it.revoke("planet", "x"), "level must be one of token, agent, task, chain"),
        (lambda it: it.revoke(["token"], "x"), "level"),
        (lambda it: it.revoke("token", ""), "target"),
    ],
)
def test_operator(broker: DevBroker, call: Any, text: str) -> None:
    with Operator(broker.url, "secret") as operator, pytest.raises(ConfigurationError, match=text):
        call(operator)
    assert not broker.calls


def test_operator_without_a_secret() -> None:
    with pytest.raises(ConfigurationError, match="admin_secret"):
        Operator("https://broker.example", "")


@pytest.mark.parametrize("function", [validate, avalidate])
async def test_validate(function: Any) -> None:
    with pytest.raises(ConfigurationError, match="allow_http"):
        await done(function("http://broker.example", "token"))
    with pytest.raises(ConfigurationError, match="timeout"):
        await done(function("https://broker.example", "token", timeout=-1))
    with pytest.raises(ConfigurationError, match="token must be a string"):
        await done(function("https://broker.example", None))
