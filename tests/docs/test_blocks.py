"""Every code block of every page is run, or compared with what really happens. None is left out."""

from __future__ import annotations

import ast
import dataclasses
import json
import os
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from agentwrit_guard import guard as guard_module
from agentwrit_guard import jsonlog
from agentwrit_guard.cli.servers import uvicorn_serving
from agentwrit_guard.core.decisions import DecisionEvent
from tests.docs import apps, metrics, records
from tests.docs.conftest import World
from tests.docs.console import SCRIPTS, Console, wait_for_port
from tests.docs.pages import PAGES, ROOT, Block, all_blocks, blocks, read, table
from tests.docs.web import get, running, talk

BLOCKS = all_blocks()
Runner = Callable[[Block, World, Path], None]


def _customers(block: Block, world: World, _: Path) -> None:
    with running(block) as names:
        apps.customers(names, world)


def _greeting(name: str) -> Runner:
    def run(block: Block, world: World, _: Path) -> None:
        with running(block) as names:
            apps.greeting(names[name], world)

    return run


def _scopes(block: Block, world: World, _: Path) -> None:
    keeper = world.agent("delete:customers:7291", "read:customers:*")
    passed_on = world.app.create_agent("orch-3", "task-3", ["delete:customers:7291"])
    heir = world.app.create_agent("orch-4", "task-4", ["read:orders:1"])
    delegated = passed_on.delegate(heir.agent_id, ["delete:customers:7291"]).bearer_header
    with running(block) as names:
        asked = world.broker.calls["/v1/token/validate"]
        listed, everybody, found, hidden, report, no_report, gone, not_mine, not_direct = talk(
            names["app"],
            get("/customers", world.clerk),
            get("/customers", keeper),
            get("/orders?customer=7291", world.clerk),
            get("/orders?customer=7292", world.clerk),
            get("/report", keeper),
            get("/report", world.clerk),
            ("DELETE", "/customers/7291", {"headers": keeper}),
            ("DELETE", "/customers/7291", {"headers": world.clerk}),
            ("DELETE", "/customers/7291", {"headers": delegated}),
        )
        assert (listed.json(), everybody.json()) == (["Ada"], ["Ada", "Grace"])
        assert (found.status_code, hidden.status_code) == (200, 403)
        assert (report.status_code, no_report.status_code) == (200, 403)
        assert (gone.status_code, not_mine.status_code, not_direct.status_code) == (200, 403, 403)
        # Three tokens, and the deletes ask anew: two where the token was known, and the third's at its first sight.
        assert world.broker.calls["/v1/token/validate"] - asked == 6


def _agent_or_user(block: Block, world: World, _: Path) -> None:
    """A part of the example: put into its place, it must make the same app."""
    example = (ROOT / "examples" / "agent_or_user.py").read_text(encoding="utf-8")
    assert block.text in example
    whole = Block("examples/agent_or_user.py", "python", block.name, example, 1)
    with running(whole) as names:
        assert apps.humans_and_agents(names["app"], world)["neither"] == (401, "")


def _as_caller(block: Block, world: World, _: Path) -> None:
    """A page for those who call an API: the customers' app stands for the one that the block names."""
    with running(BLOCKS["README.md:fastapi"]) as names, uvicorn_serving(names["app"]) as url:
        assert "https://api.example" in block.text
        text = block.text.replace("https://api.example", url)
        with running(Block(block.page, block.language, block.name, text, block.line)) as said:
            assert said["answer"].status_code == 200
            assert said["answer"].json()["agent"] == said["agent"].agent_id


def _at_once(block: Block, world: World, _: Path) -> None:
    world.broker.calls.clear()
    with running(block):
        requests = dict(world.broker.calls)
    assert requests.pop("/v1/token/release") == 1
    assert sum(requests.values()) == 61


def _depth(block: Block, world: World, _: Path) -> None:
    root, *heirs = (world.app.create_agent("o", f"t{n}", ["read:customers:*", "delete:customers:1"]) for n in range(4))
    first = root.delegate(heirs[0].agent_id, ["read:customers:1", "delete:customers:1"])
    second = first.delegate(heirs[1].agent_id, ["read:customers:1"])
    third = second.delegate(heirs[2].agent_id, ["read:customers:1"])
    with running(block) as names:
        answers = talk(
            names["app"],
            *(get("/customers/1", holder.bearer_header) for holder in (root, first, second, third)),
            *(("DELETE", "/customers/1", {"headers": holder.bearer_header}) for holder in (root, first)),
        )
    assert [answer.status_code for answer in answers] == [200, 200, 200, 403, 200, 403]
    assert [answer.json() for answer in answers[:3]] == [[], [root.agent_id], [root.agent_id, heirs[0].agent_id]]


def _just_run(block: Block, world: World, _: Path) -> None:
    with running(block):
        pass


def _shadow(block: Block, world: World, _: Path) -> None:
    shown = block.text.replace("2027-03-31", "9999-12-31")
    assert shown != block.text
    with running(dataclasses.replace(block, text=shown)) as names:
        mine, other = get("/customers/7291", world.clerk), get("/customers/1", world.clerk)
        answers = talk(names["app"], mine, other, get("/customers/7291"))
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    agents = [answer.json()["agent"].partition(" ")[0] for answer in answers]
    assert agents[0].startswith("spiffe://")
    assert agents[1:] == ["somebody", "somebody"]


def _deny_file(block: Block, world: World, scratch: Path) -> None:
    file = scratch / "deny.txt"
    text = block.text.replace("/tmp/agentwrit-deny.txt", str(file)).replace(".venv/bin/", f"{SCRIPTS}/")
    said = Console(ROOT, scratch, {}).run(text)
    assert [line.partition(":")[0] for line in said.splitlines()] == ["denied", "no longer denied"]
    assert file.read_text(encoding="utf-8") == "# nobody is denied\n"


def _demo(block: Block, world: World, scratch: Path) -> None:
    """Set-up and demo in one line: the set-up is checked by its parts, the demo is run."""
    make, install, command = _one_line(block)
    _check_set_up(make, install, "all")
    program, *rest = shlex.split(command)
    assert program.startswith(".venv/bin/")
    plain = dict.fromkeys(("AGENTWRIT_BROKER_URL", "AGENTWRIT_CLIENT_ID", "AGENTWRIT_CLIENT_SECRET"), "")
    said = Console(ROOT, scratch, plain).run(shlex.join([str(SCRIPTS / program[10:]), *rest]))
    good, of = re.findall(r"(\d+) of (\d+) answers as expected", said)[0]
    assert good == of != "0"


def _tests(block: Block, world: World, scratch: Path) -> None:
    """Not run, because it would run this test: its parts are checked."""
    make, install, command = _one_line(block)
    _check_set_up(make, install, "dev")
    assert command == ".venv/bin/coverage run -m pytest"
    assert Console(ROOT, scratch, {}).run(f"{SCRIPTS / 'coverage'} run --help").startswith("Usage: coverage run")
    assert Console(ROOT, scratch, {}).run(f"{SCRIPTS / 'python'} -m pytest --version").startswith("pytest ")
    # The CI script takes the command from the README: what it looks for has to find this line and no other.
    wanted = re.search(r"grep -E '([^']+)' README\.md", (ROOT / ".ci" / "run").read_text(encoding="utf-8"))
    assert wanted is not None
    assert [line for line in read("README.md").splitlines() if re.search(wanted.group(1), line)] == [block.text.strip()]


def _one_line(block: Block) -> list[str]:
    lines = block.text.splitlines()
    assert len(lines) == 1
    return lines[0].split(" && ")


def _check_set_up(make: str, install: str, extra: str) -> None:
    assert make == "python3 -m venv .venv"
    assert install == f".venv/bin/pip install -q -e '.[{extra}]'"
    assert re.search(rf"^{extra} = \[", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)


def _session(block: Block, world: World, scratch: Path) -> None:
    """The three terminals of the README, and the answer that it shows. One run stands for all four blocks."""
    broker, serve, ask, refusal = (BLOCKS[f"README.md:{name}"].text for name in ("broker", "serve", "ask", "refusal"))
    names = ("AGENTWRIT_BROKER_URL", "AGENTWRIT_CLIENT_ID", "AGENTWRIT_CLIENT_SECRET")
    console = Console(ROOT, scratch, dict.fromkeys(names, ""))
    console.map_port("8080")
    api = console.map_port("8000")
    with console.started(broker) as first:
        assert first.stdout is not None
        for line in iter(first.stdout.readline, ""):
            if line.startswith("export "):
                name, _, value = line.removeprefix("export ").strip().partition("=")
                console.environment[name] = shlex.split(value)[0]
            if line.startswith("export AGENTWRIT_CLIENT_SECRET"):
                break
        with console.started(serve) as second:
            wait_for_port(second, api)
            said = console.run(ask)
    good, refused = said[: said.rindex("HTTP/1.1 ")], said[said.rindex("HTTP/1.1 ") :]
    assert good.startswith("HTTP/1.1 200 OK")
    assert '"customer":"7291"' in good
    assert _plain(refused) == _plain(refusal)


def _plain(answer: str) -> str:
    left_out = re.compile(r"^(date|server|connection|x-request-id): .*\n", re.MULTILINE | re.IGNORECASE)
    return left_out.sub("", answer).strip()


def _test_page(block: Block, world: World, scratch: Path) -> None:
    """The suite of the page, by a pytest of its own. One run stands for the blocks that belong together."""
    page = {name: BLOCKS[f"docs/test-your-api.md:{name}"].text for name in ("app", "existing", "settings", "conftest")}
    tests = {f"test_{name}": BLOCKS[f"docs/test-your-api.md:{name}"].text for name in ("agents", "real", "unittest")}
    before = {"customers": page["app"], "test_existing": page["existing"], "pytest.ini": page["settings"]}
    assert "assert 401" in _pytest(
        scratch / "before", {**before, "test_existing": _STATUS + page["existing"]}, "2 failed"
    )
    _pytest(scratch / "after", {**before, "conftest": page["conftest"], **tests}, "6 passed")
    off = {**before, "conftest": f'import os\n\nos.environ["AGENTWRIT_BROKER_URL"] = "{URL}"\n' + page["conftest"]}
    off["pytest.ini"] = "[pytest]\n"
    assert "ConfigurationError" in _pytest(scratch / "off", off, "1 error", "-p", "no:agentwrit_guard")


def _test_page_of_flask(block: Block, world: World, scratch: Path) -> None:
    suite = {
        "customers": BLOCKS["README.md:flask"].text,
        "conftest": block.text,
        "pytest.ini": BLOCKS["docs/test-your-api.md:settings"].text,
        "test_existing": _STATUS.replace("TestClient(app)", "app.test_client()").replace(_CLIENT, ""),
    }
    _pytest(scratch / "flask", suite, "1 passed")


URL = "http://127.0.0.1:9"
_CLIENT = "from fastapi.testclient import TestClient\n"
_STATUS = f"""{_CLIENT}from customers import app


def test_status():
    assert TestClient(app).get("/customers/7291").status_code == 200


"""


def _pytest(folder: Path, files: dict[str, str], expected: str, *arguments: str) -> str:
    """What a suite prints, which must end as expected. Warnings are errors in it."""
    folder.mkdir()
    for name, text in files.items():
        (folder / (name if "." in name else f"{name}.py")).write_text(text, encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AGENTWRIT_")}
    command = [str(SCRIPTS / "python"), "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert re.search(rf"^{expected} in ", done.stdout, re.MULTILINE), done.stdout + done.stderr
    return done.stdout


def _records(block: Block, world: World, scratch: Path) -> None:
    """The handler that the page sets up, in a process of its own: logging is everybody's."""
    app = "\nfrom agentwrit_guard import Guard, wsgi\napp = wsgi.GuardMiddleware(lambda *_: [], Guard.from_env())\n"
    asked = 'list(app({"REQUEST_METHOD": "GET", "PATH_INFO": "/orders", "QUERY_STRING": ""}, lambda *_: None))\n'
    file = scratch / "app.py"
    file.write_text(block.text + app + asked, encoding="utf-8")
    said = Console(ROOT, scratch, {}).run(f"{SCRIPTS / 'python'} {file}")
    (found,) = jsonlog.read(said.splitlines())
    assert (found.event.reason, found.event.path) == ("no_credentials", "/orders")


def _record(block: Block, world: World, scratch: Path) -> None:
    assert json.loads(block.text) == json.loads(records.shown())
    named = [name for row in table("docs/decision-records.md", "A record") for name in re.findall(r"`(\w+)`", row[0])]
    assert named == [field.name for field in dataclasses.fields(DecisionEvent)]


def _report(block: Block, world: World, scratch: Path) -> None:
    """The command on a log, and what it prints: one run stands for both blocks."""
    command, output = (BLOCKS[f"docs/decision-records.md:{name}"].text for name in ("report", "output"))
    file = scratch / "decisions.jsonl"
    file.write_text("".join(f"{line}\n" for line in records.log()), encoding="utf-8")
    said = Console(ROOT, scratch, {}).run(f"{command.strip().replace(file.name, str(file))} || test $? = 1")
    assert said == output


def _metrics(block: Block, world: World, scratch: Path) -> None:
    """The app of the page, and what it says of the app's metrics: one run stands for three blocks."""
    text = {name: BLOCKS[f"docs/metrics.md:{name}"].text for name in ("scrape", "alerts")}
    scrape = metrics.scraped(BLOCKS["docs/metrics.md:prometheus"], world)
    assert metrics.shown(scrape) == sorted(text["scrape"].splitlines())
    metrics.check_names(scrape)
    metrics.check_alerts(text["alerts"], scrape)
    metrics.check_stats()


def _outage(block: Block, world: World, scratch: Path) -> None:
    assert metrics.outage(world) == block.text


def _tools(block: Block, world: World, scratch: Path) -> None:
    """Commands of developers: too slow to run here, so each line must name a tool that is installed and files that
    exist."""
    for line in block.text.splitlines():
        words = [word for word in shlex.split(line, comments=True) if not re.match(r"[A-Z_]+=", word)]
        program, *rest = words
        assert program.startswith(".venv/bin/"), line
        assert (SCRIPTS / program.removeprefix(".venv/bin/")).exists(), line
        if "-m" in rest:
            assert rest[rest.index("-m") + 1] in ("pytest", "agentwrit_guard", "tests.fuzz", "bench"), line
        for word in rest:
            if ("/" in word or word.endswith(".py")) and "://" not in word:
                assert (ROOT / word).exists(), f"{line}: {word} does not exist"


def _walk(block: Block, world: World, scratch: Path) -> None:
    """The walk of a request names functions of the code: `module.name` and `module.Class.name` must be there."""
    named = re.findall(r"^ *([a-z]+(?:\.[A-Za-z_]+)+)", block.text, re.MULTILINE)
    assert len(named) > 10
    for name in named:
        module, *path = name.split(".")
        files = [path for path in (ROOT / "src" / "agentwrit_guard").rglob(f"{module}.py") if path.parent.name != "cli"]
        assert any(_defines(file, path) for file in files), f"{name} is nowhere"


def _defines(file: Path, path: list[str]) -> bool:
    body: list[ast.stmt] = ast.parse(file.read_text(encoding="utf-8")).body
    for name in path:
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        found = [node for node in body if isinstance(node, kinds) and node.name == name]
        if not found:
            return False
        body = found[0].body
    return True


def _layers(block: Block, world: World, scratch: Path) -> None:
    """Each file of the package stands in exactly one line of the layout, and each line names one that exists."""
    named = [name for line in block.text.splitlines() for name in line.split("  ")[0].split()]
    package = ROOT / "src" / "agentwrit_guard"
    top = {path.name for path in package.glob("*.py")} | {
        f"{path.name}/" for path in package.iterdir() if path.is_dir() and any(path.glob("*.py"))
    }
    assert sorted(named) == sorted(top)
    layers = re.search(r"^layers = \[\n(.*?)^\]", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M | re.S)
    assert layers is not None
    order = [name for name in re.findall(r"\w+", layers.group(1)) if not name.startswith("_")]
    assert [re.sub(r"\.py|/", "", name) for name in named if not name.startswith("_")] == order


RUNNERS: dict[str, Runner] = {
    "README.md:demo": _demo,
    "README.md:tests": _tests,
    "README.md:fastapi": _customers,
    "README.md:starlette": _customers,
    "README.md:flask": _customers,
    "README.md:asgi": _greeting("app"),
    "README.md:wsgi": _greeting("application"),
    "README.md:broker": _session,
    "README.md:serve": _session,
    "README.md:ask": _session,
    "README.md:refusal": _session,
    "README.md:scopes": _scopes,
    "README.md:revoke": _just_run,
    "README.md:agent_or_user": _agent_or_user,
    "CONTRIBUTING.md:set-up": _tools,
    "CONTRIBUTING.md:tests": _tools,
    "CONTRIBUTING.md:tools": _tools,
    "CONTRIBUTING.md:vectors": _tools,
    "CONTRIBUTING.md:broker": _tools,
    "CONTRIBUTING.md:fuzz": _tools,
    "CONTRIBUTING.md:settings": _tools,
    "CONTRIBUTING.md:bench": _tools,
    "docs/performance.md:bench": _tools,
    "docs/architecture.md:layers": _layers,
    "docs/architecture.md:walk": _walk,
    "docs/architecture.md:flow": _just_run,
    "docs/settings.md:spellings": _just_run,
    "docs/mint-an-agent.md:first": _just_run,
    "docs/mint-an-agent.md:auth": _as_caller,
    "docs/mint-an-agent.md:renew": _just_run,
    "docs/mint-an-agent.md:async": _at_once,
    "docs/mint-an-agent.md:wait": _just_run,
    "docs/mint-an-agent.md:errors": _just_run,
    "docs/delegate.md:narrow": _just_run,
    "docs/delegate.md:hops": _just_run,
    "docs/delegate.md:rules": _depth,
    "docs/operations.md:shadow": _shadow,
    "docs/operations.md:deny": _just_run,
    "docs/operations.md:deny-file": _deny_file,
    "docs/metrics.md:stats": _just_run,
    "docs/metrics.md:prometheus": _metrics,
    "docs/metrics.md:scrape": _metrics,
    "docs/metrics.md:opentelemetry": _just_run,
    "docs/metrics.md:watch": _just_run,
    "docs/metrics.md:outage": _outage,
    "docs/metrics.md:alerts": _metrics,
    "docs/decision-records.md:setup": _records,
    "docs/decision-records.md:record": _record,
    "docs/decision-records.md:report": _report,
    "docs/decision-records.md:output": _report,
    "docs/test-your-api.md:app": _test_page,
    "docs/test-your-api.md:existing": _test_page,
    "docs/test-your-api.md:settings": _test_page,
    "docs/test-your-api.md:conftest": _test_page,
    "docs/test-your-api.md:flask": _test_page_of_flask,
    "docs/test-your-api.md:agents": _test_page,
    "docs/test-your-api.md:real": _test_page,
    "docs/test-your-api.md:unittest": _test_page,
}
ONCE: dict[Runner, str] = {
    _session: "README.md:ask",
    _test_page: "docs/test-your-api.md:conftest",
    _report: "docs/decision-records.md:report",
    _metrics: "docs/metrics.md:prometheus",
}


def test_every_block_has_a_runner_and_every_runner_a_block() -> None:
    assert set(BLOCKS) == set(RUNNERS)


def test_names_of_blocks_are_not_used_twice() -> None:
    named = [block.key for page in PAGES for block in blocks(page)]
    assert sorted(named) == sorted(set(named))
    assert all(block.name for page in PAGES for block in blocks(page))


@pytest.mark.parametrize("key", [key for key in sorted(RUNNERS) if ONCE.get(RUNNERS[key], key) == key])
def test_block(key: str, world: World, tmp_path: Path) -> None:
    RUNNERS[key](BLOCKS[key], world, tmp_path)


@pytest.mark.parametrize("name", ["fastapi", "starlette", "flask", "asgi", "wsgi"])
def test_apps_of_the_readme_are_ten_lines(name: str) -> None:
    assert len([line for line in BLOCKS[f"README.md:{name}"].text.splitlines() if line.strip()]) <= 10


def test_the_default_that_the_readme_names_is_the_default() -> None:
    assert guard_module.Guard("https://broker.example").settings.cache_ttl == 5.0
