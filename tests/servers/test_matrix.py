"""Headers, methods and targets byte by byte on every server: the handler runs for a clean good token and never else."""

from __future__ import annotations

import importlib.util

import pytest

from agentwrit_guard.devbroker import DevBroker
from tests.servers import elsewhere_rows, header_rows, path_rows
from tests.servers.agents import Mint
from tests.servers.hosts import Host, Serve
from tests.servers.rows import HTTPTOOLS, SERVERS, Row
from tests.servers.wire import Answer, bearer, exchange, request, send

VALIDATE = "/v1/token/validate"


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest) -> str:
    if request.param == HTTPTOOLS and importlib.util.find_spec("httptools") is None:
        pytest.skip("httptools is not installed, so uvicorn has h11 only")
    return str(request.param)


@pytest.fixture(scope="module")
def host(server: str, serve: Serve) -> Host:
    return serve(server, SERVERS[server], AGENTWRIT_CACHE_TTL="60")


@pytest.fixture(scope="module")
def token(mint: Mint) -> str:
    return mint().access_token


def outcome(answers: list[Answer]) -> str:
    kinds = [answer.kind for answer in answers]
    if len(kinds) > 1:
        return " then ".join(kinds)
    if not kinds:
        return "closed"
    refused = kinds[0].startswith("server") and (400 <= answers[0].status < 500 or answers[0].status in (501, 505))
    return "server" if refused else kinds[0]


@pytest.mark.parametrize("row", [*header_rows.ROWS, *elsewhere_rows.ROWS, *path_rows.ROWS], ids=lambda row: row.id)
def test_row(row: Row, server: str, host: Host, token: str, broker: DevBroker) -> None:
    runs, calls = len(host.ran), broker.calls[VALIDATE]
    answers = exchange(host.port, row.data(token), head=row.head)
    came = outcome(answers)
    assert came in row.on(server), [(answer.kind, answer.body[:200]) for answer in answers]
    assert len(host.ran) - runs == (1 if came == "pass" and row.runs else 0)
    assert broker.calls[VALIDATE] - calls <= (1 if row.good else 0)


# What answers one request a connection leaves the second unanswered.
@pytest.mark.parametrize("good_first", [False, True], ids=["without then with", "with then without"])
def test_pipelined_requests_are_independent(good_first: bool, host: Host, token: str) -> None:
    """R-24."""
    runs = len(host.ran)
    credentials, none = [bearer(token)], []
    first, second = (credentials, none) if good_first else (none, credentials)
    answers = exchange(host.port, request("/me", *first, keep=True) + request("/me", *second))
    expected = ["pass", "none"] if good_first else ["none", "pass"]
    came = [answer.kind for answer in answers]
    assert came in (expected, expected[:1])
    assert len(host.ran) - runs == came.count("pass")


def test_a_connection_is_not_a_session(host: Host, token: str) -> None:
    """R-24, one after the other on a connection that is kept where the server keeps one."""
    for headers, expected in [([bearer(token)], "pass"), ([], "none"), ([bearer(token)], "pass")]:
        assert send(host.port, "/me", *headers).kind == expected


def test_nothing_of_it_was_an_error_to_the_server(host: Host) -> None:
    assert "Traceback" not in host.output
