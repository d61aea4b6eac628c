"""Decision records as JSON lines: written by real logging of a real guard's decisions, and read again."""

from __future__ import annotations

import dataclasses
import io
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentwrit_guard import Guard
from agentwrit_guard.core.decisions import DecisionEvent, Denied
from agentwrit_guard.jsonlog import MAX_LINE, JsonFormatter, lines, moment, read
from tests.kit.clock import MovableClock
from tests.kit.drivers import Request
from tests.kit.fronts import FRONTS, WHOLE
from tests.kit.stub import StubBroker
from tests.kit.tokens import AGENT, token

TOKEN = f"eyJ{'h' * 40}.eyJ{'p' * 120}.{'s' * 86}"


@contextmanager
def logged(*names: str) -> Iterator[io.StringIO]:
    """What a handler with our formatter writes."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    loggers = [logging.getLogger(name) for name in names]
    before = [(logger, logger.level) for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    try:
        yield stream
    finally:
        for logger, level in before:
            logger.removeHandler(handler)
            logger.setLevel(level)


def line(**changes: Any) -> str:
    """A line that is written for a decision, with members changed."""
    with logged("agentwrit_guard.decisions") as stream:
        record(Guard("http://127.0.0.1:9"))
    return json.dumps({**json.loads(stream.getvalue()), **changes})


def record(guard: Guard, **changes: Any) -> None:
    said = {"phase": "requirement", "front": "asgi", "method": "GET", "path": "/orders/7", "request_id": "r1"}
    refusal = guard.check([])
    assert isinstance(refusal, Denied)
    guard.record(refusal, **{**said, "route": "/orders/{id}", "enforced": False, **changes})


@pytest.mark.parametrize("name", WHOLE)
def test_what_a_guard_decides_is_read_again(name: str) -> None:
    seen: list[DecisionEvent] = []
    with StubBroker() as broker, logged("agentwrit_guard.decisions") as stream:
        front = FRONTS[name](Guard(broker.url, clock=MovableClock().clock, on_decision=seen.append))
        headers = [("Authorization", b"Bearer " + token().encode())]
        for path in ("/customers/7291", "/customers/8", "/customers/x%0d%0aINJECTED%1b[31m", "/customers/%e2%80%a8"):
            front.request(Request(path, headers=headers))
        front.request(Request("/me"))
        broker.answer = lambda _: (500, {}, b"")
        front.request(Request("/me", headers=[("Authorization", b"Bearer " + token(jti="e" * 32).encode())]))
    reading = read(stream.getvalue().splitlines())
    found = list(reading)
    assert [each.event for each in found] == [dataclasses.replace(event, detail=dict(event.detail)) for event in seen]
    assert (reading.left_out, reading.others) == (0, 0)
    assert {each.event.agent_id for each in found} == {AGENT, None}
    assert {each.event.status for each in found} == {200, 401, 403, 503}
    assert any(each.event.missing for each in found)


def test_what_shadow_mode_adds_is_read_again() -> None:
    (found,) = read([line()])
    assert (found.event.enforced, found.event.route, found.event.reason) == (False, "/orders/{id}", "no_credentials")


@given(path=st.text(st.characters(), max_size=60), method=st.text(st.characters(), max_size=8))
def test_a_record_is_one_line_of_ascii_whatever_is_in_its_path(path: str, method: str) -> None:
    with logged("agentwrit_guard.decisions") as stream:
        record(Guard("http://127.0.0.1:9"), path=path, method=method)
    text = stream.getvalue()
    assert text.isascii()
    assert text.splitlines() == [text.removesuffix("\n")]
    assert not re.search(r"[\x00-\x1f\x7f]", text.removesuffix("\n"))
    (found,) = read([text])
    assert (found.event.path, found.event.method) == tuple(
        re.sub("[\ud800-\udfff]", "\ufffd", t) for t in (path, method)
    )


@pytest.mark.parametrize("dot", [".", "%2E", "/", " "])
@pytest.mark.parametrize("before", ["", "Bearer%20", "/login/", "a.b.c."])
def test_l_01_no_line_holds_a_token(before: str, dot: str) -> None:
    spelt = TOKEN.replace(".", dot)
    with logged("agentwrit_guard.decisions", "elsewhere") as stream:
        record(Guard("http://127.0.0.1:9"), path=f"{before}{spelt}/x")
        logging.getLogger("elsewhere").warning("asked with %s and left", f"{before}{spelt}")
        try:
            raise ValueError(f"{before}{spelt}")
        except ValueError:
            logging.getLogger("elsewhere").exception("failed\nbadly")
    text = stream.getvalue()
    assert text.count("\n") == 3
    assert "[token]" in text
    assert not [
        start for part in TOKEN.split(".") for start in range(len(part) - 15) if part[start : start + 16] in text
    ]


@pytest.mark.parametrize(
    "name", ["a" * 200, ".".join(["agentwrit_guard", "some_very_long_name", "other_very_long_name"])]
)
def test_long_names_are_no_tokens(name: str) -> None:
    with logged("agentwrit_guard.decisions") as stream:
        record(Guard("http://127.0.0.1:9"), path=f"/{name}")
    assert json.loads(stream.getvalue())["path"] == f"/{name}"


def test_events_and_records_of_others_go_through_the_same_handler() -> None:
    with StubBroker() as broker, logged("agentwrit_guard", "elsewhere") as stream:
        front = FRONTS["asgi"](Guard(broker.url, audience="api", clock=MovableClock().clock))
        front.request(Request(headers=[("Authorization", b"Bearer " + token().encode())]))
        logging.getLogger("elsewhere").info("a %s\n\u2028", "b", extra={"decision": "none of ours"})
    event, decision, foreign = map(json.loads, stream.getvalue().splitlines())
    assert list(event) == ["time", "level", "logger", "event", "reason", "message"]
    assert (event["level"], event["event"], event["reason"]) == ("WARNING", "refused", "audience_mismatch")
    assert "AA_AUDIENCE" in event["message"]
    assert decision["reason"] == "audience_mismatch"
    del foreign["time"]
    assert foreign == {"level": "INFO", "logger": "elsewhere", "message": "a b\n\u2028"}
    reading = read(stream.getvalue().splitlines())
    assert (len(list(reading)), reading.others, reading.left_out) == (1, 2, 0)


def test_the_time_is_rfc_3339_in_utc_with_milliseconds() -> None:
    made = logging.makeLogRecord({"created": 1_800_000_000.0625, "name": "x"})
    assert json.loads(JsonFormatter().format(made))["time"] == "2027-01-15T08:00:00.062Z"


def test_members_of_every_record_are_no_fields_of_a_decision() -> None:
    assert not {"time", "level", "logger"} & {field.name for field in dataclasses.fields(DecisionEvent)}


def test_what_a_newer_guard_adds_is_passed_over_and_what_an_older_left_out_is_the_default() -> None:
    older = json.loads(line(shoe_size=[46]))
    for name in ("enforced", "route", "detail", "depth", "agent_id", "required"):
        del older[name]
    (found,) = read([json.dumps(older)])
    assert (found.event.enforced, found.event.route, found.event.detail) == (True, None, {})


BROKEN = {
    "cut off": line()[:-1],
    "text before": f"app-1 | {line()}",
    "text after": f"{line()} x",
    "two": line() * 2,
    "a list": f"[{line()}]",
    "no JSON": "GET /me 200",
    "deep": "[" * 100_000,
    "NaN": line().replace("401", "NaN"),
    "a long number": line().replace("401", "4" * 5000),
    "twice the member": line().replace("{", '{"status": 1, ', 1),
    "other version": line(version=2),
    "version of another type": line(version=True),
    "outcome": line(outcome="perhaps"),
    "phase": line(phase="kitchen"),
    "status": line(status="401"),
    "status of another type": line(status=True),
    "depth": line(depth=None),
    "path": line(path=None),
    "agent": line(agent_id=7),
    "enforced": line(enforced=0),
    "missing": line(missing="read:orders:7"),
    "required": line(required=[7]),
    "detail": line(detail=[]),
    "value of detail": line(detail={"a": 1}),
    "no time": line(time=None),
    "no zone": line(time="2026-11-23T10:00:00"),
    "hour": line(time="2026-11-23T25:00:00Z"),
    "year": line(time="0001-01-01T00:00:00+10:00"),
    "surrogate": line(path="\ud800"),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("as_bytes", [False, True])
def test_a_line_that_cannot_be_read_is_counted_and_the_rest_is_read(broken: str, as_bytes: bool) -> None:
    given = [line(), broken, "", " \n", line()]
    reading = read([text.encode() for text in given] if as_bytes else given)
    assert (len(list(reading)), reading.left_out, reading.others) == (2, 1, 0)


def test_what_an_app_logs_of_a_decision_by_itself_is_not_counted_again() -> None:
    said = json.loads(line())
    reading = read([json.dumps({**said, "logger": "app.audit"}), json.dumps(said)])
    assert (len(list(reading)), reading.others, reading.left_out) == (1, 1, 0)


@pytest.mark.parametrize("broken", [b"\xff", b"\xef\xbb\xbf" + line().encode(), line().encode("utf-16"), "\udc80"])
def test_a_line_that_is_not_text_is_counted(broken: str | bytes) -> None:
    reading = read([broken])
    assert (len(list(reading)), reading.left_out) == (0, 1)


def test_a_record_in_the_path_of_another_loggers_line_is_none() -> None:
    """Whoever sends a request may put anything into the line that an access log writes of it."""
    reading = read([f'INFO: 127.0.0.1 - "GET /{line()}" 404'])
    assert (list(reading), reading.left_out) == ([], 1)


def test_a_line_without_end_is_skipped_in_pieces() -> None:
    class Counting(io.BytesIO):
        most = 0

        def readline(self, size: int | None = -1, /) -> bytes:
            read = super().readline(size)
            self.most = max(self.most, len(read))
            return read

    good = line().encode() + b"\n"
    endless = line().encode() + b" " * (3 * MAX_LINE) + b"\n"
    longest = line().encode().ljust(MAX_LINE - 1) + b"\n"
    file = Counting(good + endless + longest + good + endless.rstrip(b"\n"))
    reading = read(lines(file))
    assert (len(list(reading)), reading.left_out) == (3, 2)
    assert file.most <= MAX_LINE + 1


@pytest.mark.parametrize("text, expected", [
    ("2026-11-23T10:00:00Z", datetime(2026, 11, 23, 10, tzinfo=timezone.utc)),
    ("2026-11-23T10:00:00.5+02:00", datetime(2026, 11, 23, 8, 0, 0, 500_000, tzinfo=timezone.utc)),
    ("2026-11-23T10:00:00.123456789-00:30", datetime(2026, 11, 23, 10, 30, 0, 123_456, tzinfo=timezone.utc)),
])  # fmt: skip
def test_times(text: str, expected: datetime) -> None:
    assert moment(text) == expected
