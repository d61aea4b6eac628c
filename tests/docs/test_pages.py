"""What pages point at is there, and they name nothing that they must not."""

from __future__ import annotations

import re
import shlex

import pytest

from tests.docs.pages import PAGES, ROOT, prose, read, table

DECISIONS = sorted(page for page in PAGES if page.startswith("docs/decisions/"))
_PATH = re.compile(r"`((?:core|client|contrib|devbroker|tests|docs|examples|src|\.ci)/[\w./-]*|[\w]+\.(?:py|toml))`")


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", prose(page)):
        path, _, anchor = target.partition("#")
        place = (ROOT / page).parent / path if path else ROOT / page
        assert place.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", place.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings], target


@pytest.mark.parametrize("page", PAGES)
def test_files_that_are_named_exist(page: str) -> None:
    package = ROOT / "src" / "agentwrit_guard"
    for name in _PATH.findall(prose(page)):
        assert (ROOT / name).exists() or (package / name).exists(), f"{page} names {name}"


@pytest.mark.parametrize("page", PAGES)
def test_nothing_is_named_that_is_not_the_readers_business(page: str) -> None:
    text = read(page)
    assert not re.search(r"pypi|/home/|localhost:\d|TODO|FIXME", text, re.IGNORECASE)
    assert text.endswith("\n")
    assert not re.search(r"[ \t]$", text, re.MULTILINE)


@pytest.mark.parametrize("page", DECISIONS)
def test_decisions_are_numbered_and_short(page: str) -> None:
    number = DECISIONS.index(page) + 1
    text = read(page)
    assert page.startswith(f"docs/decisions/{number:04}-")
    assert text.startswith(f"# {number}. ")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Decision", "Consequence"]
    assert 15 <= len(text.splitlines()) <= 40


def test_every_promise_has_tests() -> None:
    rows = table("SECURITY.md", "Promises that hold today")
    assert rows
    for promise, command in rows:
        program, *words = shlex.split(command.strip("`"))
        assert (program, words[:2]) == (".venv/bin/python", ["-m", "pytest"]), promise
        for path in words[2:]:
            files = [ROOT / path] if path.endswith(".py") else list((ROOT / path).glob("test_*.py"))
            assert files, path
            assert all("def test_" in file.read_text(encoding="utf-8") for file in files), path


def test_every_figure_has_a_command_that_exists() -> None:
    rows = table("docs/security.md", "What holds")
    assert len(rows) > 10
    for promise, figure, command in rows:
        program, *words = shlex.split(command.strip("`"))
        assert (program, words[0]) == (".venv/bin/python", "-m"), promise
        # mutmut is installed by whoever wants to repeat it: docs/mutation.md says how.
        assert words[1] in ("pytest", "tests.fuzz", "mutmut", "bench.drills"), promise
        assert figure
        for path in words[2:] if words[1] == "pytest" else []:
            assert (ROOT / path).exists(), path


def test_the_readme_starts_with_five_lines() -> None:
    title, empty, *lines = read("README.md").splitlines()[:9]
    assert (title, empty, lines[5]) == ("# agentwrit-guard", "", "")
    assert all(lines[:5])


def test_the_tools_of_contributing_are_those_of_ci() -> None:
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for tool in (
        "ruff check .",
        "ruff format --check .",
        ".venv/bin/mypy",
        "/pyright",
        "--verifytypes",
        "lint-imports",
    ):
        assert tool in ci
        assert tool in read("CONTRIBUTING.md")
