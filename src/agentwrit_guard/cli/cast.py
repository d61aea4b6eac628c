"""Who takes part in the demo: agents minted with our client, and tokens that only look the part."""

from __future__ import annotations

import base64
import contextlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agentwrit_guard.cli.exits import CommandError
from agentwrit_guard.cli.target import TIMEOUT, Target, explained
from agentwrit_guard.client import Agent, AgentWritApp, Operator, flows
from agentwrit_guard.core.claims import parse_claims
from agentwrit_guard.core.jws import parse_jws
from agentwrit_guard.errors import AgentWritError, AuthenticationError, RateLimitError
from agentwrit_guard.link import Link

CEILING: Final = ("read:customers:*", "write:customers:*")
_GRANTS: Final = {
    "manager": CEILING,
    "clerk": ("read:customers:7291",),
    "assistant": ("read:customers:7293",),
    "worker": ("read:customers:7293", "write:customers:7293"),
    "suspect": ("read:customers:7292", "write:customers:7292"),
    "newcomer": ("read:customers:7291",),
}
_TTL: Final = 300


@dataclass
class Cast:
    """Tokens by the name of who holds them; who has none is not in it."""

    app: AgentWritApp
    operator: Operator | None
    agents: dict[str, Agent] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict, repr=False)

    def held(self, who: str) -> tuple[str, ...]:
        """What the token of `who` says that it holds, true or not."""
        jws = parse_jws(self.tokens.get(who, ""))
        claims = None if jws is None else parse_claims(jws.payload)
        return () if claims is None else claims.scope

    def enlist(self, who: str, scopes: tuple[str, ...], ttl: int = _TTL) -> str:
        """Create an agent; its token."""
        agent = self.app.create_agent("demo", f"demo-{who}", scopes, max_ttl=ttl)
        self.agents[who] = agent
        self.tokens[who] = agent.access_token
        return agent.access_token


@contextlib.contextmanager
def assembled(target: Target) -> Iterator[Cast]:
    """Everybody, ready to act; all agents are released at the end. CommandError if the broker will not have it."""
    with contextlib.ExitStack() as stack:
        app = stack.enter_context(target.app())
        operator = None
        admin_token = None
        if target.admin_secret is not None:
            operator = Operator(target.settings.broker_url, target.admin_secret, timeout=TIMEOUT, **target.reach)
            stack.callback(operator.close)
            admin_token = _admin_token(target, target.admin_secret)
        cast = Cast(app, operator)
        stack.callback(_release, cast)
        with explained(CEILING):
            for who, scopes in _GRANTS.items():
                # The manager comes first: it needs the whole ceiling, so that one too small shows at once.
                cast.enlist(who, scopes)
        manager, assistant = cast.agents["manager"], cast.agents["assistant"]
        delegated = manager.delegate(assistant.agent_id, ["read:customers:7292"], ttl=_TTL)
        cast.tokens["delegate"] = delegated.access_token
        cast.tokens["forger"] = _forged(cast.tokens["clerk"])
        if admin_token is not None:
            cast.tokens["operator"] = admin_token
        yield cast


def _admin_token(target: Target, secret: str) -> str:
    """The operator's own token. Our Operator shows it to nobody, and the demo sends it where it does not belong."""
    link = Link(target.options)
    try:
        return link.run(flows.admin_auth(secret)).access_token
    except AuthenticationError as error:
        raise CommandError(f"the broker does not accept this admin secret: {error.problem.detail}") from None
    except RateLimitError:
        raise CommandError("the broker limits how often an operator logs in; try again later") from None
    finally:
        link.close()


def _release(cast: Cast) -> None:
    for agent in cast.agents.values():
        with contextlib.suppress(AgentWritError):
            agent.release()


def _forged(token: str) -> str:
    """The same header and claims, down to the key's name, signed by a key of our own."""
    signed, _, _ = token.rpartition(".")
    signature = Ed25519PrivateKey.from_private_bytes(secrets.token_bytes(32)).sign(signed.encode())
    return f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
