"""Replies: JSON bodies and problem bodies (contract section 2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from agentwrit_guard.devbroker import jsonbody

# Spelt out: the phrases of http.HTTPStatus changed in Python 3.13.
_TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    413: "Request Entity Too Large",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}
_CODES = {
    400: "invalid_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    413: "payload_too_large",
    429: "rate_limited",
}


class Problem(Exception):
    """A refusal, raised by an endpoint and rendered once. `code` defaults to the plain one of the status."""

    def __init__(
        self, status: int, detail: str, code: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.code: str = code or _CODES.get(status, "internal_error")
        self.headers: dict[str, str] = dict(headers or {})

    def response(self, path: str, request_id: str) -> Response:
        """The problem body; `path` is the request's, without its query."""
        content = {
            "type": f"urn:agentwrit:error:{self.code}",
            "title": _TITLES.get(self.status, "Error"),
            "status": self.status,
            "detail": self.detail,
            "instance": path,
            "error_code": self.code,
            "request_id": request_id,
        }
        return Response(jsonbody.body(content), self.status, self.headers, "application/problem+json")


def malformed() -> Problem:
    """Any body that cannot be read, whatever is wrong with it."""
    return Problem(400, "malformed JSON body")


def rate_limited(retry_after: int) -> Problem:
    """`retry_after` is in seconds and a constant of the endpoint, not the time until the next token."""
    return Problem(429, "rate limit exceeded, try again later", headers={"Retry-After": str(retry_after)})


def reply(content: Mapping[str, Any], status: int = 200) -> Response:
    """A JSON reply, its members in the order of `content`."""
    return Response(jsonbody.body(content), status, media_type="application/json")
