"""`agentwrit-guard dev-broker`: the broker's in-memory twin in the foreground, for development."""

from __future__ import annotations

import argparse
import ipaddress
import os
import shlex
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from agentwrit_guard.cli.exits import CommandError, Commands

if TYPE_CHECKING:
    from agentwrit_guard.devbroker import DevBroker

# What the demo needs, so that `demo` runs against it as soon as the lines are exported.
_DEFAULT_APP: Final = "demo=read:customers:*,write:customers:*"
_NUMBERS: Final = {
    "max_ttl": "AA_MAX_TTL",
    "admin_token_ttl": "AA_ADMIN_TOKEN_TTL",
    "app_token_ttl": "AA_APP_TOKEN_TTL",
}
_TEXTS: Final = {"issuer": "AA_ISSUER", "audience": "AA_AUDIENCE", "trust_domain": "AA_TRUST_DOMAIN"}
_HONOURED: Final = ("AA_ADMIN_SECRET", "AA_PORT", "AA_BIND_ADDRESS", *_TEXTS.values(), *_NUMBERS.values())
_LARGEST_PORT: Final = 65535
# Seconds, some thirty years: added to the clock they stay far within 64 bits.
_LONGEST: Final = 10**9
_LONGEST_SECRET: Final = 72


def add(commands: Commands) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        "dev-broker",
        help="run a broker for development, in memory",
        description="Run the broker's in-memory twin until Ctrl-C. It prints shell lines to export.",
        epilog=f"The broker's own names in the environment count too: {', '.join(_HONOURED)}. "
        "Its others are ignored, which one line on stderr says.",
    )
    parser.add_argument("--host", metavar="ADDRESS", help="where to listen (AA_BIND_ADDRESS, else 127.0.0.1)")
    parser.add_argument("--port", type=int, metavar="PORT", help="0 takes a free one (AA_PORT, else 8080)")
    parser.add_argument("--admin-secret", metavar="SECRET", help="AA_ADMIN_SECRET, else a random one, which is printed")
    parser.add_argument(
        "--app",
        action="append",
        metavar="NAME=SCOPE,...",
        help=f"register an app with these scopes for a ceiling; may be repeated ({_DEFAULT_APP})",
    )
    parser.set_defaults(run=run)
    return parser


def run(arguments: argparse.Namespace) -> int:
    from agentwrit_guard.devbroker import DevBroker, serve

    host = arguments.host or os.environ.get("AA_BIND_ADDRESS") or "127.0.0.1"
    port = arguments.port if arguments.port is not None else _number("AA_PORT", 8080, low=0, high=_LARGEST_PORT)
    if not 0 <= port <= _LARGEST_PORT:
        raise CommandError(f"port must be from 0 to {_LARGEST_PORT}, got {port}")
    secret = arguments.admin_secret or os.environ.get("AA_ADMIN_SECRET") or None
    if secret is not None and len(os.fsencode(secret)) > _LONGEST_SECRET:
        raise CommandError(f"the admin secret must not have more than {_LONGEST_SECRET} bytes: no login would succeed")
    apps = dict(map(_app, arguments.app or [_DEFAULT_APP]))
    if len(apps) < len(arguments.app or ()):
        raise CommandError("--app: a NAME can be given only once")
    given: dict[str, Any] = {name: _number(key) for name, key in _NUMBERS.items() if os.environ.get(key)}
    given |= {name: os.environ[key] for name, key in _TEXTS.items() if os.environ.get(key)}
    broker = DevBroker(host=host, port=port, admin_secret=secret, **given)
    try:
        serve(broker, ready=lambda running: _announce(running, apps, show_secret=secret is None))
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise CommandError(reason) from None
    return 0


def _announce(broker: DevBroker, apps: Mapping[str, list[str]], *, show_secret: bool) -> None:
    lines = [
        f"# agentwrit-guard dev-broker on {broker.url}, until Ctrl-C.",
        "# For development only: it keeps nothing, and trusts whoever has these secrets.",
        f"export AGENTWRIT_BROKER_URL={shlex.quote(broker.url)}",
    ]
    if show_secret:
        lines.append(f"export AGENTWRIT_ADMIN_SECRET={broker.admin_secret}")
    for position, (name, scopes) in enumerate(apps.items()):
        try:
            app = broker.app(name=name, scopes=scopes)
        except ValueError as error:
            raise CommandError(f"--app {name}: {error}") from None
        # One app can be in the environment; the others are there to be copied.
        export = "export" if position == 0 else "# export"
        lines += [
            f"# app {name}: {' '.join(scopes)}",
            f"{export} AGENTWRIT_CLIENT_ID={app.client_id}",
            f"{export} AGENTWRIT_CLIENT_SECRET={app.client_secret}",
        ]
    print("\n".join(lines), flush=True)
    if not _is_loopback(broker.url):
        _warn("listens beyond this machine")
    given = {name for name, value in os.environ.items() if name.startswith("AA_") and value}
    if others := sorted(given - set(_HONOURED)):
        # By name only: a value may be a secret.
        _warn(f"ignores {', '.join(others)}")


def _warn(what: str) -> None:
    print(f"agentwrit-guard: dev-broker {what}", file=sys.stderr, flush=True)


def _app(text: str) -> tuple[str, list[str]]:
    name, _, scopes = text.partition("=")
    # Names and scopes are printed among shell lines, so none may start a line of its own.
    if not name or not scopes or not text.isprintable():
        raise CommandError(f"--app is NAME=SCOPE,SCOPE,... such as {_DEFAULT_APP}, got {text!r}")
    return name, scopes.split(",")


def _number(key: str, default: int = 0, *, low: int = 1, high: int = _LONGEST) -> int:
    text = os.environ.get(key)
    if not text:
        return default
    # By the number of digits first: int() refuses thousands of them with an error of its own.
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(high)) and low <= int(text) <= high):
        raise CommandError(f"{key} must be a whole number from {low} to {high}, got {text[:40]!r}")
    return int(text)


def _is_loopback(url: str) -> bool:
    host = url.split("//", 1)[1].rsplit(":", 1)[0].strip("[]")
    return ipaddress.ip_address(host).is_loopback
