"""The bench: how it reckons, and that the page says what its last whole run found. No test asserts a time."""

from __future__ import annotations

import importlib.metadata
import json
import re
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import SECTIONS, main
from bench.figures import Figure
from bench.page import BEGIN, END, put, tables
from bench.report import Bound, Section, Target

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "performance.md"


def of(*rounds: float, unit: str = "us") -> Figure:
    return Figure("a", unit, rounds)


def results() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "bench" / "results.json").read_text(encoding="utf-8"))
    return found


def test_ratios_and_differences_are_made_round_by_round() -> None:
    slow, fast = of(2, 40, 6), of(1, 20, 3)
    assert slow.over(fast, "ratio") == Figure("ratio", "x", (2, 2, 2))
    assert slow.above(fast, "more") == Figure("more", "us", (1, 20, 3))
    assert (slow.median, slow.spread) == (6, (2, 40))


def test_figures_of_other_rounds_or_units_do_not_mix() -> None:
    with pytest.raises(ValueError, match="same rounds"):
        of(1, 2).over(of(1), "ratio")
    with pytest.raises(ValueError, match="in us"):
        of(1).above(of(1, unit="ms"), "more")
    with pytest.raises(ValueError, match="nothing was measured"):
        of()


@pytest.mark.parametrize("bound, value, met", [
    ("at most", 3, True), ("at most", 2.9, False), ("at least", 3, True), ("at least", 3.1, False), ("under", 3, False),
    ("under", 3.1, True),
])  # fmt: skip
def test_a_target_is_held_against_the_median(bound: Bound, value: float, met: bool) -> None:
    target = Target(of(1, 3, 100), bound, value, why="because")
    assert target.met is met
    assert ("MISSED" in str(target)) is not met
    assert target.as_json()["met"] is met
    assert ("why" in target.as_json()) is not met
    assert any("because" in line for line in Section("s", targets=[target]).lines()) is not met


def test_a_missed_target_is_said_to_be_on_the_page(tmp_path: Path) -> None:
    section = Section("Hits", targets=[Target(of(5), "at most", 3, why="the hash"), Target(of(2), "at most", 3)])
    found = {**results(), "sections": {"warm": section.as_json()}}
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    put(found, page)
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith(f"{END}\nafter\n")
    assert "old" not in text
    assert "missed: the hash" in text
    assert text.count("| met |") == 1


def test_the_page_says_what_the_last_whole_run_found() -> None:
    found = results()
    assert found["effort"] == "full"
    assert tuple(found["sections"]) == SECTIONS
    said = PAGE.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0]
    assert said.strip() == tables(found).strip()


def test_results_are_of_the_rounds_that_they_name() -> None:
    for section in results()["sections"].values():
        series = [figure for sizes in section["series"].values() for figure in sizes.values()]
        for figure in (*section["figures"], *section["targets"], *series):
            assert figure["least"] <= figure["median"] <= figure["most"]
            assert min(figure["rounds"]) == figure["least"]
            assert max(figure["rounds"]) == figure["most"]
        assert all("met" in target for target in section["targets"])


def test_the_pictures_of_the_page_are_there() -> None:
    named = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", PAGE.read_text(encoding="utf-8"))
    assert len(named) == 3
    for name in named:
        assert (PAGE.parent / name).read_text(encoding="utf-8").lstrip().startswith("<?xml")


def test_a_section_that_there_is_none_of_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--only", "wrong"])
    assert ended.value.code == 2
    assert "wrong" in capsys.readouterr().err


def test_without_the_peers_one_line_says_what_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", absent)
    with pytest.raises(SystemExit) as ended:
        main(["--quick"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert ".[bench]" in said
    assert "Traceback" not in said
