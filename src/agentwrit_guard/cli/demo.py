"""`agentwrit-guard demo`: real tokens, real servers, real answers, in one table."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import logging
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from agentwrit_guard.cli import target
from agentwrit_guard.cli.exits import Commands, log
from agentwrit_guard.cli.target import Target

if TYPE_CHECKING:
    from agentwrit_guard.cli.play import Front
    from agentwrit_guard.cli.steps import Stage


def add(commands: Commands) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        "demo",
        help="see a guard at work: a broker, two guarded apps, real requests",
        description="Start a broker in memory, a guarded FastAPI app and a guarded Flask app on free loopback ports, "
        "send them requests of all kinds and show the answers. With --broker-url the same against a real broker, "
        "through an app whose ceiling covers read:customers:* and write:customers:*.",
    )
    target.add_arguments(parser)
    parser.add_argument("--admin-secret", metavar="SECRET", help="adds the steps that need an operator")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of the table")
    parser.add_argument("--keep", action="store_true", help="leave it running, with curl lines to try")
    parser.set_defaults(run=run)
    return parser


def run(arguments: argparse.Namespace) -> int:
    given = target.find(arguments)
    for package in ("fastapi", "flask", "uvicorn", "waitress"):
        # Before anything is started. What is missing is named to the user by `main`.
        importlib.import_module(package)
    with contextlib.ExitStack() as stack:
        chosen = stack.enter_context(_twin()) if given is None else given
        from agentwrit_guard.cli import play, report
        from agentwrit_guard.cli.steps import STEPS

        steps = [step for step in STEPS if chosen.admin_secret is not None or not step.operators]
        stage, fronts = stack.enter_context(play.staged(chosen))
        with _quiet(unless=arguments.verbose):
            outcomes = [outcome for step in steps for outcome in play.perform(step, stage, fronts)]
        left_out = [step.name for step in STEPS if step not in steps]
        show = report.as_json if arguments.json else report.as_table
        show(outcomes, left_out=left_out, broker="its own twin" if given is None else given.settings.broker_url)
        sys.stdout.flush()
        if arguments.keep:
            _keep(stage, fronts, json=arguments.json)
    return 0 if all(outcome.ok for outcome in outcomes) else 1


@contextlib.contextmanager
def _twin() -> Iterator[Target]:
    from agentwrit_guard.cli.cast import CEILING
    from agentwrit_guard.devbroker import DevBroker
    from agentwrit_guard.settings import Settings

    with DevBroker() as broker:
        app = broker.app(scopes=CEILING)
        yield Target(Settings(broker_url=broker.url), app.client_id, app.client_secret, broker.admin_secret)


@contextlib.contextmanager
def _quiet(*, unless: bool) -> Iterator[None]:
    """Within, no warnings: the demo provokes refusals on purpose."""
    level = log.level
    if not unless:
        log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)


_KEPT_SECONDS: Final = 3600


def _keep(stage: Stage, fronts: list[Front], *, json: bool) -> None:
    """Print curl lines and wait for a signal. Nothing but JSON goes to stdout where JSON was asked for."""
    token = stage.cast.enlist("guest", ("read:customers:7291",), ttl=_KEPT_SECONDS)
    bearer = '-H "Authorization: Bearer $TOKEN"'
    lines = ["", "Running until Ctrl-C. To try:", "", f"export TOKEN={token}"]
    for front in fronts:
        lines += [
            f"curl -i {bearer} {front.url}/customers/7291   # {front.name}: 200",
            f"curl -i {bearer} {front.url}/customers/7292   # {front.name}: 403",
            f"curl -i {bearer} {front.url}/customers        # {front.name}: 200, one of three",
            f"curl -i {front.url}/customers/7291            # {front.name}: 401",
        ]
    print("\n".join(lines), file=sys.stderr if json else sys.stdout, flush=True)
    while True:
        time.sleep(3600)
