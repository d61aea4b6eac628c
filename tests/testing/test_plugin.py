"""The plugin itself: light, quiet, and the only thing that makes a test run."""

from __future__ import annotations

import subprocess
import sys

import pytest

from agentwrit_guard import testrun as testrun_module
from tests.testing.suite import Suite

URL = "http://127.0.0.1:9"
FIXTURES = ("agent_token", "agentwrit_app", "agentwrit_broker", "agentwrit_clock", "agentwrit_scopes", "as_agent")
IMPORTING = """
    from agentwrit_guard import Guard

    guard = Guard.from_env()
"""


def test_importing_it_imports_nothing_heavy() -> None:
    code = "import pytest, sys; old = set(sys.modules); import agentwrit_guard.testing; print(*set(sys.modules) - old)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    ours = {name for name in loaded if name.startswith("agentwrit_guard.")}
    kit = {name for name in ours if name.startswith("agentwrit_guard.testing")}
    assert ours - kit == {"agentwrit_guard._version", "agentwrit_guard.errors", "agentwrit_guard.testrun"}
    heavy = {"asyncio", "cachetools", "cryptography", "flask", "httpx", "httpx2", "ssl", "starlette", "uvicorn"}
    assert not {name.partition(".")[0] for name in loaded} & heavy


def test_a_run_that_uses_nothing_starts_nothing(suite: Suite) -> None:
    suite.write(
        test_it="""
            import sys, threading

            def test_it():
                assert threading.active_count() == 1
                assert "agentwrit_guard.testing" in sys.modules
                for name in ("agentwrit_guard.guard", "agentwrit_guard.core", "httpx", "starlette", "flask", "asyncio"):
                    assert name not in sys.modules
        """
    )
    # anyio has a plugin too.
    outcome = suite.run("-p", "no:anyio", "-p", "no:hypothesispytest")
    assert outcome.counts == {"passed": 1}, outcome.output
    assert "agentwrit" not in "\n".join(line for line in outcome.output.splitlines() if not line.startswith("plugins:"))


def test_the_fixtures_say_what_they_are(suite: Suite) -> None:
    shown = suite.run("--fixtures", "-v").output
    for name in FIXTURES:
        following = shown.partition(f"\n{name} -- ")[2]
        assert following, name
        assert "no docstring" not in following.splitlines()[1]


def test_the_option_is_there_before_conftests_and_gone_afterwards(suite: Suite) -> None:
    suite.write(
        app=IMPORTING,
        conftest="from app import guard",
        test_it=f"""
            def test_it():
                from app import guard

                assert guard.settings.broker_url == "{URL}"
        """,
        main="""
            import os, sys, pytest

            assert pytest.main(["-q", "-p", "no:cacheprovider"]) == 0
            assert "AGENTWRIT_BROKER_URL" not in os.environ
        """,
        pytest__ini=f"[pytest]\nagentwrit_broker_url = {URL}\n",
    )
    assert suite.run().counts == {"passed": 1}
    done = suite.python("main.py")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_environment_comes_before_the_option(suite: Suite) -> None:
    suite.write(
        app=IMPORTING,
        test_it="""
            import os
            from app import guard

            def test_it():
                assert os.environ["AGENTWRIT_BROKER_URL"] == guard.settings.broker_url == "https://broker.example"
        """,
        pytest__ini=f"[pytest]\nagentwrit_broker_url = {URL}\n",
    )
    assert suite.run(AGENTWRIT_BROKER_URL="https://broker.example").counts == {"passed": 1}


OVERRIDING = """
    from agentwrit_guard import Guard
    from agentwrit_guard.errors import ConfigurationError
    from agentwrit_guard.testing import fake_principal

    def refuses():
        try:
            Guard("http://127.0.0.1:9").override(fake_principal())
        except ConfigurationError:
            return True
        return False
"""


def test_only_the_run_itself_is_a_test_run(suite: Suite) -> None:
    """Not before and not after, not by the environment; a run inside a run does not end the outer one."""
    suite.write(
        overriding=OVERRIDING,
        test_it="""
            import pytest
            from overriding import refuses

            def test_it():
                assert not refuses()

            def test_a_run_inside():
                assert pytest.main(["-q", "-p", "no:cacheprovider", "test_it.py::test_it"]) == 0
                assert not refuses()
        """,
        main="""
            import pytest
            from overriding import refuses

            assert refuses()
            assert pytest.main(["-q", "-p", "no:cacheprovider"]) == 0
            assert refuses()
        """,
    )
    made_up = dict.fromkeys(("AGENTWRIT_TESTING", "AGENTWRIT_TESTRUN", "PYTEST_CURRENT_TEST", "PYTEST_VERSION"), "1")
    done = suite.python("main.py", **made_up)
    assert done.returncode == 0, done.stdout + done.stderr


def test_this_is_a_test_run() -> None:
    assert testrun_module.active()


@pytest.mark.parametrize("name", ["pytest_addoption", "pytest_configure", "pytest_load_initial_conftests", *FIXTURES])
def test_pytest_finds_what_the_plugin_has(name: str) -> None:
    from agentwrit_guard import testing

    assert hasattr(testing, name)
