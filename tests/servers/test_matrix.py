"""Headers, methods and targets byte by byte on every server: the handler runs for a clean good token and never else."""

from __future__ import annotations

import importlib.util

import pytest

from agentwrit_guard.devbroker import DevBroker
from tests.servers import elsewhere_rows, header_rows, path_rows
from tests.servers.agents import Mint
from tests.servers.hosts import Host, Serve
from tests.servers.rows import HTTPTOOLS, SERVERS, Row, outcome
from tests.servers.wire import exchange

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


@pytest.mark.parametrize("row", [*header_rows.ROWS, *elsewhere_rows.ROWS, *path_rows.ROWS], ids=lambda row: row.id)
def test_row(row: Row, server: str, host: Host, token: str, broker: DevBroker) -> None:
    runs, calls = len(host.ran), broker.calls[VALIDATE]
    answers = exchange(host.port, row.data(token), head=row.head)
    came = outcome(answers)
    assert came in row.on(server), [(answer.kind, answer.body[:200]) for answer in answers]
    assert len(host.ran) - runs == (1 if came == "pass" and row.runs else 0)
    assert broker.calls[VALIDATE] - calls <= (1 if row.good else 0)


def test_nothing_of_it_was_an_error_to_the_server(host: Host) -> None:
    assert "Traceback" not in host.output
