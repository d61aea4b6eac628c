"""The members of a success, each demanded by name and type.

What is not of the contract's shape is BrokerUnavailable: nothing is made of half an answer.
"""

from __future__ import annotations

import re
from typing import Final

from agentwrit_guard.client.values import Issued
from agentwrit_guard.core.claims import AgentClaims, parse_claims
from agentwrit_guard.core.jws import MAX_TOKEN, parse_jws
from agentwrit_guard.core.redacted import Redacted
from agentwrit_guard.core.wire import BrokerReply
from agentwrit_guard.errors import BrokerUnavailable

# What may be sent as a bearer (RFC 6750, 2.1).
_BEARER: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")


class Answer:
    """A JSON object that came for `path`, which the errors name."""

    __slots__ = ("_members", "_path")

    def __init__(self, path: str, reply: BrokerReply) -> None:
        self._path = path
        self._members = reply.json()

    def text(self, name: str) -> str:
        value = self._members.get(name)
        if not isinstance(value, str) or not value:
            raise self.malformed(f"no {name}")
        return value

    def whole(self, name: str, *, low: int = 0) -> int:
        value = self._members.get(name)
        if type(value) is not int or value < low:
            raise self.malformed(f"no {name} that is a whole number from {low}")
        return value

    def flag(self, name: str) -> bool:
        value = self._members.get(name)
        if not isinstance(value, bool):
            raise self.malformed(f"no {name} that is true or false")
        return value

    def listed(self, name: str) -> list[object]:
        value = self._members.get(name)
        if not isinstance(value, list):
            raise self.malformed(f"no list {name}")
        return value

    def secret(self, name: str) -> Redacted:
        return Redacted(self.text(name))

    def bearer(self, name: str) -> Redacted:
        value = self.secret(name)
        if len(value) > MAX_TOKEN or not _BEARER.fullmatch(value):
            raise self.malformed(f"no {name} that is a bearer token of up to {MAX_TOKEN} characters")
        return value

    def issued(self, agent_id: str) -> Issued:
        """The token for `agent_id`. One that no guard would read, or that is for somebody else, is no success."""
        token = self.bearer("access_token")
        claims = token_claims(token)
        if claims is None:
            raise self.malformed("no access_token that can be read")
        if claims.sub != agent_id:
            raise BrokerUnavailable("mismatch", f"the token in the broker's answer to {self._path} is not {agent_id}'s")
        return Issued(token, self.whole("expires_in", low=1), claims)

    def malformed(self, what: str) -> BrokerUnavailable:
        return BrokerUnavailable("body", f"the broker's answer to {self._path} has {what}")


def token_claims(token: str) -> AgentClaims | None:
    """What a token says of itself, None if it is none that a guard would read."""
    jws = parse_jws(token)
    return None if jws is None else parse_claims(jws.payload)
