"""Where the recorded vectors are: beside this file, or in the folder that AGENTWRIT_VECTORS names."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ.get("AGENTWRIT_VECTORS") or Path(__file__).parent / "data")


def load(name: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    return data
