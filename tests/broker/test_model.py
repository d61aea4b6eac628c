"""The twin agrees with a model of the contract on every token of any history.

The model (`tests.broker.model`) was written from the contract without a look at the twin. So what both agree on is what
the contract says, or two readers have got it wrong in the same way.
"""

from __future__ import annotations

import ast
import io
import os
import tokenize
from pathlib import Path

from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.broker import model
from tests.broker.histories import Histories


def test_twin_and_model_agree_on_every_history() -> None:
    # In CI always the same histories, so that a failure is of the change at hand, and at once: shrinking replays a run
    # for minutes. At a desk other histories each time, and those that failed first.
    in_ci = bool(os.environ.get("CI"))
    chosen = settings(
        max_examples=60,
        stateful_step_count=18,
        deadline=None,
        derandomize=in_ci,
        phases=[Phase.generate] if in_ci else [Phase.reuse, Phase.generate, Phase.shrink],
        report_multiple_bugs=False,
    )
    run_state_machine_as_test(Histories, settings=chosen)


def lines_of_code(text: str) -> int:
    """Lines that are not blank, comment or docstring."""
    blank = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    lines = {
        line
        for part in tokenize.generate_tokens(io.StringIO(text).readline)
        if part.type not in blank
        for line in range(part.start[0], part.end[0] + 1)
    }
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            lines -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def test_model_is_read_in_one_go_and_knows_nothing_of_the_twin() -> None:
    text = Path(model.__file__).read_text(encoding="utf-8")
    assert lines_of_code(text) <= 60
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, (ast.Import, ast.ImportFrom))]
    imported = {node.module if isinstance(node, ast.ImportFrom) else node.names[0].name for node in nodes}
    assert imported == {"__future__", "collections.abc", "dataclasses"}
