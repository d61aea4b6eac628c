"""The demo's outcomes as one table, or as one JSON document."""

from __future__ import annotations

import itertools
import json
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from agentwrit_guard.cli.play import Outcome

# A row's cells, each of one or more lines; the first row is the header.
Rows = list[list[str]]

# Where there is no terminal: more than the table needs.
_ROOM: Final = 200
_GAP: Final = 3
_WRONG: Final = "!"


def as_json(outcomes: Sequence[Outcome], *, left_out: Sequence[str], broker: str) -> None:
    """The document on stdout; what it has no place for on stderr."""
    steps = [
        {
            "step": outcome.step.name,
            "front": outcome.front.lower(),
            "request": outcome.step.request,
            "required": [outcome.step.required] if outcome.step.required else [],
            "held": list(outcome.held),
            "expected": outcome.step.status,
            "status": outcome.status,
            "source": outcome.source,
            "ms": round(outcome.milliseconds, 2),
            "ok": outcome.ok,
        }
        for outcome in outcomes
    ]
    print(json.dumps({"ok": all(outcome.ok for outcome in outcomes), "steps": steps}, indent=2))
    for line in _remarks(outcomes, left_out):
        print(f"agentwrit-guard: {line}", file=sys.stderr)


def as_table(outcomes: Sequence[Outcome], *, left_out: Sequence[str], broker: str) -> None:
    """One row a step, with the answers of all fronts side by side."""
    room = shutil.get_terminal_size((_ROOM, 0)).columns if sys.stdout.isatty() else _ROOM
    rows = _rows(outcomes, stacked=False)
    if sum(_widths(rows)) + _GAP * len(rows[0]) > room:
        rows = _rows(outcomes, stacked=True)
    _print_rows(rows, room)
    good = sum(outcome.ok for outcome in outcomes)
    print(f"{good} of {len(outcomes)} answers as expected, with {broker} for a broker.")
    print("from: broker, asked for this request; cache, asked a moment ago; guard, nobody had to be asked.")
    for line in _remarks(outcomes, left_out):
        print(line)


def _rows(outcomes: Sequence[Outcome], *, stacked: bool) -> Rows:
    """`stacked` puts requests below who makes them, and what is held below what is required."""
    fronts = list(dict.fromkeys(outcome.front for outcome in outcomes))
    described = {"": ["who", "request", "required", "held"]}
    answers = {"": [f"{front}\nanswer, from, ms" for front in fronts]}
    for outcome in outcomes:
        step = outcome.step
        who, required, held = f"{step.who}: {step.name}", step.required or "(any agent)", "\n".join(outcome.held) or "-"
        described[step.name] = [who, step.request, required, held]
        mark = "" if outcome.ok else _WRONG
        answer = f"{outcome.status} {outcome.source:<6} {outcome.milliseconds:>5.1f}{mark}"
        answers.setdefault(step.name, []).append(answer)
    if stacked:
        described = {name: ["\n".join(cells[:2]), "\n".join(cells[2:])] for name, cells in described.items()}
    else:
        # The answers' header has two lines: the others stand on the second.
        described[""] = [f"\n{cell}" for cell in described[""]]
    return [described[name] + answers[name] for name in described]


def _remarks(outcomes: Sequence[Outcome], left_out: Sequence[str]) -> list[str]:
    remarks = [f"left out, for want of an admin secret: {', '.join(left_out)}"] if left_out else []
    for outcome in outcomes:
        if not outcome.ok:
            remarks.append(f"{outcome.front}, {outcome.step.name}: {'; '.join(outcome.faults)}")
    return remarks


def _print_rows(rows: Rows, room: int) -> None:
    try:
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ModuleNotFoundError:
        _print_plain(rows)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column, cell in enumerate(rows[0]):
        # Scopes and answers are of no use when broken; the first column gives way.
        table.add_column(cell, no_wrap=column > 0)
    two_lines = any("\n" in row[0] for row in rows[1:])
    for row in rows[1:]:
        wrong = any(cell.endswith(_WRONG) for cell in row)
        table.add_row(*(Text(cell) for cell in row), style="bold red" if wrong else "", end_section=two_lines)
    Console(width=room).print(table)
    print()


def _print_plain(rows: Rows) -> None:
    widths = _widths(rows)
    for row in rows:
        for line in itertools.zip_longest(*(cell.split("\n") for cell in row), fillvalue=""):
            cells = (text.ljust(width) for text, width in zip(line, widths, strict=True))
            print((" " * _GAP).join(cells).rstrip())
    print()


def _widths(rows: Rows) -> list[int]:
    columns = zip(*rows, strict=True)
    return [max(len(line) for cell in column for line in cell.split("\n")) for column in columns]
