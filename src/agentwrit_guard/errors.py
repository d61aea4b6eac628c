"""Everything this package raises.

::

    AgentWritError
    ├── ConfigurationError (also ValueError)    a setting or a declared requirement is wrong; raised at start-up
    ├── ConnectionEnded (also OSError)          a websocket or streamed answer went on after its agent might not
    ├── DenyListFull                            a deny could not be added; nothing was dropped for it
    ├── ScopeRequired                           Principal.require() found a scope missing; rendered as the 403
    ├── TransportError                          the broker could not be asked, or its answer could not be used
    │   └── BrokerUnavailable                   ... with the kind of fault; a guard answers it with 503
    ├── CryptoError                             a key could not be made, read or used
    └── ProblemResponseError                    the broker answered with a problem (RFC 9457)
        ├── AuthenticationError                 401
        ├── AuthorizationError                  403
        └── RateLimitError                      429, with `retry_after`

The names and meanings are the official SDK's, but for ConfigurationError, ConnectionEnded, DenyListFull, ScopeRequired
and BrokerUnavailable.
Refusing a request is not an exception: decisions are returned, see :mod:`agentwrit_guard.core.decisions`.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "AgentWritError",
    "AuthenticationError",
    "AuthorizationError",
    "BrokerUnavailable",
    "ConfigurationError",
    "ConnectionEnded",
    "CryptoError",
    "DenyListFull",
    "ProblemDetail",
    "ProblemResponseError",
    "RateLimitError",
    "ScopeRequired",
    "TransportError",
]


class AgentWritError(Exception):
    """Base of everything raised by this package."""


class ConfigurationError(AgentWritError, ValueError):
    """A setting, or a requirement written in the program, cannot be used. The text names it."""


class ConnectionEnded(AgentWritError, OSError):
    """An app sent on a connection that the guard has ended. To it the client has left: ASGI has OSError for that."""


class DenyListFull(AgentWritError):
    """`Guard.deny` had no room for one more entry. Nothing was added and nothing was dropped."""


class ScopeRequired(AgentWritError):
    """`Principal.require` was asked for scopes that the agent does not hold.

    The middleware and the Flask extension answer it with 403 `insufficient_scope` (RFC 6750, 3.1).
    """

    def __init__(self, scopes: tuple[str, ...], missing: tuple[str, ...]) -> None:
        super().__init__(f"required scope not held: {' '.join(missing)!a}")
        self.scopes = scopes
        self.missing = missing


class TransportError(AgentWritError):
    """The broker could not be reached in time, or what came back was not an answer of the contract."""


class BrokerUnavailable(TransportError):
    """No usable answer from the broker, so nothing is known about the token: never a reason for 401.

    `fault` is one word of a closed list (connect, timeout, reset, tls, redirect, status, content_type, encoding,
    too_large, body, mismatch, closed; breaker, budget, queue when the guard would not even ask). `status` is the
    broker's HTTP status if there was one, `retry_after` its Retry-After in seconds if it named one, and `retryable`
    says that the request never had an answer, so that a call which changes nothing may be sent once more.
    """

    def __init__(
        self,
        fault: str,
        message: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        retryable: bool = False,
    ) -> None:
        super().__init__(message)
        self.fault = fault
        self.status = status
        self.retry_after = retry_after
        self.retryable = retryable


class CryptoError(AgentWritError):
    """A key could not be generated, read, or used to sign."""


@dataclass(frozen=True)
class ProblemDetail:
    """A problem body of the broker (RFC 9457; contract section 2). Members it left out are None."""

    type: str
    title: str
    detail: str
    instance: str
    status: int | None = None
    error_code: str | None = None
    request_id: str | None = None
    hint: str | None = None


class ProblemResponseError(AgentWritError):
    """The broker refused, and said why in `problem`. `status_code` is the status of the HTTP answer."""

    def __init__(self, problem: ProblemDetail, status_code: int) -> None:
        super().__init__(f"{status_code} {problem.error_code or problem.title}: {problem.detail}")
        self.problem = problem
        self.status_code = status_code


class AuthenticationError(ProblemResponseError):
    """401: the client secret, launch token, nonce or bearer was not accepted."""


class AuthorizationError(ProblemResponseError):
    """403: the scope asked for exceeds what the app, launch token or delegator holds."""


class RateLimitError(ProblemResponseError):
    """429. `retry_after` is the broker's Retry-After in seconds, None if it named none."""

    def __init__(self, problem: ProblemDetail, status_code: int, retry_after: float | None = None) -> None:
        super().__init__(problem, status_code)
        self.retry_after = retry_after
