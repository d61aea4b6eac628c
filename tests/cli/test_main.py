from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys

import pytest

from agentwrit_guard import __version__
from agentwrit_guard.cli import main
from tests.cli.kit import TIMEOUT, one_line, run, started


def without(package: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command where a package is not installed."""
    program = f"import sys; sys.modules[{package!r}] = None\nfrom agentwrit_guard.cli import main\nsys.exit(main())"
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)


def test_version() -> None:
    ended = run("--version")
    assert (ended.returncode, ended.stdout) == (0, f"agentwrit-guard {__version__}\n")


@pytest.mark.parametrize("command", [[], ["demo"], ["dev-broker"], ["mint"], ["inspect"]])
def test_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("usage: agentwrit-guard")


@pytest.mark.parametrize("arguments", [[], ["unknown"], ["demo", "--unknown"], ["mint"]])
def test_unusable_arguments(arguments: list[str]) -> None:
    assert one_line(run(*arguments)).endswith("--help")


@pytest.mark.parametrize("package", ["fastapi", "flask", "uvicorn", "waitress", "starlette"])
def test_demo_without_a_package(package: str) -> None:
    said = one_line(without(package, "demo"))
    assert said == f"agentwrit-guard: demo needs {package}; pip install 'agentwrit-guard[all]'"


@pytest.mark.parametrize("package", ["starlette", "uvicorn"])
def test_dev_broker_without_a_package(package: str) -> None:
    said = one_line(without(package, "dev-broker"))
    assert said == f"agentwrit-guard: dev-broker needs {package}; pip install 'agentwrit-guard[all]'"


def test_table_without_rich() -> None:
    ended = without("rich", "demo")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "clerk: another customer's id" in ended.stdout
    assert "40 of 40 answers as expected" in ended.stdout


def test_json_without_rich() -> None:
    assert json.loads(without("rich", "demo", "--json").stdout)["ok"] is True


def test_a_reader_that_goes_away() -> None:
    with started("demo", "--json") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(TIMEOUT) == 141


def test_help_needs_no_extra() -> None:
    program = (
        "import sys\n"
        "from agentwrit_guard.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "loaded = {'httpx', 'rich', 'fastapi', 'flask', 'starlette', 'uvicorn', 'waitress'} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=TIMEOUT)


def test_leaves_signals_and_logging_as_they_were(capsys: pytest.CaptureFixture[str]) -> None:
    log = logging.getLogger("agentwrit_guard")
    before = (
        signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), log.handlers[:], log.level, log.propagate,
    )  # fmt: skip
    assert main(["inspect", "-v", "x"]) == 1
    after = (
        signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), log.handlers[:], log.level, log.propagate,
    )  # fmt: skip
    assert before == after
