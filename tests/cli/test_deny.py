"""`deny` and `undeny`: what they leave in the file, and that a guard takes it over."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from agentwrit_guard import Guard
from tests.cli.kit import run
from tests.core.kit import bearer, verdict
from tests.kit.clock import MovableClock
from tests.kit.tokens import token

AGENT = "spiffe://agentwrit.local/agent/orch-1/task-1/4addb01b452d86c3"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "deny.txt"
    found.write_text("# stopped today\n\ntoken abc\n")
    return found


def test_an_agent_is_stopped_where_the_file_is_watched_and_let_in_again(path: Path) -> None:
    clock = MovableClock()
    guard = Guard("http://127.0.0.1:1", clock=clock.clock, deny_file=str(path))

    def decided() -> str:
        clock.move(1)
        return verdict(guard.decide(bearer(token())))

    assert decided() == "lookup"
    done = run("deny", "agent", AGENT, AGENTWRIT_DENY_FILE=str(path))
    assert (done.returncode, done.stdout, done.stderr) == (0, f"denied: agent {AGENT}\n", "")
    assert decided() == "401 invalid_token"
    assert path.read_text() == f"# stopped today\n\ntoken abc\nagent {AGENT}\n"
    done = run("undeny", "agent", AGENT, "--file", str(path))
    assert (done.returncode, done.stdout) == (0, f"no longer denied: agent {AGENT}\n")
    assert decided() == "lookup"
    assert path.read_text() == "# stopped today\n\ntoken abc\n"


def test_what_is_so_already_is_said(path: Path) -> None:
    before = path.read_bytes()
    done = run("deny", "token", "abc", "--file", str(path))
    assert (done.returncode, done.stdout) == (0, "already denied: token abc\n")
    done = run("undeny", "task", "t", "--file", str(path))
    assert (done.returncode, done.stdout) == (1, "was not denied: task t\n")
    assert path.read_bytes() == before


def test_the_file_keeps_its_mode_and_a_link_to_it_stays_one(path: Path, tmp_path: Path) -> None:
    path.chmod(0o640)
    link = tmp_path / "link"
    link.symlink_to(path)
    assert run("deny", "task", "t", "--file", str(link)).returncode == 0
    assert link.is_symlink()
    assert path.read_text().endswith("task t\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.listdir(tmp_path).count("deny.txt.new") == 0


@pytest.mark.parametrize("arguments, text", [
    (("planet", "x"), "argument LEVEL: invalid choice: 'planet'"),
    (("agent", ""), "target of agent must be"),
    (("agent", "a\nb"), "target of agent must be"),
])  # fmt: skip
def test_a_mistake_is_one_line_and_changes_nothing(path: Path, arguments: tuple[str, ...], text: str) -> None:
    before = path.read_bytes()
    done = run("deny", *arguments, "--file", str(path))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert text in done.stderr
    assert path.read_bytes() == before
    assert not path.with_name("deny.txt.new").exists()


def test_a_missing_file_is_made_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "deny.txt"
    done = run("deny", "task", "t", "--file", str(path))
    assert (done.returncode, path.exists()) == (2, False)
    assert "--create makes one" in done.stderr
    assert run("deny", "task", "t", "--file", str(path), "--create").returncode == 0
    assert path.read_text() == "task t\n"
    assert run("undeny", "task", "t", "--file", str(tmp_path / "other")).returncode == 2


def test_without_a_file_the_setting_is_named() -> None:
    done = run("deny", "task", "t")
    assert done.returncode == 2
    assert "AGENTWRIT_DENY_FILE" in done.stderr


def test_a_broken_file_is_left_alone(path: Path) -> None:
    path.write_text("planet x\n")
    done = run("deny", "task", "t", "--file", str(path))
    assert (done.returncode, path.read_text()) == (2, "planet x\n")
    assert "line 1" in done.stderr
    assert not path.with_name("deny.txt.new").exists()


def test_of_two_at_a_time_the_second_is_told(path: Path) -> None:
    path.with_name("deny.txt.new").write_text("")
    done = run("deny", "task", "t", "--file", str(path))
    assert done.returncode == 2
    assert "somebody else is changing the file" in done.stderr
    assert path.read_text() == "# stopped today\n\ntoken abc\n"
    assert path.with_name("deny.txt.new").exists()


def test_the_last_entry_can_be_taken_back(path: Path) -> None:
    path.write_text(f"agent {AGENT}\n")
    clock = MovableClock()
    guard = Guard("http://127.0.0.1:1", clock=clock.clock, deny_file=str(path))
    assert verdict(guard.decide(bearer(token()))) == "401 invalid_token"
    assert run("undeny", "agent", AGENT, "--file", str(path)).returncode == 0
    clock.move(1)
    assert verdict(guard.decide(bearer(token()))) == "lookup"


def test_an_entry_is_found_however_its_line_is_spelt(path: Path) -> None:
    path.write_text(f"# a\u2028task t\n  agent \t {AGENT} \r\ntask u\n")
    assert run("deny", "agent", AGENT, "--file", str(path)).stdout == f"already denied: agent {AGENT}\n"
    done = run("undeny", "agent", AGENT, "--file", str(path))
    assert (done.returncode, done.stdout) == (0, f"no longer denied: agent {AGENT}\n")
    assert path.read_text() == "# a\u2028task t\ntask u\n"


def test_what_another_level_still_denies_is_said(path: Path) -> None:
    path.write_text(f"agent {AGENT}\nchain {AGENT}\n")
    done = run("undeny", "agent", AGENT, "--file", str(path))
    assert (done.returncode, done.stdout) == (1, f"no longer denied: agent {AGENT}\nstill denied: chain {AGENT}\n")
    done = run("undeny", "chain", AGENT, "--file", str(path))
    assert (done.returncode, done.stdout) == (0, f"no longer denied: chain {AGENT}\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change somebody else's file for them")
def test_the_file_stays_its_owners(path: Path) -> None:
    """Guards run as somebody else than the operator who stops an agent."""
    os.chown(path, 65534, 65533)
    path.chmod(0o600)
    assert run("deny", "task", "t", "--file", str(path)).returncode == 0
    status = path.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (65534, 65533, 0o600)
