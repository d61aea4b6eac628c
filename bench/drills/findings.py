"""What a drill found, and what it is held against."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Findings:
    """`promises` says of each promise, in words with its figure, whether it held."""

    figures: Mapping[str, object]
    promises: Mapping[str, bool] = field(default_factory=dict)

    def report(self, drill: str) -> int:
        """Print everything as JSON, and the machine. The exit status: 1 if a promise was broken."""
        held = {promise: "held" if kept else "BROKEN" for promise, kept in self.promises.items()}
        print(json.dumps({"drill": drill, **self.figures, **({"promises": held} if held else {})}, indent=2))
        print(f"Python {platform.python_version()}, {os.cpu_count()} cores")
        return 0 if all(self.promises.values()) else 1
