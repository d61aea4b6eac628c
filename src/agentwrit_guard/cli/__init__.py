"""The command line: `agentwrit-guard COMMAND`, also as `python -m agentwrit_guard COMMAND`.

Exit codes: 0 all is well, 1 the answer is no (a demo step went wrong, a token or a request would be refused), 2 the
command could not be carried out, which one line on stderr explains, 128 and the number of the signal for Ctrl-C (130),
SIGTERM (143) and a reader of stdout that has gone away (141).

A command is a module with `add(commands)`; what it needs beyond the standard library it imports when it runs, so that
`--help` works without any extra.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn

from agentwrit_guard._version import __version__
from agentwrit_guard.cli import demo, deny, devbroker, inspect, mint, shadow
from agentwrit_guard.cli.exits import CommandError, interruptible, logging_to_stderr
from agentwrit_guard.errors import AgentWritError

__all__ = ["main"]

_EXTRAS: Final = ("fastapi", "flask", "rich", "starlette", "uvicorn", "waitress", "werkzeug")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code. As argparse does, `--help` and unknown options raise SystemExit."""
    arguments = _parser().parse_args(argv)
    run: Callable[[argparse.Namespace], int] = arguments.run
    try:
        with interruptible(), logging_to_stderr(verbose=arguments.verbose):
            code = run(arguments)
            # Here, and not at exit, a reader that has gone away can still be met with grace.
            sys.stdout.flush()
            return code
    except CommandError as error:
        return _fail(str(error))
    except AgentWritError as error:
        return _fail(str(error))
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRAS:
            raise
        return _fail(f"{arguments.command} needs {package}; pip install 'agentwrit-guard[all]'")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13
    except OSError as error:
        return _fail(str(error))
    except KeyboardInterrupt as interrupt:
        return 128 + int(interrupt.args[0] if interrupt.args else 2)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="agentwrit-guard", description="Guard a Python API that lets AI agents in.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands: Any = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    for add in (demo.add, devbroker.add, mint.add, inspect.add, deny.add, deny.add_undeny, shadow.add):
        added = add(commands)
        added.add_argument("-v", "--verbose", action="store_true", help="show the guard's log records on stderr")
    return parser


def _fail(reason: str) -> int:
    print(f"agentwrit-guard: {' '.join(reason.split())}", file=sys.stderr)
    return 2
