"""Which tokens a revocation reaches (contract section 7)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from agentwrit_guard.devbroker import DevBroker
from tests.broker.kit import Client, Holder, claims_of, problem


@dataclass(frozen=True)
class Family:
    """Root A, middle B, leaf C, each with its own token; A delegated to B (ab), B that on to C (bc)."""

    a: Holder
    b: Holder
    c: Holder
    ab: str
    bc: str

    def tokens(self) -> dict[str, str]:
        return {"a": self.a.token, "b": self.b.token, "c": self.c.token, "ab": self.ab, "bc": self.bc}


def family(client: Client) -> Family:
    a, b, c = (client.agent(task_id) for task_id in ("task-a", "task-b", "task-c"))
    ab = client.delegated(a.token, b.agent_id)
    return Family(a, b, c, ab, client.delegated(ab, c.agent_id))


@pytest.mark.parametrize(
    ("level", "target", "dead"),
    [
        pytest.param("token", lambda f: f.a.claims["jti"], {"a"}, id="token: the root's own jti"),
        pytest.param("token", lambda f: claims_of(f.ab)["jti"], {"ab"}, id="token: a delegated jti"),
        pytest.param("agent", lambda f: f.a.agent_id, {"a"}, id="agent: the root"),
        pytest.param("agent", lambda f: f.b.agent_id, {"b", "ab"}, id="agent: the middle"),
        pytest.param("agent", lambda f: f.c.agent_id, {"c", "bc"}, id="agent: the leaf"),
        pytest.param("task", lambda f: "task-a", {"a", "ab", "bc"}, id="task: the root's"),
        pytest.param("task", lambda f: "task-b", {"b"}, id="task: the middle's"),
        pytest.param("chain", lambda f: f.a.agent_id, {"ab", "bc"}, id="chain: the root"),
        pytest.param("chain", lambda f: f.b.agent_id, set(), id="chain: the middle is no root"),
    ],
)
@pytest.mark.parametrize("over_http", [True, False], ids=["POST /v1/revoke", "DevBroker.revoke"])
def test_reach_of_a_revocation(
    client: Client, level: str, target: Callable[[Family], str], dead: set[str], over_http: bool
) -> None:
    tokens = family(client)
    if over_http:
        content = {"level": level, "target": target(tokens)}
        reply = client.post("/v1/revoke", content, client.admin)
        assert reply.json() == {"revoked": True, **content, "count": 1}
    else:
        client.broker.revoke(level, target(tokens))
    assert {name for name, token in tokens.tokens().items() if not client.valid(token)} == dead


def test_chain_revocation_reaches_tokens_that_are_issued_later(client: Client) -> None:
    a, b = client.agent("task-a"), client.agent("task-b")
    client.broker.revoke("chain", a.agent_id)
    assert client.valid(a.token)
    assert not client.valid(client.delegated(a.token, b.agent_id))


@pytest.mark.parametrize("level", ["agent", "task"])
def test_other_revocations_reach_later_tokens_too(client: Client, level: str) -> None:
    a, b = client.agent("task-a"), client.agent("task-b")
    client.broker.revoke(level, b.agent_id if level == "agent" else "task-a")
    if level == "agent":
        assert not client.valid(client.delegated(a.token, b.agent_id))
    else:
        assert not client.valid(client.agent("task-a").token)
    client.broker.restart()
    assert client.valid(a.token) == (level == "agent")


@pytest.mark.parametrize("level", ["token", "agent", "task", "chain"])
@pytest.mark.parametrize("target", ["unknown", "é <&> \u2028 \x7f", "x" * 10_000])
def test_every_target_counts_one(client: Client, level: str, target: str) -> None:
    for _ in range(2):
        reply = client.post("/v1/revoke", {"level": level, "target": target}, client.admin)
        assert list(reply.json().items()) == [("revoked", True), ("level", level), ("target", target), ("count", 1)]


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"level": "", "target": "x"}, "level and target are required"),
        ({"level": "planet", "target": ""}, "level and target are required"),
        ({"level": None, "target": "x"}, "level and target are required"),
        ({"level": "Token", "target": "x"}, "invalid revocation level: Token"),
        ({"level": "token ", "target": "x"}, "invalid revocation level: token "),
        ({"level": "<\n>", "target": "x"}, "invalid revocation level: <\n>"),
        ({"level": ["token"], "target": "x"}, "malformed JSON body"),
    ],
)
def test_revocations_that_are_refused(client: Client, body: dict[str, object], detail: str) -> None:
    assert problem(client.post("/v1/revoke", body, client.admin)) == (400, "invalid_request", detail)


def test_revoked_bearer_is_401_everywhere(client: Client) -> None:
    agent = client.agent()
    client.broker.revoke("agent", agent.agent_id)
    for path in ("/v1/token/renew", "/v1/token/release", "/v1/delegate", "/v1/revoke"):
        assert problem(client.post(path, {}, agent.token)) == (401, "unauthorized", "token verification failed")


def test_unknown_revocation_level_is_a_mistake_of_the_program(broker: DevBroker) -> None:
    with pytest.raises(ValueError, match="planet"):
        broker.revoke("planet", "x")
