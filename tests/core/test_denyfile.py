"""The deny file: taken over when a request comes, and never in a way that lets somebody in again by accident."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agentwrit_guard import ConfigurationError, Guard, Requirement
from agentwrit_guard.core.deny import MAX_ENTRIES
from agentwrit_guard.core.engine import ANY_AGENT
from agentwrit_guard.denyfile import LOOK_EVERY, MAX_BYTES
from tests.core.conftest import GuardMaker
from tests.core.kit import TOKEN, bearer, verdict
from tests.kit.clock import MovableClock
from tests.kit.stub import Answer, StubBroker, valid
from tests.kit.tokens import AGENT, OTHER, delegated, record, token
from tests.link.test_fork import in_child

MINE, THEIRS = bearer(token()), bearer(token(sub=OTHER, jti="other"))
ROOT = Path(__file__).parents[2]
BOTH = f"agent {AGENT}\nagent {OTHER}\n".encode()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "deny"
    path.write_bytes(b"# nobody\n")
    return path


@pytest.fixture
def guard(make: GuardMaker, path: Path) -> Guard:
    return make(deny_file=str(path))


@pytest.fixture
def later(clock: MovableClock) -> Callable[[], None]:
    return lambda: clock.move(LOOK_EVERY)


def swap(path: Path, data: bytes) -> None:
    """Replace the file in one step."""
    other = path.with_suffix(".new")
    other.write_bytes(data)
    other.replace(path)


def denied(guard: Guard) -> tuple[bool, bool]:
    return verdict(guard.decide(MINE)) == TOKEN, verdict(guard.decide(THEIRS)) == TOKEN


def shouts(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if getattr(r, "event", None) == "deny_file_broken"]


def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of the files that are opened from now on."""
    opened: list[str] = []
    real = os.open

    def noted(path: Any, *args: Any, **rest: Any) -> int:
        opened.append(path)
        return real(path, *args, **rest)

    monkeypatch.setattr("os.open", noted)
    return opened


@pytest.mark.parametrize("write", [swap, Path.write_bytes], ids=["replaced", "rewritten"])
def test_p2_an_entry_is_in_force_within_a_second_and_so_is_its_end(
    guard: Guard, path: Path, clock: MovableClock, write: Any
) -> None:
    assert LOOK_EVERY < 1
    assert denied(guard) == (False, False)
    write(path, f"agent {AGENT}\n".encode())
    clock.move(LOOK_EVERY)
    assert denied(guard) == (True, False)
    write(path, BOTH)
    clock.move(LOOK_EVERY)
    assert denied(guard) == (True, True)
    write(path, f"chain {OTHER}\n".encode())
    clock.move(LOOK_EVERY)
    assert denied(guard) == (False, True)
    write(path, b"# nobody\n")
    clock.move(LOOK_EVERY)
    assert denied(guard) == (False, False)


@pytest.mark.parametrize("line, changes", [
    (f"agent {AGENT}", {}),
    (f"chain {AGENT}", {"sub": OTHER, **delegated(record(AGENT), sub=OTHER)}),
    ("task task-1", {"sub": OTHER}),
    ("token 57cef72249661b21c4979c2acb445d26", {"sub": OTHER, "task_id": "x"}),
])  # fmt: skip
def test_d_10_every_level_has_its_line(make: GuardMaker, path: Path, line: str, changes: dict[str, Any]) -> None:
    path.write_text(f"{line}\n", encoding="utf-8")
    guard = make(deny_file=str(path))
    assert verdict(guard.decide(bearer(token(**changes)))) == TOKEN
    assert verdict(guard.decide(bearer(token(sub=OTHER, jti="x", task_id="y")))) == "lookup"


def test_c_08_a_hit_an_identity_let_in_before_and_a_call_in_flight_are_held_against_the_file(
    make: GuardMaker, stub: StubBroker, path: Path, clock: MovableClock
) -> None:
    guard = make(stub.url, deny_file=str(path))
    allowed = guard.check(MINE)
    assert verdict(allowed) == "allowed"
    swap(path, BOTH)
    clock.move(LOOK_EVERY)
    assert verdict(guard.judge(allowed, ANY_AGENT)) == TOKEN  # type: ignore[arg-type]
    assert verdict(guard.decide(MINE)) == TOKEN
    assert verdict(guard.check(MINE, Requirement.authenticated(max_age=0))) == TOKEN
    assert stub.calls == 1
    swap(path, b"# nobody\n")
    clock.move(LOOK_EVERY)

    def answer(body: bytes) -> Answer:
        swap(path, BOTH)
        clock.move(LOOK_EVERY)
        return valid(body)

    stub.answer = answer
    assert verdict(guard.check(THEIRS)) == TOKEN
    assert stub.calls == 2


def test_p15_the_file_is_looked_at_at_most_four_times_a_second(
    make: GuardMaker, path: Path, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = reads(monkeypatch)
    guard = make(deny_file=str(path))
    for _ in range(1000):
        clock.move(0.01)
        guard.decide(MINE)
        guard.decide([])
    assert 35 <= opened.count(str(path)) <= 41
    opened.clear()
    clock.move(1000)
    for _ in range(10):
        guard.decide(MINE)
    assert opened == [str(path)]


def test_p15_of_many_threads_one_looks(
    make: GuardMaker, path: Path, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it does, the others decide by what was; and whoever comes too late to look does not look again."""
    guard = make(deny_file=str(path))
    swap(path, BOTH)
    clock.move(LOOK_EVERY)
    opened, reading, go_on = [], threading.Event(), threading.Event()
    real = os.open

    def slow(*args: Any, **rest: Any) -> int:
        opened.append(args[0])
        reading.set()
        assert go_on.wait(20)
        return real(*args, **rest)

    monkeypatch.setattr("os.open", slow)
    reader = threading.Thread(target=guard.decide, args=(MINE,))
    reader.start()
    assert reading.wait(20)
    assert denied(guard) == (False, False)
    go_on.set()
    reader.join()
    assert denied(guard) == (True, True)
    assert len(opened) == 1


def test_p15_a_thread_that_waited_does_not_look_again(
    make: GuardMaker, path: Path, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = make(deny_file=str(path))
    file = guard._parts.deny_file
    assert file is not None
    clock.move(LOOK_EVERY)
    opened = reads(monkeypatch)

    class Late:
        """A lock that another thread has had, and looked, by the time it is taken."""

        def __init__(self) -> None:
            self.lock = file._lock  # type: ignore[union-attr]

        def acquire(self, *, blocking: bool) -> bool:
            file._lock = self.lock  # type: ignore[union-attr]
            guard.decide(MINE)
            return self.lock.acquire(blocking=blocking)

        def release(self) -> None:
            self.lock.release()

    file._lock = Late()  # type: ignore[assignment]
    guard.decide(MINE)
    assert len(opened) == 1
    assert not file._lock.locked()


GOOD = [
    pytest.param(b"\n", [], id="blank line"),
    pytest.param(b"#\n", [], id="comment"),
    pytest.param(b"# x\r\n\r\n", [], id="comment, CRLF"),
    pytest.param(b"#agent " + AGENT.encode() + b"\n", [], id="commented out"),
    pytest.param(BOTH, [AGENT, OTHER], id="two"),
    pytest.param(BOTH.replace(b"\n", b"\r\n"), [AGENT, OTHER], id="CRLF"),
    pytest.param(BOTH.replace(b"\n", b" \t \n"), [AGENT, OTHER], id="trailing blanks"),
    pytest.param(BOTH.replace(b"agent ", b" \tagent \t "), [AGENT, OTHER], id="blanks before and between"),
    pytest.param(b"\xef\xbb\xbf" + BOTH, [AGENT, OTHER], id="BOM"),
    pytest.param(b"\xef\xbb\xbf# list\n" + BOTH, [AGENT, OTHER], id="BOM and comment"),
    pytest.param(BOTH + BOTH, [AGENT, OTHER], id="twice"),
    pytest.param(b"# \xff\xfe broken comment\n" + BOTH, [AGENT, OTHER], id="comment in Latin-1"),
    pytest.param(b"\n# a\n\n" + BOTH + b"\n\n  # b\n", [AGENT, OTHER], id="comments and blanks"),
    pytest.param("task Aufgabe-ä-任务\n".encode(), ["Aufgabe-ä-任务"], id="non-ASCII"),
    pytest.param(b"token " + b"x" * 2048 + b"\n", ["x" * 2048], id="2048 bytes"),
    pytest.param(b"task " + "é".encode() * 1024 + b"\n", ["é" * 1024], id="2048 bytes of two"),
    pytest.param(b"token #1\n", ["#1"], id="target with a number sign"),
]  # fmt: skip
LINE = b"agent " + AGENT.encode()
BAD = [
    pytest.param(LINE, "ends within a line", id="no end of line"),
    pytest.param(BOTH[:-1], "ends within a line", id="truncated in the last byte"),
    pytest.param(BOTH[:-7], "ends within a line", id="truncated in an entry"),
    pytest.param(BOTH + b"# x", "ends within a line", id="truncated in a comment"),
    pytest.param(b" ", "ends within a line", id="a blank"),
    pytest.param(BOTH + b"agent\n", "line 3: not `level target`", id="level alone"),
    pytest.param(AGENT.encode() + b"\n", "line 1: not `level target`", id="target alone"),
    pytest.param(LINE + b" # rogue\n", "line 1: not `level target`", id="comment behind an entry"),
    pytest.param(LINE + b" " + OTHER.encode() + b"\n", "line 1: not `level target`", id="two targets"),
    pytest.param(LINE.replace(b" ", b"=") + b"\n", "line 1: not `level target`", id="equals sign"),
    pytest.param(b"Agent " + AGENT.encode() + b"\n", "line 1: level must be one of", id="level in upper case"),
    pytest.param(b"sub " + AGENT.encode() + b"\n", "line 1: level must be one of", id="no level"),
    pytest.param(b"agent task-1\n", "line 1: target of agent must be", id="no agent"),
    pytest.param(b"token " + b"x" * 2049 + b"\n", "line 1: target of token must be", id="2049 bytes"),
    pytest.param(b"token a\x00b\n", "line 1: target of token must be", id="NUL"),
    pytest.param(b"token a\xc2\xa0b\n", "line 1: target of token must be", id="no-break blank"),
    pytest.param(b"token \xff\n", "line 1: not `level target` in UTF-8", id="Latin-1"),
    pytest.param(b"token \xed\xa0\x80\n", "line 1: not `level target` in UTF-8", id="surrogate"),
    pytest.param(("\ufeff" + BOTH.decode()).encode("utf-16-le"), "ends within a line", id="UTF-16"),
    pytest.param(LINE + b"\r" + LINE + b"\r\n", "line 1: not `level target`", id="CR alone"),
    pytest.param(b"\xef\xbb\xbf\xef\xbb\xbf" + BOTH, "line 1: level must be one of", id="two BOMs"),
    pytest.param(BOTH + b"\xef\xbb\xbf" + BOTH, "line 3: level must be one of", id="BOM in the middle"),
    pytest.param(b"token " + token().encode() + b"\n", "line 1: target of token must be the token's jti", id="token"),
    pytest.param(b"token x\n" * (MAX_ENTRIES + 1), "has more than 10000 entries", id="too many"),
    pytest.param(b"#" * MAX_BYTES + b"\n", "is over 21000000 bytes", id="too long"),
]  # fmt: skip


@pytest.mark.parametrize("data, targets", GOOD)
def test_d_10_what_a_file_may_look_like(make: GuardMaker, path: Path, data: bytes, targets: list[str]) -> None:
    path.write_bytes(data)
    guard = make(deny_file=str(path))
    assert len(guard._parts.denied) == len(targets)
    for target in targets:
        changes: dict[str, Any] = {"sub": target} if target in (AGENT, OTHER) else {"task_id": target, "jti": target}
        assert verdict(guard.decide(bearer(token(**changes)))) == TOKEN


@pytest.mark.parametrize("data, why", BAD)
def test_c_29_a_broken_file_leaves_in_force_what_was_and_shouts(
    make: GuardMaker, path: Path, clock: MovableClock, caplog: pytest.LogCaptureFixture, data: bytes, why: str
) -> None:
    path.write_bytes(f"agent {OTHER}\n".encode())
    guard = make(deny_file=str(path))
    for write in (swap, Path.write_bytes):
        write(path, data)
        for _ in range(3):
            clock.move(LOOK_EVERY)
            assert denied(guard) == (False, True)
    assert len(shouts(caplog)) == 1
    assert f"deny_file '{path}' " in shouts(caplog)[0]
    assert why in shouts(caplog)[0]
    assert shouts(caplog)[0].endswith("what it said before stays in force")
    assert len(shouts(caplog)[0]) < 400
    assert caplog.records[0].levelno >= logging.WARNING
    # As long as it is broken, it is said again.
    clock.move(10)
    assert denied(guard) == (False, True)
    assert len(shouts(caplog)) == 2
    swap(path, BOTH)
    clock.move(LOOK_EVERY)
    assert denied(guard) == (True, True)
    clock.move(30)
    assert denied(guard) == (True, True)
    assert len(shouts(caplog)) == 2


@pytest.mark.parametrize("data, why", BAD)
def test_cfg_06_a_broken_file_is_an_error_at_the_start(make: GuardMaker, path: Path, data: bytes, why: str) -> None:
    path.write_bytes(data)
    with pytest.raises(ConfigurationError, match=r"^deny_file '") as caught:
        make(deny_file=str(path))
    assert why in str(caught.value)
    assert "eyJ" not in str(caught.value)


def test_c_29_a_file_that_is_emptied_lifts_nothing_and_a_comment_lifts_all(
    make: GuardMaker, path: Path, clock: MovableClock, caplog: pytest.LogCaptureFixture
) -> None:
    """`> file` empties it before anything is written, and a full disk leaves it so."""
    path.write_bytes(BOTH)
    guard = make(deny_file=str(path))
    path.write_bytes(b"")
    clock.move(LOOK_EVERY)
    assert denied(guard) == (True, True)
    assert "is empty" in shouts(caplog)[0]
    clock.move(LOOK_EVERY)
    assert denied(guard) == (True, True)
    path.write_bytes(b"#\n")
    clock.move(LOOK_EVERY)
    assert denied(guard) == (False, False)
    path.write_bytes(b"")
    clock.move(20)
    assert denied(guard) == (False, False)
    # A process that starts now would know no better.
    with pytest.raises(ConfigurationError, match="is empty"):
        make(deny_file=str(path))


@contextlib.contextmanager
def without_rights(path: Path) -> Iterator[None]:
    """Root may read everything, so it becomes nobody for a moment."""
    path.chmod(0)
    root = os.geteuid() == 0
    try:
        if root:
            os.seteuid(65534)
        yield
    finally:
        if root:
            os.seteuid(0)
        path.chmod(0o600)


@contextlib.contextmanager
def missing(path: Path) -> Iterator[None]:
    other = path.rename(path.with_suffix(".away"))
    yield
    other.rename(path)


@contextlib.contextmanager
def replaced_by(path: Path, make_it: Callable[[Path], object]) -> Iterator[None]:
    with missing(path):
        make_it(path)
        yield
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


def loop(path: Path) -> None:
    path.symlink_to(path)


def dangling(path: Path) -> None:
    path.symlink_to(path.with_suffix(".nowhere"))


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


UNREADABLE = [
    pytest.param(missing, "No such file", id="missing"),
    pytest.param(without_rights, "Permission denied", id="permission lost"),
    pytest.param(lambda path: replaced_by(path, Path.mkdir), "Is a directory", id="directory"),
    pytest.param(lambda path: replaced_by(path, os.mkfifo), "not a regular file", id="FIFO"),
    pytest.param(lambda path: replaced_by(path, loop), "symbolic links", id="loop of links"),
    pytest.param(lambda path: replaced_by(path, dangling), "No such file", id="link to nowhere"),
    pytest.param(lambda path: replaced_by(path, device), "not a regular file", id="endless device"),
]


@pytest.mark.parametrize("spoil, why", UNREADABLE)
def test_c_29_a_file_that_cannot_be_read_leaves_in_force_what_was(
    make: GuardMaker, path: Path, clock: MovableClock, caplog: pytest.LogCaptureFixture, spoil: Any, why: str
) -> None:
    path.parent.chmod(stat.S_IRWXU | stat.S_IXOTH)
    path.write_bytes(BOTH)
    guard = make(deny_file=str(path))
    with spoil(path):
        clock.move(LOOK_EVERY)
        assert denied(guard) == (True, True)
        with pytest.raises(ConfigurationError, match=f"deny_file .* cannot be read: .*{why}"):
            make(deny_file=str(path))
    assert why in shouts(caplog)[0]
    swap(path, b"# nobody\n")
    clock.move(LOOK_EVERY)
    assert denied(guard) == (False, False)


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 5000, ""])
def test_cfg_06_what_is_no_path_is_an_error_that_names_the_setting(make: GuardMaker, name: str) -> None:
    with pytest.raises(ConfigurationError, match="deny_file"):
        make(deny_file=name)


def test_c_29_a_change_that_no_time_stamp_tells_is_seen(guard: Guard, path: Path, clock: MovableClock) -> None:
    """Same size, same times, and the same inode, as when another file was there in between or a clock was set."""
    one, two = (f"agent {agent}\n".encode() for agent in (AGENT, OTHER))
    assert len(one) == len(two)
    path.write_bytes(one)
    before = path.stat()
    clock.move(LOOK_EVERY)
    assert denied(guard) == (True, False)
    path.write_bytes(two)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    same = [getattr(before, name) == getattr(after, name) for name in ("st_dev", "st_ino", "st_size", "st_mtime_ns")]
    assert same == [True] * 4
    clock.move(LOOK_EVERY)
    assert denied(guard) == (False, True)


def test_c_29_many_changes_within_one_tick_of_the_file_system(guard: Guard, path: Path, clock: MovableClock) -> None:
    for number in range(200):
        swap(path, f"agent {(AGENT, OTHER)[number % 2]}\n".encode())
        clock.move(LOOK_EVERY)
        assert denied(guard) == (number % 2 == 0, number % 2 == 1)


def test_c_29_a_link_that_is_switched_is_followed(make: GuardMaker, tmp_path: Path, clock: MovableClock) -> None:
    """As Kubernetes does with what it mounts."""
    link, one, two = tmp_path / "link", tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"# nobody\n")
    two.write_bytes(BOTH)
    link.symlink_to(one)
    guard = make(deny_file=str(link))
    assert denied(guard) == (False, False)
    (tmp_path / "new").symlink_to(two)
    (tmp_path / "new").replace(link)
    clock.move(LOOK_EVERY)
    assert denied(guard) == (True, True)


def test_c_29_a_relative_path_is_the_one_from_the_start(
    make: GuardMaker, path: Path, tmp_path: Path, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    guard = make(deny_file="deny")
    monkeypatch.chdir("/")
    swap(path, BOTH)
    clock.move(LOOK_EVERY)
    assert denied(guard) == (True, True)


def test_c_29_file_and_program_do_not_crowd_out_nor_undo_each_other(
    make: GuardMaker, path: Path, clock: MovableClock
) -> None:
    path.write_bytes(b"".join(b"task f%d\n" % number for number in range(MAX_ENTRIES)))
    guard = make(deny_file=str(path))
    for number in range(MAX_ENTRIES):
        guard.deny("task", f"p{number}")
    assert len(guard._parts.denied) == 2 * MAX_ENTRIES
    for name in ("f0", "f9999", "p0", "p9999"):
        assert verdict(guard.decide(bearer(token(task_id=name)))) == TOKEN
    assert not guard.undeny("task", "f0")
    assert guard.undeny("task", "p0")
    guard.deny("agent", AGENT)
    swap(path, f"agent {AGENT}\n".encode())
    clock.move(LOOK_EVERY)
    assert verdict(guard.decide(bearer(token(task_id="f1", sub=OTHER)))) == "lookup"
    assert verdict(guard.decide(bearer(token(task_id="p1", sub=OTHER)))) == TOKEN
    assert guard.undeny("agent", AGENT)
    assert denied(guard) == (True, False)
    guard.deny("agent", AGENT)
    swap(path, b"#\n")
    clock.move(LOOK_EVERY)
    assert denied(guard) == (True, False)


def test_c_29_a_reader_meets_the_old_list_or_the_new_one_and_nothing_between(path: Path) -> None:
    """One thread replaces the file as fast as it can, four decide, on the real clock's monotony made quick. Both
    versions deny AGENT, so nobody may ever find it let in."""
    ticks = itertools.count()
    clock = MovableClock()
    guard = Guard(
        "http://127.0.0.1:1",
        deny_file=str(path),
        clock=type(clock.clock)(monotonic=lambda: float(next(ticks)), wall=lambda: clock.wall),
    )
    versions = [f"agent {AGENT}\n# {'x' * 9000}\n".encode(), BOTH * 40]
    over, let_in = threading.Event(), []
    swap(path, versions[0])
    assert denied(guard)[0]

    def decide() -> None:
        while not over.is_set():
            if not denied(guard)[0]:
                let_in.append(True)

    threads = [threading.Thread(target=decide) for _ in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for number in range(150):
            swap(path, versions[number % 2])
            time.sleep(0)
    finally:
        over.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(interval)
        guard.close()
    assert let_in == []


def test_c_29_a_writer_who_does_not_replace_in_one_step_lifts_nothing(path: Path) -> None:
    """It truncates and writes in small pieces, none of which ends a line. Each list denies AGENT."""
    ticks = itertools.count()
    clock = MovableClock()
    data = f"agent {AGENT}\n".encode()
    path.write_bytes(data)
    guard = Guard(
        "http://127.0.0.1:1",
        deny_file=str(path),
        clock=type(clock.clock)(monotonic=lambda: float(next(ticks)), wall=lambda: clock.wall),
    )
    for _ in range(5):
        with path.open("wb", buffering=0) as file:
            assert denied(guard)[0]
            for start in range(0, len(data), 7):
                file.write(data[start : start + 7])
                assert denied(guard)[0]
    guard.close()


def test_c_19_a_forked_child_looks_for_itself(
    make: GuardMaker, path: Path, clock: MovableClock, later: Callable[[], None]
) -> None:
    """At the fork a thread of the parent is reading the file, with the lock in its hands."""
    guard = make(deny_file=str(path))
    file = guard._parts.deny_file
    assert file is not None
    swap(path, BOTH)

    def child() -> bool:
        later()
        return denied(guard) == (True, True)

    with file._lock:
        assert in_child(child)
    assert denied(guard) == (False, False)
    later()
    assert denied(guard) == (True, True)


class Watchers:
    """Eight processes on one deny file."""

    def __init__(self, path: Path) -> None:
        # Tokens go by the arguments here. Those of tests are nobody's.
        command = [sys.executable, "-m", "tests.core.watcher", str(path), token(), token(sub=OTHER, jti="other")]
        paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        self.processes = [
            subprocess.Popen(
                command, cwd=ROOT, env={**os.environ, "PYTHONPATH": paths},
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="ascii",
            )
            for _ in range(8)
        ]  # fmt: skip

    def say(self) -> set[str]:
        return {process.stdout.readline().strip() for process in self.processes if process.stdout}

    def after(self, seconds: float) -> set[str]:
        """What they decide so many seconds later, all of them."""
        for process in self.processes:
            assert process.stdin
            process.stdin.write(f"{seconds}\n")
            process.stdin.flush()
        return self.say()

    def end(self) -> None:
        for process in self.processes:
            process.communicate(timeout=20)


@pytest.fixture
def watchers(path: Path) -> Iterator[Watchers]:
    watching = Watchers(path)
    yield watching
    watching.end()
    assert [process.returncode for process in watching.processes] == [0] * 8


def test_p2_d_10_eight_processes_see_one_file(path: Path, watchers: Watchers) -> None:
    assert watchers.say() == {"ready"}
    assert watchers.after(0) == {"00"}
    swap(path, f"agent {AGENT}\n".encode())
    assert watchers.after(LOOK_EVERY) == {"10"}
    path.write_bytes(BOTH[:-5])
    assert watchers.after(LOOK_EVERY) == {"10"}
    path.unlink()
    assert watchers.after(100) == {"10"}
    swap(path, BOTH)
    assert watchers.after(LOOK_EVERY) == {"11"}
    swap(path, f"task nobody\nchain {OTHER}\n".encode())
    assert watchers.after(LOOK_EVERY) == {"01"}
    swap(path, b"# nobody\n")
    assert watchers.after(LOOK_EVERY) == {"00"}


def test_c_29_a_file_as_large_as_it_may_be(make: GuardMaker, path: Path) -> None:
    path.write_bytes(b"".join(b"token %s%05d\r\n" % (b"x" * 2043, number) for number in range(MAX_ENTRIES)))
    assert path.stat().st_size <= MAX_BYTES
    guard = make(deny_file=str(path))
    assert verdict(guard.decide(bearer(token(jti="x" * 2043 + "09999")))) == TOKEN


@pytest.mark.parametrize("spelling", ["keyword", "environment"])
def test_cfg_06_the_setting_has_both_spellings(path: Path, monkeypatch: pytest.MonkeyPatch, spelling: str) -> None:
    path.write_bytes(BOTH)
    monkeypatch.setenv("AGENTWRIT_BROKER_URL", "http://127.0.0.1:1")
    clock = MovableClock().clock
    if spelling == "environment":
        monkeypatch.setenv("AGENTWRIT_DENY_FILE", str(path))
    keywords: dict[str, Any] = {"deny_file": str(path)} if spelling == "keyword" else {}
    guard = Guard.from_env(clock=clock, **keywords)
    assert denied(guard) == (True, True)
    guard.close()
    for bad in ("", 7, path, ["x"], True):
        with pytest.raises(ConfigurationError, match=r"^deny_file must be"):
            Guard("http://127.0.0.1:1", deny_file=bad)  # type: ignore[arg-type]
