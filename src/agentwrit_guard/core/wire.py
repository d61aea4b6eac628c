"""What is said to the broker and how its answers are read (contract sections 2 and 5).

A round trip is a generator: it yields a `BrokerRequest`, is sent a `BrokerReply`, and returns a value. It knows
nothing of sync or async, and gets a network fault thrown into it as `BrokerUnavailable`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

from agentwrit_guard.core import strictjson
from agentwrit_guard.core.claims import KNOWN_CLAIMS, KNOWN_FIELDS
from agentwrit_guard.errors import BrokerUnavailable

MAX_REPLY: Final = 64 * 1024

# What a wrong base path gets, from the broker or from a server before it (contract 10.16).
_ELSEWHERE: Final = (301, 302, 303, 307, 308, 404, 405)
_PATH_HINT: Final = "; is the path of broker_url right?"


@dataclass(frozen=True)
class BrokerRequest:
    """One request; `path` is below the broker's base URL. Body and bearer are secret and shown nowhere.

    `leave`, if there is one, is called when nothing but it stands between the request and the broker. It gives the
    seconds to wait before it is sent, or raises BrokerUnavailable: then it is not. Where requests wait for their turn,
    one that is `ahead` overtakes those that are not.
    """

    method: str
    path: str
    body: bytes | None = field(default=None, repr=False)
    bearer: str | None = field(default=None, repr=False)
    leave: Callable[[], float] | None = field(default=None, repr=False, compare=False)
    ahead: bool = False

    @classmethod
    def post(
        cls, path: str, members: Mapping[str, object] | None = None, *, bearer: str | None = None
    ) -> BrokerRequest:
        body = None if members is None else json.dumps(members, separators=(",", ":")).encode()
        return cls("POST", path, body, bearer)


@dataclass(frozen=True)
class BrokerReply:
    """A whole answer: at most MAX_REPLY bytes, no content encoding, header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    def json(self) -> dict[str, object]:
        """The one JSON object of the body; BrokerUnavailable for anything else (threats B-09, B-10)."""
        media_type, _, parameters = self.headers.get("content-type", "").lower().partition(";")
        charset = parameters.replace(" ", "").replace('"', "")
        if media_type.strip() != "application/json" or charset not in ("", "charset=utf-8"):
            raise BrokerUnavailable("content_type", "the broker's answer is not JSON by its content type")
        try:
            value = strictjson.loads(self.body)
        except ValueError as error:
            value, problem = None, str(error) or "malformed"
        else:
            problem = ""
        if problem:
            # Not in the except: the decoder's error holds the whole answer, and a token may be in it.
            raise BrokerUnavailable("body", f"the broker's answer is not strict JSON: {problem}")
        if not isinstance(value, dict):
            raise BrokerUnavailable("body", "the broker's answer is not a JSON object")
        return value

    @property
    def retry_after(self) -> float | None:
        """Retry-After in whole seconds, None without one or for any other form of it."""
        text = self.headers.get("retry-after", "")
        return float(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


T = TypeVar("T")
Flow = Generator[BrokerRequest, BrokerReply, T]


def ask(request: BrokerRequest) -> Flow[BrokerReply]:
    """One exchange that changes nothing at the broker, so it is sent once more if no answer came back at all."""
    try:
        return (yield request)
    except BrokerUnavailable as fault:
        if not fault.retryable:
            raise
    return (yield request)


def validate(token: str) -> Flow[Mapping[str, object] | None]:
    """The claims that the broker confirms for a token, None if it says the token is not valid.

    Only a 200 with JSON `true` or `false` is an answer. Anything else is BrokerUnavailable (contract 10.1).
    """
    reply = yield from ask(BrokerRequest.post("/v1/token/validate", {"token": token}))
    if reply.status != 200:
        raise BrokerUnavailable(
            "redirect" if 300 <= reply.status < 400 else "status",
            f"the broker answered validate with {reply.status}{_PATH_HINT if reply.status in _ELSEWHERE else ''}",
            status=reply.status,
            retry_after=reply.retry_after,
        )
    answer = reply.json()
    valid, claims = answer.get("valid"), answer.get("claims")
    if valid is False:
        return None
    if valid is not True:
        raise BrokerUnavailable("body", "the broker's answer has no valid: true or false")
    if not isinstance(claims, dict):
        raise BrokerUnavailable("body", "the broker called a token valid without saying for whom")
    return claims


def same_claims(token: Mapping[str, object], reply: Mapping[str, object]) -> bool:
    """Whether the broker's claims are the token's own (threats B-14): else the answer was for another token.

    Compared are the claims that we know, types and order included; missing, null and `[]` are equal for `aud` and
    `scope`, which the broker rewrites.
    """
    return _known(token) == _known(reply)


def has_unknown_field(token: Mapping[str, object], reply: Mapping[str, object]) -> bool:
    """Whether the broker says more than we know of: a claim that the token lacks, or a field of a record.

    A later broker may. It is no reason to refuse (threats B-14, D-04), and to be told.
    """
    chain = reply.get("delegation_chain")
    records = chain if isinstance(chain, list) else []
    return any(name not in KNOWN_CLAIMS and name not in token for name in reply) or any(
        isinstance(record, dict) and any(name not in KNOWN_FIELDS for name in record) for record in records
    )


def _known(claims: Mapping[str, object]) -> str:
    known = {name: claims[name] for name in KNOWN_CLAIMS if name in claims}
    for name in ("aud", "scope"):
        if known.get(name) is None:
            known[name] = []
    chain = known.get("delegation_chain")
    if isinstance(chain, list):
        known["delegation_chain"] = [_known_of(record) for record in chain]
    return json.dumps(known, sort_keys=True)


def _known_of(record: object) -> object:
    if not isinstance(record, dict):
        return record
    return {name: record[name] for name in KNOWN_FIELDS if name in record}
