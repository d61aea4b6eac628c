"""What the root exports, and how light it is to import."""

from __future__ import annotations

import subprocess
import sys

import pytest

import agentwrit_guard


def _modules_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_every_public_name_resolves_and_is_sorted() -> None:
    names = agentwrit_guard.__all__
    assert names == sorted(names)
    assert dir(agentwrit_guard) == names
    for name in names:
        assert getattr(agentwrit_guard, name) is not None
    with pytest.raises(AttributeError, match="Nothing"):
        _ = agentwrit_guard.Nothing


def test_the_root_imports_no_client_and_no_framework() -> None:
    heavy = {"httpx", "httpcore", "anyio", "asyncio", "starlette", "fastapi", "flask", "werkzeug", "cryptography"}
    assert not _modules_after("import agentwrit_guard") & heavy


@pytest.mark.parametrize(
    "module, absent",
    [
        ("agentwrit_guard.asgi", {"starlette", "fastapi", "flask", "werkzeug", "pydantic"}),
        ("agentwrit_guard.wsgi", {"starlette", "fastapi", "flask", "werkzeug", "pydantic"}),
        ("agentwrit_guard.contrib.starlette", {"fastapi", "flask", "pydantic"}),
        ("agentwrit_guard.contrib.flask", {"starlette", "fastapi", "pydantic"}),
        ("agentwrit_guard.core.engine", {"httpx", "asyncio", "cryptography", "starlette"}),
    ],
)
def test_a_front_imports_its_own_framework_only(module: str, absent: set[str]) -> None:
    assert not _modules_after(f"import {module}") & absent


def test_errors_are_the_sdks_by_name_and_kind() -> None:
    import agentwrit.errors

    from agentwrit_guard import errors

    for name in ("AgentWritError", "ProblemResponseError", "AuthenticationError", "AuthorizationError",
                 "RateLimitError", "TransportError", "CryptoError"):  # fmt: skip
        theirs, ours = getattr(agentwrit.errors, name), getattr(errors, name)
        assert [kind.__name__ for kind in theirs.__mro__] == [kind.__name__ for kind in ours.__mro__]
