"""The page about servers says what servers do: each cell of its tables is tried, or is what a test of its own shows."""

from __future__ import annotations

import pytest

from tests.docs.pages import table
from tests.servers import elsewhere_rows, header_rows, path_rows, test_lasting, test_lifespan, test_websocket
from tests.servers.agents import Mint
from tests.servers.hosts import Host, Serve
from tests.servers.rows import DAPHNE, GUNICORN, HTTPTOOLS, SERVERS, TRIALS, outcome
from tests.servers.test_trials import BODY_FIRST, ONE_A_CONNECTION
from tests.servers.wire import bearer, exchange, request

PAGE = "docs/servers.md"
ROWS = {row.id: row for row in (*header_rows.ROWS, *elsewhere_rows.ROWS, *path_rows.ROWS)}
SAID = {name: dict(zip(SERVERS, cells, strict=True)) for name, *cells in table(PAGE, "One request, eight servers")}
WORDS = {"pass": "runs", "none": "401", "token": "401", "request": "400", "scope": "403", "closed": "server"}


@pytest.fixture(scope="module")
def token(mint: Mint) -> str:
    return mint().access_token


@pytest.mark.parametrize("server", SERVERS)
def test_one_request_eight_servers(server: str, serve: Serve, token: str) -> None:
    host = serve(server, SERVERS[server], AGENTWRIT_CACHE_TTL="60")
    came = {}
    for name in SAID:
        runs = len(host.ran)
        kind = outcome(exchange(host.port, ROWS[name].data(token)))
        came[name] = WORDS.get(kind, kind.removeprefix("app "))
        assert (came[name] == "runs") == (len(host.ran) == runs + 1)
    assert came == {name: cells[server] for name, cells in SAID.items()}


def test_beyond_headers_and_paths() -> None:
    websockets = {server for server, _ in test_websocket.PLACES}
    # Lifespan is not the business of uvicorn's HTTP implementations: one stands for both.
    lifespan = {*test_lifespan.SERVERS, HTTPTOOLS}
    asgi = {server for server, app in TRIALS.items() if app == "trial_asgi"}
    expected = [
        ["yes" if server in BODY_FIRST else "no" for server in SERVERS],
        ["one" if server in ONE_A_CONNECTION else "many" for server in SERVERS],
        ["403" if server == DAPHNE else "401" if server in websockets else "-" for server in SERVERS],
        ["yes" if server in lifespan else "no" if server in asgi else "-" for server in SERVERS],
        [{DAPHNE: "Daphne-Root-Path", GUNICORN: "SCRIPT_NAME"}.get(server, "-") for server in SERVERS],
        [str(test_lasting.CODES.get(server, 1008)) if server in asgi else "-" for server in SERVERS],
        ["complete" for _ in SERVERS],
        ["silent" if server in test_lasting.SILENT else "broken off" for server in SERVERS],
    ]
    assert [cells for _, *cells in table(PAGE, "Beyond headers and paths")] == expected


def test_h_15_gunicorn_takes_the_longest_token_when_told_to(serve: Serve, token: str) -> None:
    host = serve(GUNICORN, SERVERS[GUNICORN], options=("--limit-request-field_size", "16380"))
    kinds = [outcome(exchange(host.port, ROWS[f"H-15 {size} bytes"].data(token))) for size in (8192, 8193)]
    assert kinds == ["token", "request"]


def test_h_06_cheroot_hides_a_repeated_header(serve: Serve, token: str) -> None:
    """Why it is not supported: everywhere else this is a 400."""
    host: Host = serve("cheroot", "flask_app", AGENTWRIT_CACHE_TTL="60")
    [answer] = exchange(host.port, request("/me", bearer("x.y.z"), bearer(token)))
    assert answer.kind == "pass"
    [answer] = exchange(host.port, request("/me", bearer(token), bearer("x.y.z")))
    assert answer.kind == "token"
