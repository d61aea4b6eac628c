"""Promise 1 as a test: nothing in core/ waits, reads a clock, or knows a network, a framework or a cipher."""

from __future__ import annotations

import ast
import pathlib

import pytest

import agentwrit_guard.core

FILES = sorted(pathlib.Path(next(iter(agentwrit_guard.core.__path__))).rglob("*.py"))
FORBIDDEN = {
    "asyncio",
    "anyio",
    "httpx",
    "httpcore",
    "socket",
    "ssl",
    "cryptography",
    "starlette",
    "time",
    "select",
    "trio",
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_core_never_waits(path: pathlib.Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        assert not isinstance(node, (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith))
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not {name.partition(".")[0] for name in names} & FORBIDDEN
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert (node.value.id, node.attr) not in {("time", "time"), ("time", "monotonic"), ("datetime", "now")}


def test_core_is_all_there() -> None:
    assert {"bearer", "cache", "chain", "claims", "engine", "jws", "requirements", "scopes", "wire"} <= {
        p.stem for p in FILES
    }
