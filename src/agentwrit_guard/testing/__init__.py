"""A test kit for APIs that this package guards: a pytest plugin, on wherever the package and pytest are installed.

Fixtures: `as_agent`, `agentwrit_clock`, `agentwrit_broker`, `agentwrit_scopes`, `agentwrit_app`, `agent_token`.
Functions: `fake_principal`, `assert_denied`. It is imported by every pytest run of the environment, so it imports
nothing heavy, and nothing starts until a test asks for it. `-p no:agentwrit_guard` switches it off.
"""

from agentwrit_guard.testing.agents import AsAgent, as_agent
from agentwrit_guard.testing.broker import (
    AgentToken,
    agent_token,
    agentwrit_app,
    agentwrit_broker,
    agentwrit_scopes,
)
from agentwrit_guard.testing.clock import StoppedClock, agentwrit_clock
from agentwrit_guard.testing.plugin import pytest_addoption, pytest_configure, pytest_load_initial_conftests
from agentwrit_guard.testing.principals import fake_principal
from agentwrit_guard.testing.refusals import assert_denied

__all__ = [
    "AgentToken",
    "AsAgent",
    "StoppedClock",
    "agent_token",
    "agentwrit_app",
    "agentwrit_broker",
    "agentwrit_clock",
    "agentwrit_scopes",
    "as_agent",
    "assert_denied",
    "fake_principal",
    "pytest_addoption",
    "pytest_configure",
    "pytest_load_initial_conftests",
]
