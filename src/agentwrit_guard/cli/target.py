"""Which broker a command talks to and as whom: options first, then the AGENTWRIT_ names of the environment."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from agentwrit_guard.cli.exits import CommandError
from agentwrit_guard.errors import AuthenticationError, AuthorizationError, RateLimitError

if TYPE_CHECKING:
    from agentwrit_guard.client import AgentWritApp
    from agentwrit_guard.settings import Settings
    from agentwrit_guard.transport import LinkOptions

EPILOG: Final = (
    "Secrets are better given in the environment: AGENTWRIT_BROKER_URL, AGENTWRIT_CLIENT_ID, AGENTWRIT_CLIENT_SECRET, "
    "AGENTWRIT_ADMIN_SECRET. The guard's settings that say how to reach a broker are read from there as well "
    "(AGENTWRIT_CA_FILE, AGENTWRIT_CLIENT_CERT, AGENTWRIT_CLIENT_KEY, AGENTWRIT_ALLOW_HTTP)."
)

# Of one call to the broker, in seconds: somebody is waiting at a terminal.
TIMEOUT: Final = 5.0


@dataclass(frozen=True)
class Target:
    """A broker and an app of it. `admin_secret` is None where the operator is out of reach."""

    settings: Settings
    client_id: str
    client_secret: str = field(repr=False)
    admin_secret: str | None = field(default=None, repr=False)

    @property
    def reach(self) -> dict[str, Any]:
        """Keywords for the clients: how the broker is reached."""
        names = ("allow_http", "ca_file", "client_cert", "client_key")
        return {name: getattr(self.settings, name) for name in names}

    @property
    def options(self) -> LinkOptions:
        """The same for what is asked without a client."""
        from agentwrit_guard.transport import LinkOptions

        settings = self.settings
        return LinkOptions(
            settings.broker_url,
            timeout=TIMEOUT,
            ca_file=settings.ca_file,
            client_cert=settings.client_cert,
            client_key=settings.client_key,
        )

    def app(self) -> AgentWritApp:
        from agentwrit_guard.client import AgentWritApp

        return AgentWritApp(self.settings.broker_url, self.client_id, self.client_secret, timeout=TIMEOUT, **self.reach)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.add_argument("--broker-url", metavar="URL", help="the broker, https:// or http:// on loopback")
    parser.add_argument("--client-id", metavar="ID", help="the app's client id")
    parser.add_argument("--client-secret", metavar="SECRET", help="the app's client secret")


def find(arguments: argparse.Namespace) -> Target | None:
    """The target that options and environment name, None if they name none. CommandError for half of one."""
    from agentwrit_guard.settings import Settings

    names = ("broker_url", "client_id", "client_secret", "admin_secret")
    given = {
        name: getattr(arguments, name, None) or os.environ.get(f"AGENTWRIT_{name.upper()}") or None for name in names
    }
    if not any(given.values()):
        return None
    for name in names[:3]:
        if not given[name]:
            beside = ", ".join(each for each in names if given[each])
            option, variable = f"--{name.replace('_', '-')}", f"AGENTWRIT_{name.upper()}"
            raise CommandError(f"{option} ({variable}) is missing beside {beside}")
    settings = Settings.from_env(broker_url=given["broker_url"])
    return Target(settings, given["client_id"] or "", given["client_secret"] or "", given["admin_secret"])


@contextlib.contextmanager
def explained(scopes: Sequence[str]) -> Iterator[None]:
    """Within, the broker's refusals to an app that creates agents with `scopes` become a CommandError."""
    try:
        yield
    except AuthenticationError as error:
        raise CommandError(f"the broker does not accept this client id and secret: {error.problem.detail}") from None
    except AuthorizationError as error:
        raise CommandError(
            f"the app's ceiling is too small, it has to cover {' and '.join(scopes)}: {error.problem.detail}"
        ) from None
    except RateLimitError as error:
        wait = "later" if error.retry_after is None else f"in {error.retry_after:.0f} s"
        raise CommandError(f"the broker limits how often an app logs in; try again {wait}") from None
