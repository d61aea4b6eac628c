"""What the apps of the README answer, whether they come from a page or from a file of the examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.docs.conftest import World
from tests.docs.web import get, post, talk

BEARER = 'Bearer realm="agentwrit"'


def customers(names: Mapping[str, Any], world: World) -> None:
    """`app` serves /customers/{id} to agents that may read that one."""
    mine, other, bad, none = talk(
        names["app"],
        get("/customers/7291", world.clerk),
        get("/customers/7292", world.clerk),
        get("/customers/7291", spoilt(world.clerk)),
        get("/customers/7291"),
    )
    assert mine.status_code == 200
    assert mine.json()["customer"] == "7291"
    assert mine.json()["agent"].startswith("spiffe://agentwrit.local/agent/orch-1/task-1/")
    assert other.status_code == 403
    assert 'scope="read:customers:7292"' in other.headers["www-authenticate"]
    assert (bad.status_code, none.status_code) == (401, 401)
    assert none.headers["www-authenticate"] == BEARER


def greeting(app: Any, world: World) -> None:
    """`app` greets agents that hold read:greetings:hello with their id."""
    good, other, none = talk(app, get("/", world.clerk), get("/", world.stranger), get("/"))
    assert good.text.startswith("spiffe://agentwrit.local/agent/orch-1/")
    assert (good.status_code, other.status_code, none.status_code) == (200, 403, 401)
    assert other.headers["content-type"] == "application/problem+json"


def humans_and_agents(app: Any, world: World) -> dict[str, tuple[int, str]]:
    """Status and reader of /orders/1 for each row of the README's table."""
    login = post("/login", json={"user": "ann", "password": "correct horse"})
    cases = {
        "the session of its owner": [login, get("/orders/1")],
        "an agent that holds `read:orders:1`": [get("/orders/1", world.clerk)],
        "the session of its owner and such an agent's token": [login, get("/orders/1", world.clerk)],
        "an agent that does not hold the scope": [get("/orders/1", world.stranger)],
        "the session of its owner and a bad agent token": [login, get("/orders/1", spoilt(world.clerk))],
        "neither": [get("/orders/1")],
    }
    found = {}
    for name, asks in cases.items():
        answer = talk(app, *asks)[-1]
        reader = answer.json().get("read_by", "")
        found[name] = answer.status_code, "agent" if reader.startswith("spiffe:") else "user" if reader else ""
    return found


def spoilt(headers: dict[str, str]) -> dict[str, str]:
    """A token of our kind whose signature is wrong."""
    value = headers["Authorization"]
    return {"Authorization": value[:-10] + ("AAAAAAAAAA" if value[-10:] != "AAAAAAAAAA" else "BBBBBBBBBA")}
