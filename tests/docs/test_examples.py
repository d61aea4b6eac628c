"""The examples run, and the apps that the README shows are those of the examples."""

from __future__ import annotations

import ast
import contextlib
import re
from pathlib import Path

import httpx
import pytest

from tests.docs import apps
from tests.docs.conftest import World
from tests.docs.console import Console, free_port, wait_for_port
from tests.docs.pages import ROOT, Block, all_blocks, table
from tests.docs.web import get, post, running, talk

EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.py"))
SHOWN = {
    "fastapi": "fastapi_app.py",
    "starlette": "starlette_app.py",
    "flask": "flask_app.py",
    "asgi": "asgi_wsgi.py",
    "wsgi": "asgi_wsgi.py",
    "agent_or_user": "agent_or_user.py",
}


def example(name: str) -> Block:
    return Block(f"examples/{name}", "python", name, (ROOT / "examples" / name).read_text(encoding="utf-8"), 1)


@pytest.mark.parametrize("name", ["fastapi_app.py", "starlette_app.py", "flask_app.py"])
def test_framework_example(name: str, world: World) -> None:
    with running(example(name)) as names:
        apps.customers(names, world)


def test_plain_examples(world: World) -> None:
    with running(example("asgi_wsgi.py")) as names:
        apps.greeting(names["app"], world)
        apps.greeting(names["application"], world)


def test_agent_or_user_answers_as_the_readme_says(world: World) -> None:
    with running(example("agent_or_user.py")) as names:
        found = apps.humans_and_agents(names["app"], world)
    said = {}
    for request, answer in table("README.md", "Humans and agents on one API"):
        status, _, reader = answer.partition(", as the ")
        said[request] = int(status), reader
    assert found == said


def test_a_bad_agent_token_never_becomes_the_user(world: World) -> None:
    """Whatever is wrong with it: only credentials that are not ours fall through to the login."""
    login = post("/login", json={"user": "ann", "password": "correct horse"})
    token = world.clerk["Authorization"]
    released = world.app.create_agent("orch-1", "task-9", ["read:orders:1"])
    late = released.bearer_header
    released.release()
    with running(example("agent_or_user.py")) as names:
        for value in (
            token[:-4],
            token + ", Bearer x",
            token + " x",
            late["Authorization"],
            token.replace(".", "..", 1),
        ):
            _, answer = talk(names["app"], login, get("/orders/1", {"Authorization": value}))
            assert answer.status_code in (400, 401), value
            assert answer.headers["content-type"] == "application/problem+json"
        for value in ("Basic YTpi", "Bearer opaque"):
            _, answer = talk(names["app"], login, get("/orders/1", {"Authorization": value}))
            assert answer.json()["read_by"] == "ann"


def test_users_of_the_example_see_their_own_orders_only(world: World) -> None:
    login = post("/login", json={"user": "ann", "password": "correct horse"})
    wrong = post("/login", json={"user": "ann", "password": "wrong"})
    nobody = post("/login", json={"user": "eve", "password": "correct horse"})
    with running(example("agent_or_user.py")) as names:
        refused, unknown, before, _, mine, other, refund = talk(
            names["app"], wrong, nobody, get("/orders/1"), login, get("/orders/1"), get("/orders/2"),
            post("/orders/1/refund"),
        )  # fmt: skip
        assert [a.status_code for a in (refused, unknown, before, mine, other)] == [403, 403, 401, 200, 403]
        # A route that requires a scope is for agents, whoever is logged in.
        assert refund.status_code == 401
        assert talk(names["app"], post("/orders/1/refund", world.clerk))[0].status_code == 403
        assert talk(names["app"], post("/orders/1/refund", world.agent("refund:orders:1")))[0].status_code == 200


def test_examples_run_as_they_say(world: World, tmp_path: Path) -> None:
    """Each command in the head of an example serves it, and nobody gets in without a token."""
    console = Console(ROOT, tmp_path, {})
    ports = {"uvicorn": "--port", "flask": "--port", "gunicorn": "--bind"}
    with contextlib.ExitStack() as stack:
        served = []
        for name in EXAMPLES:
            head = ast.get_docstring(ast.parse(example(name).text)) or ""
            commands = re.findall(r"`(\w+ [^`]+)`", head)
            assert commands, name
            for command in commands:
                port = free_port()
                option = ports[command.partition(" ")[0]]
                where = f"127.0.0.1:{port}" if option == "--bind" else str(port)
                served.append((stack.enter_context(console.started(f"{command} {option} {where}")), port))
        for process, port in served:
            wait_for_port(process, port)
            answer = httpx.get(f"http://127.0.0.1:{port}/orders/1", trust_env=False)
            assert answer.status_code == 401, answer.text
            assert answer.headers["www-authenticate"] == apps.BEARER
    assert len(served) == len(EXAMPLES) + 1


def test_every_example_is_tested() -> None:
    assert set(EXAMPLES) == set(SHOWN.values())


@pytest.mark.parametrize("name", sorted(SHOWN))
def test_the_readme_shows_the_example(name: str) -> None:
    """Below the imports, each statement of the block is one of the example, to the letter."""
    whole = statements(example(SHOWN[name]).text)
    block = all_blocks()[f"README.md:{name}"].text
    assert [text for text in statements(block) if text not in whole] == []


def statements(text: str) -> list[str]:
    nodes = [node for node in ast.parse(text).body if not isinstance(node, (ast.Import, ast.ImportFrom))]
    found = []
    for node in nodes:
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
        found.append("\n".join(text.splitlines()[first - 1 : node.end_lineno]))
    return found
