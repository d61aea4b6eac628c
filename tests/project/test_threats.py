"""The manifest: every id of the catalogue has a test that is named after it, and no name is made up.

A test whose name holds `left_for_later` says what is missing and counts as no case.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.project.threat_ids import ALL, LATER

ROOT = Path(__file__).parents[2]
GROUPS = "CFG|FA|[HJSDCBRLOX]"
# `test_cfg_01a_...` and `test_b_08_cfg_02_...` in a function's name, `CFG-01a` in a parameter's id.
IN_FUNCTION = re.compile(rf"(?<=_)({GROUPS})_(\d\d[a-z]?)(?=_|$)", re.IGNORECASE)
IN_PARAMETER = re.compile(rf"(?<![A-Za-z0-9])({GROUPS})-(\d\d[a-z]?)(?![A-Za-z0-9])")

# What this file says of an id shows nothing of it.
MANIFEST = re.compile(r"test_threats\.py::test_(an_id_|names_)")


def named_in(node_id: str) -> set[str]:
    """The ids that a test's name holds, by their form; whether they exist is another question."""
    path, _, parameter = node_id.partition("[")
    function = path.rpartition("::")[2]
    if "left_for_later" in function:
        return set()
    return {f"{group.upper()}-{number}" for group, number in IN_FUNCTION.findall(function)} | {
        f"{group}-{number}" for group, number in IN_PARAMETER.findall(parameter)
    }


@pytest.fixture(scope="module")
def cases(request: pytest.FixtureRequest) -> dict[str, list[str]]:
    """Node ids of the suite by the ids they name, without those of this file."""
    found: dict[str, list[str]] = {}
    for node_id in _collected(request.session):
        if not MANIFEST.search(node_id):
            for name in named_in(node_id):
                found.setdefault(name, []).append(node_id)
    return found


def _collected(session: pytest.Session) -> Iterable[str]:
    """The whole suite: this run's own items if it is a run of everything, else collected by another one."""
    here = {item.path for item in session.items}
    config = session.config
    narrowed = config.getoption("keyword") or config.getoption("markexpr") or config.getoption("deselect")
    if not narrowed and all(path in here for path in (ROOT / "tests").rglob("test_*.py")):
        return [item.nodeid for item in session.items]
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "tests"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-2000:]
    return [line for line in run.stdout.splitlines() if "::" in line]


@pytest.mark.parametrize("name", [name for name in ALL if name not in LATER])
def test_an_id_has_a_case(cases: dict[str, list[str]], name: str) -> None:
    if name not in cases:
        pytest.fail(f"no test names {name}", pytrace=False)


@pytest.mark.parametrize("name", LATER)
def test_an_id_is_left_for_later(cases: dict[str, list[str]], name: str) -> None:
    if name in cases:
        pytest.fail(f"{name} has become real, so it leaves LATER: {cases[name][0]}", pytrace=False)
    pytest.skip(f"{name}: {LATER[name]}")


def test_no_test_names_an_id_that_does_not_exist(cases: dict[str, list[str]]) -> None:
    assert {name: nodes[:3] for name, nodes in cases.items() if name not in ALL} == {}


def test_what_is_left_for_later_exists() -> None:
    assert set(LATER) <= set(ALL)
    assert len(ALL) == len(set(ALL))


SECURITY_PAGE = ROOT / "docs" / "security.md"


def test_o_03_that_timing_tells_of_recent_use_is_published() -> None:
    """A hit is faster than a miss, and that is accepted: the page of honest limits says so."""
    text = " ".join(SECURITY_PAGE.read_text(encoding="utf-8").lower().split())
    assert re.search(r"[^.]*\b(timing|time)\b[^.]*\brecently\b[^.]*\.", text)


@pytest.mark.parametrize(
    "node_id, names",
    [
        ("tests/a/test_b.py::test_h_06_twice", {"H-06"}),
        ("tests/a/test_b.py::test_b_08_cfg_02_one_form", {"B-08", "CFG-02"}),
        ("tests/a/test_b.py::test_cfg_01a_files", {"CFG-01a"}),
        ("tests/a/test_b.py::test_what[asgi-H-01 no credentials-/me]", {"H-01"}),
        ("tests/a/test_b.py::test_r_10_what[S-11a a::b]", {"R-10", "S-11a"}),
        ("tests/a/test_h_06.py::test_what[x-10]", set()),
        ("tests/a/test_b.py::test_what[SHA-01-ES-256-H-1]", set()),
        ("tests/a/test_b.py::test_what_is_left_for_later[B-19-none]", set()),
    ],
)
def test_names_are_read_from_functions_and_parameters(node_id: str, names: set[str]) -> None:
    assert named_in(node_id) == names
