"""`python -m bench.drills` as a process, and what it printed."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "bench.drills")


@dataclass(frozen=True)
class Run:
    status: int
    output: str
    errors: str

    @property
    def figures(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.output.rpartition("Python ")[0])
        return found

    @property
    def broken(self) -> set[str]:
        """Promises that were not held. The exit status says whether there are any."""
        promises = self.figures["promises"]
        assert set(promises.values()) <= {"held", "BROKEN"}
        broken = {promise for promise, told in promises.items() if told == "BROKEN"}
        assert self.status == bool(broken), self.errors
        return broken


def drill(*words: str) -> Run:
    done = subprocess.run([*COMMAND, *words], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    return Run(done.returncode, done.stdout, done.stderr)
