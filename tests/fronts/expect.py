"""One way to say what a request must come to, on every front."""

from __future__ import annotations

import json
from typing import Any

from tests.kit.drivers import Answer, Request
from tests.kit.fronts import Front
from tests.kit.stub import StubBroker

REALM = 'Bearer realm="agentwrit"'
ERRORS = {400: "invalid_request", 401: "invalid_token", 403: "insufficient_scope", 503: "temporarily_unavailable"}


def expect(
    front: Front,
    broker: StubBroker,
    request: Request,
    status: int,
    *,
    error: str | None = None,
    scope: str | None = None,
    calls: int = 0,
    ran: bool | None = None,
) -> Answer:
    """Send a request and check status, challenge, body, broker calls, and whether the handler ran.

    `error` is the error code of the body, that of the status unless given (`unauthorized`: no credentials, and the
    challenge names no error). `scope` is what the challenge requires.
    """
    calls_before, ran_before = broker.calls, len(front.ran)
    answer = front.request(request)
    did_run = len(front.ran) > ran_before
    assert (answer.status, broker.calls - calls_before, did_run) == (
        status,
        calls,
        status < 400 if ran is None else ran,
    ), answer
    if status in ERRORS:
        _refusal(answer, request, error or ERRORS[status], scope)
    return answer


def _refusal(answer: Answer, request: Request, error: str, scope: str | None) -> None:
    assert answer.header("content-type") == "application/problem+json"
    assert answer.header("cache-control") == "no-store"
    assert answer.header("x-request-id")
    if answer.status == 503:
        assert answer.header("www-authenticate") is None
        assert 1 <= int(answer.header("retry-after") or 0) <= 30
    else:
        challenge = answer.header("www-authenticate") or ""
        assert challenge.startswith(REALM)
        assert ("error=" in challenge) == (error != "unauthorized")
        if error != "unauthorized":
            assert f'error="{error}"' in challenge
        assert ("scope=" in challenge) == (scope is not None)
        if scope is not None:
            assert f'scope="{scope}"' in challenge
        assert answer.header("retry-after") is None
    if request.method == "HEAD":
        assert answer.body == b""
        return
    body: dict[str, Any] = json.loads(answer.body)
    assert body["status"] == answer.status
    assert body["error_code"] == error
    assert answer.header("content-length") == str(len(answer.body))
    assert body.get("required_scopes") == (scope.split(" ") if scope else None)
