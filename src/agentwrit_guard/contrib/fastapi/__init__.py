"""FastAPI: the agent as a dependency, with scheme and scopes in OpenAPI, and `@requires_scope` on handlers."""

from agentwrit_guard.asgi import GuardMiddleware
from agentwrit_guard.contrib.fastapi.decorators import requires_any_scope, requires_scope
from agentwrit_guard.contrib.fastapi.security import (
    AgentSecurity,
    CurrentAgent,
    OptionalAgent,
    OptionalAgentSecurity,
    agent_security,
    optional_agent,
)
from agentwrit_guard.contrib.starlette import AgentRefused, current_agent

__all__ = [
    "AgentRefused",
    "AgentSecurity",
    "CurrentAgent",
    "GuardMiddleware",
    "OptionalAgent",
    "OptionalAgentSecurity",
    "agent_security",
    "current_agent",
    "optional_agent",
    "requires_any_scope",
    "requires_scope",
]
