"""`shadow-report`: what it counts, what it says, and that no log makes it die, grow or move a terminal."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentwrit_guard.cli import main
from agentwrit_guard.cli.advice import advice
from agentwrit_guard.cli.requests import MAX_OPEN
from agentwrit_guard.cli.tally import MAX_ROWS
from agentwrit_guard.core.decisions import DecisionEvent, Reason
from agentwrit_guard.jsonlog import JsonFormatter
from tests.cli.kit import one_line, run, started
from tests.kit.tokens import AGENT, OTHER

NOW = 1_800_000_000
Report = Callable[..., Any]


def wrote(at: float = 0, outcome: str = "allowed", **changes: Any) -> str:
    """The line that is logged for a decision, `at` seconds after NOW."""
    said: dict[str, Any] = {
        "outcome": outcome, "reason": "ok", "status": 200, "phase": "middleware", "front": "asgi", "method": "GET",
        "path": "/orders/7", "request_id": "r1", "source": "broker", **changes,
    }  # fmt: skip
    made = {"name": "agentwrit_guard.decisions", "levelno": logging.INFO, "created": NOW + at}
    return JsonFormatter().format(logging.makeLogRecord({**made, "decision": DecisionEvent(**said)})) + "\n"


def refused(reason: Reason, at: float = 0, **changes: Any) -> str:
    return wrote(at, "denied", **{"reason": reason.code, "status": reason.status, "enforced": False, **changes})


def lacking(*missing: str, at: float = 0, **changes: Any) -> str:
    said = {"phase": "requirement", "agent_id": AGENT, "route": "/orders/{id}", "missing": missing, **changes}
    return refused(Reason.INSUFFICIENT_SCOPE, at, **said)


@pytest.fixture
def report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Report:
    """The document of a log of these lines, after its exit code was looked at."""

    def made(*lines: str, options: tuple[str, ...] = ()) -> Any:
        file = tmp_path / "decisions.jsonl"
        file.write_text("".join(lines), encoding="utf-8")
        code = main(["shadow-report", "--json", *options, str(file)])
        document = json.loads(capsys.readouterr().out)
        assert code == int(document["would_refuse"])
        return document

    return made


def told(rows: Any, *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in rows["rows"]]


def test_nothing_would_have_been_refused(report: Report) -> None:
    document = report(wrote(request_id="a"), wrote(1, request_id="b"), wrote(1, request_id="b", phase="requirement"))
    assert document["would_refuse"] is False
    assert (document["lines"]["decisions"], document["requests"], document["enforced"]) == (3, 2, 0)
    assert (document["first"], document["last"]) == ("2027-01-15T08:00:00.000Z", "2027-01-15T08:00:01.000Z")
    assert document["refusals"] == {"refused": 0, "unavailable": 0, "share": 0.0}


def test_a_request_with_two_records_is_one(report: Report) -> None:
    """In shadow mode a caller without credentials is refused by the middleware and by the requirement."""
    document = report(
        refused(Reason.NO_CREDENTIALS),
        refused(Reason.NO_CREDENTIALS, phase="requirement", route="/orders/{id}"),
        wrote(request_id="r2", agent_id=AGENT),
        lacking("read:orders:7", request_id="r2"),
    )
    assert (document["requests"], document["refusals"]) == (2, {"refused": 2, "unavailable": 0, "share": 1.0})
    assert told(document["routes"], "method", "path", "declared", "refused") == [("GET", "/orders/{id}", True, 2)]
    assert told(document["agents"], "agent_id", "refused") == [(None, 1), (AGENT, 1)]
    assert told(document["reasons"], "status", "reason", "refused") == [
        (401, "no_credentials", 1),
        (403, "insufficient_scope", 1),
    ]


def test_the_middlewares_refusal_is_the_one_that_counts(report: Report) -> None:
    """It would have been the answer, even if it was known too late to come first in the log."""
    for lines in ([0, 1], [1, 0]):
        both = [refused(Reason.BROKER_UNAVAILABLE), lacking("read:orders:7")]
        document = report(*(both[at] for at in lines))
        assert told(document["reasons"], "reason", "refused", "unavailable") == [("broker_unavailable", 0, 1)]
        assert document["refusals"]["unavailable"] == document["requests"] == 1
        # It has to be mended all the same.
        assert told(document["lacks"], "missing") == [(["read:orders:7"],)]


def test_an_allowed_decision_that_came_too_late_is_no_refusal(report: Report) -> None:
    assert report(wrote(enforced=False), wrote(phase="requirement"))["would_refuse"] is False


@pytest.mark.parametrize("records, requests", [
    ([wrote(), wrote()], 2),
    ([lacking("a:b:c"), wrote()], 1),
    ([lacking("a:b:c"), lacking("a:b:d", at=59)], 1),
    ([lacking("a:b:c"), lacking("a:b:d", at=61)], 2),
    ([lacking("a:b:c"), lacking("a:b:d", path="/orders/8")], 2),
    ([lacking("a:b:c"), lacking("a:b:d", method="PUT")], 2),
])  # fmt: skip
def test_a_callers_request_id_does_not_hide_requests(report: Report, records: list[str], requests: int) -> None:
    assert report(*records)["requests"] == requests


def test_scopes_that_an_agent_lacks_at_a_route(report: Report) -> None:
    document = report(
        lacking("read:orders:7", request_id="a", path="/orders/7"),
        lacking("read:orders:7", request_id="b", path="/orders/7"),
        lacking("write:orders:7", "write:stock:7", request_id="c", method="POST", agent_id=OTHER),
        # One request that two requirements refuse: both have to be mended.
        lacking("read:orders:7", request_id="d"),
        lacking("read:stock:7", request_id="d"),
        refused(Reason.DELEGATION_RULE, request_id="e", phase="requirement", agent_id=AGENT),
    )
    assert told(document["lacks"], "agent_id", "missing", "method", "path", "refused") == [
        (AGENT, ["read:orders:7"], "GET", "/orders/{id}", 3),
        (AGENT, ["read:stock:7"], "GET", "/orders/{id}", 1),
        (OTHER, ["write:orders:7", "write:stock:7"], "POST", "/orders/{id}", 1),
    ]
    assert document["refusals"]["refused"] == 5


def test_what_could_not_be_asked_blames_nobody(report: Report) -> None:
    down = [refused(Reason.BROKER_UNAVAILABLE, request_id=f"r{n}") for n in range(3)]
    document = report(*down, refused(Reason.EXPIRED, request_id="x", agent_id=AGENT))
    assert document["refusals"] == {"refused": 1, "unavailable": 3, "share": 1.0}
    assert told(document["agents"], "agent_id", "refused", "unavailable") == [(AGENT, 1, 0), (None, 0, 3)]
    assert told(document["reasons"], "reason", "unavailable") == [("expired", 0), ("broker_unavailable", 3)]


def test_what_was_refused_indeed_is_in_no_table(report: Report) -> None:
    document = report(
        refused(Reason.EXPIRED, request_id="a", enforced=True),
        refused(Reason.NO_CREDENTIALS, request_id="b"),
        refused(Reason.NO_CREDENTIALS, request_id="b", phase="requirement", enforced=True),
        wrote(request_id="c"),
    )
    assert (document["requests"], document["enforced"], document["would_refuse"]) == (3, 2, False)
    assert document["routes"] == document["reasons"] == {"rows": [], "others": 0}


def test_a_connection_that_would_have_been_ended_stands_for_itself(report: Report) -> None:
    document = report(
        wrote(agent_id=AGENT),
        wrote(phase="requirement", route="/ws/{id}"),
        refused(Reason.DENY_LIST, at=4000, phase="connection"),
    )
    assert (document["requests"], document["refusals"]["share"]) == (1, 0.0)
    assert document["ended"] == {"refused": 1, "unavailable": 0}
    assert told(document["agents"], "agent_id") == [(AGENT,)]
    assert told(document["routes"], "path") == [("/ws/{id}",)]
    assert report(wrote(), refused(Reason.EXPIRED, phase="connection", enforced=True))["enforced"] == 0


@pytest.mark.parametrize("path, shown", [
    ("/orders/7", "/orders/*"),
    ("/v1/orders/a7b/lines", "/*/orders/*/lines"),
    ("/" + "a" * 32, "/" + "a" * 32),
    ("/" + "a" * 33, "/*"),
    ("/x/\u0663", "/x/*"),
    ("/", "/"),
    ("/" + "a/" * 300, "/" + "a/" * 99 + "a..."),
])  # fmt: skip
def test_ids_in_a_path_without_a_route_make_no_rows(report: Report, path: str, shown: str) -> None:
    document = report(refused(Reason.EXPIRED, path=path))
    assert told(document["routes"], "path", "declared") == [(shown, False)]


def test_the_most_frequent_come_first_and_the_rest_is_counted(report: Report) -> None:
    counts = {"/a": 2, "/b": 5, "/c": 1, "/d": 3}
    lines = [
        refused(Reason.EXPIRED, request_id=f"{path}{n}", path=path)
        for path, count in counts.items()
        for n in range(count)
    ]
    document = report(*lines, options=("--top", "2"))
    assert told(document["routes"], "path", "refused") == [("/b", 5), ("/d", 3)]
    assert document["routes"]["others"] == 3
    assert document["refusals"]["refused"] == 11


def test_time_may_be_narrowed(report: Report) -> None:
    lines = [refused(Reason.EXPIRED, at, request_id=f"r{at}") for at in range(5)]
    options = ("--since", "2027-01-15T08:00:01Z", "--until", "2027-01-15T10:00:03+02:00")
    document = report(*lines, options=options)
    assert (document["requests"], document["first"], document["last"]) == (
        2,
        "2027-01-15T08:00:01.000Z",
        "2027-01-15T08:00:02.000Z",
    )


def test_memory_is_bounded(report: Report) -> None:
    """More rows, and more requests that are under way at a time, than are held."""
    most = max(MAX_ROWS, MAX_OPEN)
    lines = [
        lacking(f"read:orders:{n}", request_id=f"r{n}", route=f"/route-{n}", agent_id=f"agent-{n}")
        for n in range(most + 7)
    ]
    document = report(*lines, lacking("read:orders:1", request_id="r0"), options=("--top", "99999"))
    for name in ("routes", "agents", "lacks"):
        assert (len(document[name]["rows"]), document[name]["others"]) == (MAX_ROWS, 8)
    # The first was no longer waited for when its second record came.
    assert document["requests"] == most + 8


def test_a_broken_line_costs_that_line(report: Report) -> None:
    foreign = JsonFormatter().format(logging.makeLogRecord({"name": "app", "msg": "x"})) + "\n"
    document = report(wrote(), "{\n", f"app-1 | {wrote()}", foreign, refused(Reason.EXPIRED, request_id="b"))
    assert document["lines"] == {"decisions": 2, "other_records": 1, "left_out": 2}


def test_every_reason_has_advice() -> None:
    said = {reason: advice(reason.code) for reason in Reason}
    assert len(set(said.values())) == len(Reason)
    assert all(text.endswith(".") and len(text) < 100 for text in said.values())
    assert advice("of_a_newer_guard") not in said.values()


# As text, in a process of its own.


def test_text_cannot_move_the_terminal() -> None:
    evil = "\x1b[2J\r\n\u202e\x9b\u2028"
    line = lacking(f"read:{evil}:7", method=evil, path=f"/{evil}", route=f"/{evil}", agent_id=evil, request_id=evil)
    line += refused(Reason.EXPIRED, path=f"/x{evil}").replace('"expired"', json.dumps(evil))
    said = run("shadow-report", stdin=line)
    assert (said.returncode, said.stderr) == (1, "")
    assert said.stdout.isascii()
    assert not [char for char in said.stdout if ord(char) < 32 and char != "\n"]
    assert r"\x1b[2J\r\n\u202e\x9b\u2028 lacks read:" in said.stdout
    assert len(said.stdout.splitlines()) == len(
        run("shadow-report", stdin=line.replace("u001b", "u0041")).stdout.splitlines()
    )


def test_text_says_what_the_document_says() -> None:
    lines = [
        wrote(request_id="a"),
        lacking("read:orders:7", request_id="b"),
        refused(Reason.BREAKER_OPEN, request_id="c", method="PUT", path="/x/1"),
        refused(Reason.DENY_LIST, request_id="d", phase="connection"),
        refused(Reason.EXPIRED, request_id="e", enforced=True),
    ]
    said = run("shadow-report", "--top", "2", stdin="".join(lines) + "junk\n").stdout
    for row in (
        "records      5, from 2027-01-15T08:00:00.000Z to 2027-01-15T08:00:00.000Z",
        "requests     4",
        "refused      2 (50.0%) would have been, had the guard enforced",
        "             1 for what the caller sent or holds (4xx)",
        "             1 because the broker could not be asked (503)",
        "ended        1 open connections would have been, 0 of them with 503",
        "enforced     1 requests were refused indeed; they are in no table",
        "left out     1 lines that could not be read",
        "      1      0  GET /orders/{id}",
        "             1  in rows that are not shown",
        f"      1  {AGENT} lacks read:orders:7 on GET /orders/{{id}}",
        f"      1  403 insufficient_scope: {advice('insufficient_scope')}",
    ):
        assert row in said.splitlines()
    assert "GET /orders/* (no route known)" in said


@pytest.mark.parametrize("stdin, code", [(wrote(), 0), (refused(Reason.EXPIRED), 1)])
def test_exit_codes(stdin: str, code: int) -> None:
    assert run("shadow-report", stdin=stdin).returncode == run("shadow-report", "-", stdin=stdin).returncode == code


def test_help_says_what_the_exit_codes_mean() -> None:
    said = " ".join(run("shadow-report", "--help").stdout.split())
    assert "Exit code 0: nothing would have been refused. 1: something would have been. 2: a file" in said


def test_several_files_are_one_report(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(refused(Reason.EXPIRED, request_id=name), encoding="utf-8")
    said = run("shadow-report", "--json", str(tmp_path / "a"), "-", str(tmp_path / "b"), stdin=wrote())
    assert (json.loads(said.stdout)["requests"], json.loads(said.stdout)["refusals"]["refused"]) == (3, 2)


@pytest.mark.parametrize("stdin", ["", "junk\n" * 3, JsonFormatter().format(logging.makeLogRecord({})) + "\n"])
def test_a_log_without_a_decision_is_no_good_news(stdin: str) -> None:
    assert "there is no decision to count" in one_line(run("shadow-report", stdin=stdin))


@pytest.mark.parametrize("arguments, text", [
    (("/nowhere/x\x1b\n",), r"/nowhere/x\x1b\n cannot be read: No such file or directory"),
    (("/",), "/ cannot be read: Is a directory"),
    (("--top", "0"), "at least 1"),
    (("--top", "many"), "at least 1"),
    (("--since", "yesterday"), "not a time like 2026-01-31T09:30:00Z"),
])  # fmt: skip
def test_a_mistake_is_one_line(arguments: tuple[str, ...], text: str) -> None:
    assert text in one_line(run("shadow-report", *arguments))


def test_a_reader_that_goes_away(tmp_path: Path) -> None:
    file = tmp_path / "decisions.jsonl"
    file.write_text("".join(lacking(f"a:b:{n}", request_id=f"r{n}") for n in range(2000)), encoding="utf-8")
    with started("shadow-report", "--top", "2000", str(file)) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(60) == 141


def test_interrupted_while_it_waits_for_lines() -> None:
    command = [sys.executable, "-c", _TELLING, "shadow-report"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"reading\n"
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=60)
        assert (process.returncode, out, error) == (130, b"", b"")


# The command, with a word once it has begun to read.
_TELLING = """
import sys
from agentwrit_guard import jsonlog
from agentwrit_guard.cli import main
lines = jsonlog.lines
def telling(file):
    print("reading", flush=True)
    return lines(file)
jsonlog.lines = telling
sys.exit(main())
"""
