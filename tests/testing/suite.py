"""Test suites of other people, run by a pytest of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent


@dataclass(frozen=True)
class Outcome:
    counts: dict[str, int]
    output: str


class Suite:
    """Files in a folder. `run` says how many tests passed, failed or had an error."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, **files: str) -> None:
        """Python files by name; `__` stands for what a name cannot have: `pytest__ini` is `pytest.ini`."""
        for name, text in files.items():
            path = self.folder / (name.replace("__", ".") if "__" in name else f"{name}.py")
            path.write_text(dedent(text), encoding="utf-8")

    def run(self, *arguments: str, **environment: str) -> Outcome:
        """Warnings are errors, so that a suite which is as strict goes on working too."""
        done = self.python("-m", "pytest", "-W", "error", "-p", "no:cacheprovider", *arguments, **environment)
        last = (done.stdout.strip().splitlines() or [""])[-1]
        counts = {
            kind.removesuffix("s"): int(count) for count, kind in re.findall(r"(\d+) (passed|failed|errors?)", last)
        }
        return Outcome(counts, done.stdout + done.stderr)

    def python(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AGENTWRIT_", "PYTEST_"))}
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env={**kept, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
