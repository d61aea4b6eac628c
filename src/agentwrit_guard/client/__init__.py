"""Mint agents: log an app in, register agents with keys of their own, renew, delegate and release their tokens.

It needs nothing of the guard, and no framework.
"""

from __future__ import annotations

from agentwrit_guard.client.admin import Operator
from agentwrit_guard.client.agent import Agent, AsyncAgent
from agentwrit_guard.client.app import AgentWritApp, AsyncAgentWritApp
from agentwrit_guard.client.delegation import AsyncDelegatedToken, DelegatedToken
from agentwrit_guard.client.oneoff import avalidate, validate
from agentwrit_guard.client.values import AppCredentials, HealthStatus, ValidateResult

__all__ = [
    "Agent",
    "AgentWritApp",
    "AppCredentials",
    "AsyncAgent",
    "AsyncAgentWritApp",
    "AsyncDelegatedToken",
    "DelegatedToken",
    "HealthStatus",
    "Operator",
    "ValidateResult",
    "avalidate",
    "validate",
]
