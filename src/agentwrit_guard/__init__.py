"""Guard a Python API that lets AI agents in: AgentWrit tokens validated, cached and held to their scopes.

Names are imported on first use (PEP 562), so that the root pulls in no HTTP client and no framework.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from agentwrit_guard._version import __version__

if TYPE_CHECKING:
    from agentwrit_guard.client import (
        Agent,
        AgentWritApp,
        AsyncAgent,
        AsyncAgentWritApp,
        AsyncDelegatedToken,
        DelegatedToken,
        HealthStatus,
        ValidateResult,
        avalidate,
        validate,
    )
    from agentwrit_guard.clock import Clock
    from agentwrit_guard.core.claims import AgentClaims, DelegationRecord, Principal
    from agentwrit_guard.core.decisions import Allowed, Denied
    from agentwrit_guard.core.lookup import Lookup
    from agentwrit_guard.core.requirements import Requirement, all_of, any_of
    from agentwrit_guard.core.scopes import ALL, Scope, scope_is_subset
    from agentwrit_guard.errors import (
        AgentWritError,
        AuthenticationError,
        AuthorizationError,
        ConfigurationError,
        CryptoError,
        ProblemDetail,
        ProblemResponseError,
        RateLimitError,
        TransportError,
    )
    from agentwrit_guard.guard import Guard

_HOMES = {
    "ALL": "core.scopes",
    "Agent": "client",
    "AgentClaims": "core.claims",
    "AgentWritApp": "client",
    "AgentWritError": "errors",
    "Allowed": "core.decisions",
    "AsyncAgent": "client",
    "AsyncAgentWritApp": "client",
    "AsyncDelegatedToken": "client",
    "AuthenticationError": "errors",
    "AuthorizationError": "errors",
    "Clock": "clock",
    "ConfigurationError": "errors",
    "CryptoError": "errors",
    "DelegatedToken": "client",
    "DelegationRecord": "core.claims",
    "Denied": "core.decisions",
    "Guard": "guard",
    "HealthStatus": "client",
    "Lookup": "core.lookup",
    "Principal": "core.claims",
    "ProblemDetail": "errors",
    "ProblemResponseError": "errors",
    "RateLimitError": "errors",
    "Requirement": "core.requirements",
    "Scope": "core.scopes",
    "TransportError": "errors",
    "ValidateResult": "client",
    "all_of": "core.requirements",
    "any_of": "core.requirements",
    "avalidate": "client",
    "scope_is_subset": "core.scopes",
    "validate": "client",
}

__all__ = [
    "ALL",
    "Agent",
    "AgentClaims",
    "AgentWritApp",
    "AgentWritError",
    "Allowed",
    "AsyncAgent",
    "AsyncAgentWritApp",
    "AsyncDelegatedToken",
    "AuthenticationError",
    "AuthorizationError",
    "Clock",
    "ConfigurationError",
    "CryptoError",
    "DelegatedToken",
    "DelegationRecord",
    "Denied",
    "Guard",
    "HealthStatus",
    "Lookup",
    "Principal",
    "ProblemDetail",
    "ProblemResponseError",
    "RateLimitError",
    "Requirement",
    "Scope",
    "TransportError",
    "ValidateResult",
    "__version__",
    "all_of",
    "any_of",
    "avalidate",
    "scope_is_subset",
    "validate",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
