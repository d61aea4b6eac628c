"""`agentwrit-guard mint`: one agent, its token on stdout."""

from __future__ import annotations

import argparse

from agentwrit_guard.cli import target
from agentwrit_guard.cli.exits import CommandError, Commands


def add(commands: Commands) -> argparse.ArgumentParser:
    parser = commands.add_parser("mint", help="create an agent and print its token", description=__doc__)
    parser.add_argument("scopes", nargs="+", metavar="SCOPE", help="action:resource:identifier, as read:customers:7291")
    target.add_arguments(parser)
    parser.add_argument("--orch", default="cli", metavar="ID", help="orchestrator id (%(default)s)")
    parser.add_argument("--task", default="mint", metavar="ID", help="task id (%(default)s)")
    parser.add_argument("--ttl", type=int, default=300, metavar="SECONDS", help="lifetime of the token (%(default)s)")
    parser.add_argument("--header", action="store_true", help="print the whole Authorization header line")
    parser.set_defaults(run=run)
    return parser


def run(arguments: argparse.Namespace) -> int:
    found = target.find(arguments)
    if found is None:
        raise CommandError("mint needs a broker: give --broker-url, --client-id and --client-secret (see mint --help)")
    with found.app() as app, target.explained(arguments.scopes):
        agent = app.create_agent(arguments.orch, arguments.task, arguments.scopes, max_ttl=arguments.ttl)
    print(f"Authorization: Bearer {agent.access_token}" if arguments.header else agent.access_token)
    return 0
