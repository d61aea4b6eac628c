"""`agentwrit-guard shadow-report`: what a guard in shadow mode would have refused, from its decision records."""

from __future__ import annotations

import argparse
import contextlib
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import IO, Final

from agentwrit_guard import jsonlog
from agentwrit_guard.cli.exits import CommandError, Commands
from agentwrit_guard.cli.requests import Requests
from agentwrit_guard.cli.tally import Tally

_STDIN: Final = "-"


def add(commands: Commands) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        "shadow-report",
        help="show what a guard in shadow mode would have refused, from its log",
        description="Show what would have been refused, had the guard enforced: by route, by agent, by reason and by "
        "missing scope. FILE has decision records as JSON lines, as agentwrit_guard.jsonlog.JsonFormatter writes them.",
        epilog="Exit code 0: nothing would have been refused. 1: something would have been. 2: a file cannot be read, "
        "or there is no decision to count, so that nothing can be said.",
    )
    parser.add_argument("files", nargs="*", default=[_STDIN], metavar="FILE", help="a log, or - for stdin (default)")
    parser.add_argument("--since", type=_moment, metavar="TIME", help="leave out what is earlier, such as "
                        "2026-01-31T09:30:00Z")  # fmt: skip
    parser.add_argument("--until", type=_moment, metavar="TIME", help="leave out this time and what is later")
    parser.add_argument("--top", type=_rows, default=20, metavar="N", help="rows of a table (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run)
    return parser


def run(arguments: argparse.Namespace) -> int:
    tally = Tally()
    requests = Requests(tally.add)
    reading = jsonlog.read(_lines(arguments.files))
    for logged in reading:
        if _within(logged.time, arguments.since, arguments.until):
            tally.saw(logged)
            requests.add(logged)
    requests.end()
    left_out, others = reading.left_out, reading.others
    if not tally.records:
        raise CommandError(f"there is no decision to count; other log records: {others}, unreadable lines: {left_out}")
    from agentwrit_guard.cli import findings

    show = findings.as_json if arguments.json else findings.as_text
    show(tally, left_out=left_out, others=others, top=arguments.top)
    return 1 if tally.wanting else 0


def _within(time: datetime, since: datetime | None, until: datetime | None) -> bool:
    return (since is None or time >= since) and (until is None or time < until)


def _lines(paths: Sequence[str]) -> Iterator[bytes]:
    for path in paths:
        with _opened(path) as file:
            yield from jsonlog.lines(file)


@contextlib.contextmanager
def _opened(path: str) -> Iterator[IO[bytes]]:
    """The file, to be read. CommandError names one that cannot be."""
    try:
        # By its number, because a process that was started without has no sys.stdin.
        with open(0 if path == _STDIN else path, "rb", closefd=path != _STDIN) as file:
            yield file
    except OSError as error:
        name = "stdin" if path == _STDIN else ascii(path)[1:-1]
        raise CommandError(f"{name} cannot be read: {error.strerror or type(error).__name__}") from None


def _moment(text: str) -> datetime:
    try:
        return jsonlog.moment(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _rows(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,8}", text, re.ASCII):
        raise argparse.ArgumentTypeError("must be a whole number, at least 1")
    return int(text)
