"""Every conversation with the broker that the client knows, without I/O (contract sections 5 and 6).

Only what changes nothing at the broker goes through `ask`, which may send it twice. A request that changes something
is sent once: the broker may have acted although its answer was lost, and a renewal repeated is a renewal refused.
"""

from __future__ import annotations

import re
from typing import Final

from agentwrit_guard.client.answers import Answer
from agentwrit_guard.client.refusals import accepted
from agentwrit_guard.client.values import (
    AppCredentials,
    Delegated,
    HealthStatus,
    Issued,
    Login,
    Minted,
    Order,
    ValidateResult,
)
from agentwrit_guard.core import wire
from agentwrit_guard.core.claims import parse_claims
from agentwrit_guard.core.jws import MAX_TOKEN
from agentwrit_guard.core.redacted import Redacted
from agentwrit_guard.core.wire import BrokerRequest, Flow
from agentwrit_guard.errors import AuthenticationError, BrokerUnavailable, ConfigurationError

_NONCE: Final = re.compile(r"[0-9a-fA-F]{64}")
_OTHER_AUDIENCE: Final = "token audience mismatch"


class LoginRefused(AuthenticationError):
    """401 for the app's or operator's own token: it may have been revoked, so a new login is worth one try."""


def app_auth(client_id: str, client_secret: str) -> Flow[Login]:
    """Log an app in. The broker allows few of these a minute, so the login is kept and shared."""
    return _login((yield from _told("/v1/app/auth", client_id=client_id, client_secret=client_secret)))


def admin_auth(secret: str) -> Flow[Login]:
    return _login((yield from _told("/v1/admin/auth", secret=secret)))


def create_agent(order: Order, app_token: str) -> Flow[Minted]:
    """Launch token, challenge, registration. LoginRefused if the app token is no longer good."""
    launched = yield from _logged_in(
        "/v1/app/launch-tokens",
        app_token,
        agent_name=order.name,
        allowed_scope=order.scope,
        max_ttl=order.max_ttl,
    )
    challenged = yield from _asked("/v1/challenge")
    nonce = challenged.text("nonce")
    if not _NONCE.fullmatch(nonce):
        raise challenged.malformed("no nonce that is 32 bytes of hex")
    registered = yield from _told(
        "/v1/register",
        launch_token=launched.secret("launch_token"),
        nonce=nonce,
        public_key=order.key.public_key,
        signature=order.key.sign_nonce(nonce),
        orch_id=order.orch_id,
        task_id=order.task_id,
        requested_scope=order.scope,
    )
    agent_id = registered.text("agent_id")
    token, expires_in, claims = registered.issued(agent_id)
    return Minted(agent_id, token, expires_in, list(claims.scope), order.task_id, order.orch_id)


def renew(agent_id: str, token: str) -> Flow[Issued]:
    """A new token for the same agent. The old one is dead as soon as the broker has read the request."""
    return (yield from _told("/v1/token/renew", token)).issued(agent_id)


def release(token: str) -> Flow[None]:
    """End a token. One that has ended already, by whatever way, is no error: the goal is reached (contract 5)."""
    request = BrokerRequest.post("/v1/token/release", bearer=token)
    try:
        accepted(request.path, (yield request))
    except AuthenticationError as refusal:
        # The one 401 that is said of a living token: the broker's own audience has been changed since.
        if refusal.problem.detail == _OTHER_AUDIENCE:
            raise


def delegate(token: str, delegate_to: str, scope: list[str], ttl: int | None) -> Flow[Delegated]:
    """A token for `delegate_to`. Its chain is taken from the token, which is what others will judge."""
    answer = yield from _told("/v1/delegate", token, delegate_to=delegate_to, scope=scope, ttl=ttl)
    child, expires_in, claims = answer.issued(delegate_to)
    if len(answer.listed("delegation_chain")) != len(claims.delegation_chain) or not claims.delegation_chain:
        raise answer.malformed("another delegation_chain than its token, or none")
    return Delegated(child, expires_in, list(claims.delegation_chain))


def validate(token: str) -> Flow[ValidateResult]:
    """The broker's word. What the broker would answer with 400 or 413 is not sent (contract 10.9)."""
    if not isinstance(token, str):
        raise ConfigurationError(f"token must be a string, not {type(token).__name__}")
    token = Redacted(token)
    if not token:
        return ValidateResult(False, error="token is empty")
    if len(token) > MAX_TOKEN:
        return ValidateResult(False, error=f"token is over {MAX_TOKEN} characters")
    confirmed = yield from wire.validate(token)
    if confirmed is None:
        return ValidateResult(False, error="token is invalid or expired")
    claims = parse_claims(confirmed)
    if claims is None:
        raise BrokerUnavailable("body", "the broker called a token valid whose claims cannot be read")
    return ValidateResult(True, claims)


def health() -> Flow[HealthStatus]:
    answer = yield from _asked("/v1/health")
    return HealthStatus(
        answer.text("status"),
        answer.text("version"),
        answer.whole("uptime"),
        answer.flag("db_connected"),
        answer.whole("audit_events_count"),
    )


def create_app(name: str, scopes: list[str], token_ttl: int | None, admin_token: str) -> Flow[AppCredentials]:
    answer = yield from _logged_in("/v1/admin/apps", admin_token, name=name, scopes=scopes, token_ttl=token_ttl)
    return AppCredentials(answer.text("client_id"), answer.secret("client_secret"))


def revoke(level: str, target: str, admin_token: str) -> Flow[None]:
    """Takes effect with the next validation. The broker says the same for targets it has never seen."""
    answer = yield from _logged_in("/v1/revoke", admin_token, level=level, target=target)
    if not answer.flag("revoked"):
        raise answer.malformed("revoked: false")


def _asked(path: str) -> Flow[Answer]:
    return Answer(path, accepted(path, (yield from wire.ask(BrokerRequest("GET", path)))))


def _told(path: str, bearer: str | None = None, /, **members: object) -> Flow[Answer]:
    """Sent once. Members that are None are left out, because the broker tells some of them from missing ones."""
    body = {name: value for name, value in members.items() if value is not None}
    return Answer(path, accepted(path, (yield BrokerRequest.post(path, body or None, bearer=bearer))))


def _logged_in(path: str, bearer: str, /, **members: object) -> Flow[Answer]:
    """As `_told`, by a login that can be made anew."""
    try:
        return (yield from _told(path, bearer, **members))
    except AuthenticationError as refusal:
        raise LoginRefused(refusal.problem, refusal.status_code) from None


def _login(answer: Answer) -> Login:
    return Login(answer.bearer("access_token"), answer.whole("expires_in", low=1))
