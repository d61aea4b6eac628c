"""Whether an answer is a refusal of the guard, and the right one."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final

_TYPE: Final = "urn:agentwrit-guard:error:"
# Of each status: the error codes of RFC 6750 that may stand in the challenge, None where there is no code.
_ERRORS: Final = {
    400: ("invalid_request",),
    401: ("invalid_token", None),
    403: ("insufficient_scope",),
}
_CHALLENGE = re.compile(
    r'Bearer realm="[^"]*"(?:, error="(?P<error>[^"]+)", error_description="[^"]+")?(?:, scope="(?P<scope>[^"]+)")?'
)
_SHOWN: Final = 200


def assert_denied(response: Any, status: int, missing: Sequence[str] | None = None) -> dict[str, Any]:
    """Fail unless the guard refused with `status`: 400, 401, 403 or 503. Returns the problem of its body.

    An answer of the app itself with that status is not enough: problem, challenge and caching are looked at too.
    `missing`, if given, are the scopes that the agent lacked, in any order. Takes responses of httpx, Starlette's
    TestClient, Flask and werkzeug.
    """
    __tracebackhide__ = True
    if status != 503 and status not in _ERRORS:
        raise ValueError(f"a guard refuses with 400, 401, 403 or 503, not with {status!r}")
    if not hasattr(response, "status_code"):
        raise ValueError(f"assert_denied wants a response, got {type(response).__name__}")
    body: bytes = response.content if hasattr(response, "content") else response.get_data()
    wrong = _wrong(response.status_code, response.headers, body, status)
    if wrong is None and missing is not None:
        found = json.loads(body).get("missing_scopes") or []
        if sorted(found) != sorted(missing):
            wrong = f"missing scopes {sorted(missing)}, but missing are {sorted(found)}"
    if wrong is not None:
        shown = body[:_SHOWN].decode("utf-8", "replace")
        raise AssertionError(f"not the refusal that was expected: {wrong}\ncame: {response.status_code} {shown}")
    problem: dict[str, Any] = json.loads(body)
    return problem


def _wrong(came: int, headers: Any, body: bytes, status: int) -> str | None:
    """What an answer lacks to be the guard's, None if it is."""
    if came != status:
        return f"status {status}"
    if headers.get("content-type") != "application/problem+json":
        return f"application/problem+json, but it is {headers.get('content-type')}"
    try:
        problem = json.loads(body)
    except ValueError:
        problem = None
    if not isinstance(problem, dict) or not str(problem.get("type")).startswith(_TYPE):
        return f"a problem of type {_TYPE}..., which the guard alone gives (answers to HEAD have none)"
    if problem.get("status") != status or problem["type"] != f"{_TYPE}{problem.get('error_code')}":
        return "a problem whose status, type and error_code agree"
    if headers.get("cache-control") != "no-store":
        return "Cache-Control: no-store"
    if status == 503:
        return None if "retry-after" in headers and "www-authenticate" not in headers else "Retry-After, no challenge"
    return _wrong_challenge(headers.get("www-authenticate"), problem, status)


def _wrong_challenge(challenge: str | None, problem: dict[str, Any], status: int) -> str | None:
    match = _CHALLENGE.fullmatch(challenge or "")
    if match is None or match["error"] not in _ERRORS[status]:
        return f"a challenge for {status}, but WWW-Authenticate is {challenge!r}"
    if (match["scope"] or "").split() != problem.get("required_scopes", []):
        return f"a challenge with the required scopes, but WWW-Authenticate is {challenge!r}"
    return None
