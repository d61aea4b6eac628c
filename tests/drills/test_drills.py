"""Each drill with small numbers, by its command. What it says of time is its own business, and not judged here."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentwrit_guard.devbroker import DevBroker
from tests.drills.command import COMMAND, ROOT, Run, drill

VALIDATE = "/v1/token/validate"


@pytest.fixture
def theirs() -> Iterator[DevBroker]:
    """A broker of yours: not the twin that a drill starts."""
    with DevBroker() as broker:
        yield broker


def against(broker: DevBroker, *words: str) -> Run:
    return drill(*words, "--broker-url", broker.url, "--admin-secret", broker.admin_secret)


def timeless(run: Run) -> set[str]:
    """Broken promises but for those of time, which a machine with other work may break."""
    return {promise for promise in run.broken if not any(word in promise for word in ("within", "a second", "below"))}


def test_x_01_malformed_tokens_cost_no_call() -> None:
    run = drill("malformed", "--count", "10000")
    assert timeless(run) == set()
    assert run.figures["tokens"] == sum(run.figures["refused"].values()) == 10_000
    assert run.figures["broker calls"] == 0
    assert run.figures["kinds"] > 40
    assert set(run.figures["refused"]) == {
        "400 malformed_credentials",
        "400 oversized_credentials",
        "400 repeated_credentials",
        "401 malformed_claims",
        "401 malformed_token",
    }


def test_x_02_x_05_forged_tokens_cost_no_call() -> None:
    run = drill("forged", "--count", "1400")
    assert timeless(run) == set()
    assert run.figures["tokens"] == 1400
    assert run.figures["refused"] == {"401 bad_signature": 1200, "401 unknown_key": 200}
    assert run.figures["broker calls"] == 0
    assert len(run.figures["by kind"]) == 6


def test_x_04_every_kind_of_long_input_has_its_ratio() -> None:
    run = drill("linear", "--rounds", "1")
    assert timeless(run) == set()
    assert run.figures["bytes"] == [4096, 8192]
    assert run.figures["kinds"] == len(run.figures["ratio of the times, and the longer one"]) > 100


def test_p2_the_last_worker_sees_a_deny_file(theirs: DevBroker) -> None:
    run = against(theirs, "workers", "--processes", "3", "--rounds", "3")
    assert timeless(run) == set()
    assert run.figures["workers"] == 3
    assert run.figures["requests of other agents"] > 0
    assert theirs.calls[VALIDATE] >= 3


def test_c_19_forked_children_share_nothing(theirs: DevBroker) -> None:
    run = against(theirs, "fork", "--processes", "3", "--rounds", "2")
    assert timeless(run) == set()
    assert run.figures["of which came to an end"] == 6
    # Of each child four tokens of its own and four of its parent's, each asked about three times.
    assert run.figures["answers in children"] == {"broker": 6 * 8 * 3}
    assert run.figures["connections of children"] >= 12
    assert theirs.calls[VALIDATE] == run.figures["answers here"]["broker"] + 6 * 8 * 3


def test_c_19_threads_get_their_own_tokens_claims(theirs: DevBroker) -> None:
    run = against(theirs, "threads", "--threads", "6", "--seconds", "1.5", "--ttl", "0.5")
    assert timeless(run) == set()
    assert run.figures["broker calls"] == theirs.calls[VALIDATE] > 6 * 2 + 16
    assert run.figures["calls for one token, at most"] > 1


def test_p3_a_broker_that_is_killed() -> None:
    run = drill("killed", "--agents", "3", "--seconds", "1")
    assert timeless(run) == set()
    assert run.figures["new agents let in then"] == "3 of 3"
    assert not any("newcomers: let in" in told for told in run.figures["broker is dead"])


@pytest.mark.parametrize("name", ["malformed", "forged", "linear", "killed", "outage"])
def test_what_is_not_for_a_broker_of_yours_says_so(name: str) -> None:
    run = drill(name, "--broker-url", "http://127.0.0.1:9", "--admin-secret", "x")
    assert (run.status, run.output) == (2, "")
    last = run.errors.splitlines()[-1]
    assert last.startswith(f"python -m bench.drills: error: {name} ")
    assert last.endswith("leave --broker-url out")


@pytest.mark.parametrize("name, processes", [("workers", 5), ("killed", 2), ("fork", 2)])
def test_nobody_is_left_after_an_interrupt(name: str, processes: int) -> None:
    """`processes`: the drill and its twin, and the server with two workers."""
    command = [*COMMAND, name, "--processes", "2", "--rounds", "1000", "--seconds", "1000"]
    running = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        while len(_session(running.pid)) < processes:
            assert running.poll() is None
        running.send_signal(signal.SIGINT)
        running.wait(60)
        assert _session(running.pid) == []
    finally:
        for pid in _session(running.pid):
            os.kill(pid, signal.SIGKILL)
        running.wait()


def _session(leader: int) -> list[int]:
    """Processes of a session that have not ended."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                told = (entry / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
            except OSError:
                continue
            if int(told[3]) == leader and told[0] not in ("Z", "X"):
                found.append(int(entry.name))
    return found
