from __future__ import annotations

import re

import pytest

from agentwrit_guard.cli import report
from agentwrit_guard.cli.play import Outcome
from agentwrit_guard.cli.steps import STEPS

OUTCOMES = [
    Outcome(step, front, ("read:customers:7291", "write:customers:7291"), step.status, step.source, 1.234, ())
    for step in STEPS
    for front in ("FastAPI", "Flask")
]


def shown(capsys: pytest.CaptureFixture[str], *outcomes: Outcome) -> list[str]:
    report.as_table(outcomes, left_out=(), broker="a twin")
    return capsys.readouterr().out.splitlines()


def test_one_row_a_step(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, *OUTCOMES)
    for step in STEPS:
        (line,) = [line for line in lines if line.startswith(f"{step.who}: {step.name} ")]
        assert line.split().count(str(step.status)) == 2
    assert max(map(len, lines)) < 150
    assert f"{len(OUTCOMES)} of {len(OUTCOMES)} answers as expected, with a twin for a broker." in lines


def test_a_wrong_answer_is_marked_and_explained(capsys: pytest.CaptureFixture[str]) -> None:
    good, other = OUTCOMES[:2]
    wrong = Outcome(good.step, "FastAPI", (), 500, "nobody", 1.0, ("answered 500, expected 200",))
    lines = shown(capsys, wrong, other)
    assert any(re.search(r"500 nobody +1\.0! +200 broker +1\.2$", line) for line in lines)
    assert "1 of 2 answers as expected, with a twin for a broker." in lines
    assert lines[-1] == "FastAPI, right scope: answered 500, expected 200"


def test_stacked_in_a_narrow_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    lines = shown(capsys, *OUTCOMES)
    assert max(len(line) for line in lines[: lines.index("")]) <= 80
    start = next(number for number, line in enumerate(lines) if line.startswith("clerk: right scope"))
    assert "read:customers:7291" in lines[start + 1]
