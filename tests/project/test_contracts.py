"""Each import contract is shown to notice: the package is copied, one import is planted, and the linter must say so."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import agentwrit_guard

ROOT = Path(__file__).parents[2]
PACKAGE = Path(agentwrit_guard.__file__).parent

PLANTED = {
    "layers": ("core/scopes.py", "import agentwrit_guard.guard"),
    "core": ("core/engine.py", "import asyncio"),
    "contrib": ("contrib/starlette.py", "import agentwrit_guard.contrib.flask"),
    "twin": ("devbroker/__init__.py", "import agentwrit_guard.core.scopes"),
    "twin-wall": ("guard.py", "import agentwrit_guard.devbroker"),
    "http": ("guard.py", "import httpx"),
}


def _contracts() -> list[str]:
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    section = lines[lines.index("[tool.importlinter]") :]
    return [line.split('"')[1] for line in section if line.startswith("id = ")]


def _lint(folder: Path, contract: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--contract", contract]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(PACKAGE, tmp_path / "agentwrit_guard", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_every_contract_has_a_violation_here() -> None:
    assert sorted(_contracts()) == sorted(PLANTED)


@pytest.mark.parametrize("contract", PLANTED)
def test_a_violation_is_noticed(copy: Path, contract: str) -> None:
    kept = _lint(copy, contract)
    assert kept.returncode == 0, kept.stdout + kept.stderr
    name, line = PLANTED[contract]
    file = copy / "agentwrit_guard" / name
    file.write_text(f"{file.read_text(encoding='utf-8')}\n{line}\n", encoding="utf-8")
    broken = _lint(copy, contract)
    assert broken.returncode == 1, broken.stdout + broken.stderr
    assert "BROKEN" in broken.stdout


def test_a_module_without_a_layer_is_noticed(copy: Path) -> None:
    (copy / "agentwrit_guard" / "helpers.py").write_text("", encoding="utf-8")
    assert _lint(copy, "layers").returncode != 0
