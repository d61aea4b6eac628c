"""Which answers of the broker are refusals, and the error that each becomes (contract section 2).

Read leniently: a refusal stands by its status, even if a proxy wrote it and gave no reason.
"""

from __future__ import annotations

import http
from collections.abc import Mapping
from typing import Final

from agentwrit_guard.core import strictjson
from agentwrit_guard.core.wire import BrokerReply
from agentwrit_guard.errors import (
    AuthenticationError,
    AuthorizationError,
    BrokerUnavailable,
    ProblemDetail,
    ProblemResponseError,
    RateLimitError,
)

_MAX_WORDS: Final = 1000


def accepted(path: str, reply: BrokerReply) -> BrokerReply:
    """The reply to `path` if it is a success.

    Else the ProblemResponseError of its status. A redirect is BrokerUnavailable: the broker has none to give.
    """
    if 200 <= reply.status < 300:
        return reply
    if 300 <= reply.status < 400:
        raise BrokerUnavailable(
            "redirect",
            f"the broker answered {path} with redirect {reply.status}; is the path of broker_url right?",
            status=reply.status,
        )
    problem = _problem(path, reply)
    if reply.status == 401:
        raise AuthenticationError(problem, 401)
    if reply.status == 403:
        raise AuthorizationError(problem, 403)
    if reply.status == 429:
        raise RateLimitError(problem, 429, reply.retry_after)
    raise ProblemResponseError(problem, reply.status)


def _problem(path: str, reply: BrokerReply) -> ProblemDetail:
    try:
        value = strictjson.loads(reply.body)
    except ValueError:
        value = None
    members: Mapping[str, object] = value if isinstance(value, dict) else {}
    try:
        phrase = http.HTTPStatus(reply.status).phrase
    except ValueError:
        phrase = "Unknown Status"
    hint = "; is the path of broker_url right?" if reply.status == 404 else ""
    status = members.get("status")
    return ProblemDetail(
        type=_words(members, "type") or "about:blank",
        title=_words(members, "title") or phrase,
        detail=_words(members, "detail") or f"{path} was answered without a reason{hint}",
        instance=_words(members, "instance") or path,
        status=status if type(status) is int else None,
        error_code=_words(members, "error_code"),
        request_id=_words(members, "request_id"),
        hint=_words(members, "hint"),
    )


def _words(members: Mapping[str, object], name: str) -> str | None:
    """A member fit for a log line: printable, and not too long."""
    value = members.get(name)
    if not isinstance(value, str):
        return None
    return "".join(char if char.isprintable() else "\ufffd" for char in value[:_MAX_WORDS])
