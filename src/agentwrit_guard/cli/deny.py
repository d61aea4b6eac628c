"""`agentwrit-guard deny` and `undeny`: change a deny file in one step, so that no guard ever reads half of it."""

from __future__ import annotations

import argparse
import contextlib
import os
import stat
import time
from collections.abc import Callable, Iterator

from agentwrit_guard.cli.exits import CommandError, Commands
from agentwrit_guard.core.deny import LEVELS, DenyEntry, DenyList
from agentwrit_guard.settings import PREFIX

_VARIABLE = f"{PREFIX}DENY_FILE"
# Two names for the same claims.
_TWINS = {"agent": "chain", "chain": "agent"}


def add(commands: Commands) -> argparse.ArgumentParser:
    return _parser(
        commands, "deny", add_entry, "stop an agent, task or token in every process that watches the deny file"
    )


def add_undeny(commands: Commands) -> argparse.ArgumentParser:
    return _parser(commands, "undeny", remove_entry, "take an entry out of the deny file")


def _parser(
    commands: Commands, name: str, run: Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}. The file is replaced in one step; guards see it within a second.",
        epilog="`agent` and `chain` reach an agent's own tokens and all that came through it; `token` takes a jti.",
    )
    parser.add_argument("level", choices=LEVELS, metavar="LEVEL", help=", ".join(LEVELS))
    parser.add_argument("target", metavar="TARGET", help="an agent's id, a task_id, or a jti")
    parser.add_argument("--file", default=os.environ.get(_VARIABLE), help=f"the deny file (default: {_VARIABLE})")
    if name == "deny":
        parser.add_argument("--create", action="store_true", help="make the file if there is none")
    parser.set_defaults(run=run)
    return parser


def add_entry(arguments: argparse.Namespace) -> int:
    entry = DenyEntry.checked(arguments.level, arguments.target)
    with _changing(arguments.file, create=arguments.create) as lines:
        known = any(_says(line, entry) for line in lines)
        if not known:
            lines.append(f"{entry.level} {entry.target}")
    print(f"{'already denied' if known else 'denied'}: {entry.level} {entry.target}")
    return 0


def remove_entry(arguments: argparse.Namespace) -> int:
    entry = DenyEntry.checked(arguments.level, arguments.target)
    with _changing(arguments.file, create=False) as lines:
        known = any(_says(line, entry) for line in lines)
        lines[:] = [line for line in lines if not _says(line, entry)]
        twin = _TWINS.get(entry.level)
        still = twin is not None and any(_says(line, DenyEntry(twin, entry.target)) for line in lines)
    print(f"{'no longer denied' if known else 'was not denied'}: {entry.level} {entry.target}")
    if still:
        print(f"still denied: {twin} {entry.target}")
    return 0 if known and not still else 1


def _says(line: str, entry: DenyEntry) -> bool:
    return line.split() == [entry.level, entry.target]


@contextlib.contextmanager
def _changing(path: str | None, *, create: bool) -> Iterator[list[str]]:
    """The lines of the file, to be changed. What cannot be used by a guard is not written, and not written over."""
    if not path:
        raise CommandError(f"give --file, or set {_VARIABLE}")
    path = os.path.realpath(path)
    if not create and not os.path.exists(path):
        raise CommandError(f"there is no file {path}; --create makes one")
    # The new file is the lock, too: two who change it at a time would lose one of the changes.
    new = f"{path}.new"
    try:
        made = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        text = f"{new} is there: somebody else is changing the file, or was cut off; then remove it"
        raise CommandError(text) from None
    try:
        with os.fdopen(made, "w", encoding="utf-8", newline="\n") as file:
            lines: list[str] = []
            if os.path.exists(path):
                _check(path)
                with open(path, encoding="utf-8", newline="\n") as old:
                    lines = old.read().split("\n")[:-1]
                _as_before(path, file.fileno())
            yield lines
            # An empty file might have been cut off, so no guard takes one for the end of every entry.
            lines = lines or ["# nobody is denied"]
            file.write("".join(f"{line}\n" for line in lines))
            file.flush()
            os.fsync(file.fileno())
        _check(new)
        os.replace(new, path)
    except BaseException:
        os.unlink(new)
        raise


def _as_before(path: str, new: int) -> None:
    """Whoever could read the old file can read the new one: guards run as somebody else, perhaps."""
    before = os.stat(path)
    try:
        os.fchown(new, before.st_uid, before.st_gid)
    except PermissionError:
        text = f"{path} is somebody else's, and the new file would not be: change it as its owner, or as root"
        raise CommandError(text) from None
    os.fchmod(new, stat.S_IMODE(before.st_mode))


def _check(path: str) -> None:
    """ConfigurationError for a file that a guard could not use."""
    from agentwrit_guard.denyfile import DenyFile

    DenyFile(path, DenyList(0, time.monotonic), time.monotonic, lambda name, text: None)
