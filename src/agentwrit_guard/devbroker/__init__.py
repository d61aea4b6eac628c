"""An in-memory twin of AgentWrit broker 2.0.0, for development and tests; extra `dev-broker`.

It imports nothing else of this package, not even the scope rules: when fake and guard share code, a mistake
passes every test. Where the broker is odd, the twin is odd in the same way, and a comment says so.
"""

from __future__ import annotations

from agentwrit_guard.devbroker.credentials import AgentCredentials, AppCredentials
from agentwrit_guard.devbroker.server import DevBroker, serve

__all__ = ["AgentCredentials", "AppCredentials", "DevBroker", "serve"]
