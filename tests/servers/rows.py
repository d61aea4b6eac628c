"""What a row of the matrix is: bytes to send, and what may come of them on which server.

Outcomes are those of `wire.Answer.kind`, with `server` for any refusal that the server makes by itself before the app
(4xx, 501, 505) and `closed` for a connection that ends without an answer. The guard's own are `none` (401, no
credentials), `request` (400), `token` (401, invalid), `scope` (403). Rows that are not `good` must never have `pass`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.servers.wire import Answer, bearer, request

Outcomes = frozenset[str]

UVICORN, HTTPTOOLS = "uvicorn-h11", "uvicorn-httptools"
HYPERCORN, GRANIAN, DAPHNE = "hypercorn", "granian", "daphne"
GUNICORN, WAITRESS, WERKZEUG = "gunicorn-sync", "waitress", "werkzeug"
SERVERS = {
    UVICORN: "starlette_app",
    HTTPTOOLS: "starlette_app",
    HYPERCORN: "starlette_app",
    GRANIAN: "starlette_app",
    DAPHNE: "starlette_app",
    GUNICORN: "flask_app",
    WAITRESS: "flask_app",
    WERKZEUG: "flask_app",
}
TRIALS = {server: "trial_asgi" if app == "starlette_app" else "trial_wsgi" for server, app in SERVERS.items()}


def one_of(*kinds: str) -> Outcomes:
    return frozenset(kinds)


PASS, NONE, REQUEST, TOKEN = one_of("pass"), one_of("none"), one_of("request"), one_of("token")
SERVER = one_of("server", "closed")


@dataclass(frozen=True)
class Row:
    """`data` makes the request from a good token. `at` says what a server makes of it where it has a way of its own.

    `good` is whether the request carries one clean good token, as far as some server can tell. `runs` is whether a
    pass is the handler's; frameworks answer some methods by themselves.
    """

    id: str
    data: Callable[[str], bytes]
    allowed: Outcomes
    at: Mapping[str, Outcomes] = field(default_factory=dict)
    good: bool = False
    head: bool = False
    runs: bool = True

    def __post_init__(self) -> None:
        assert self.good or not any("pass" in outcomes for outcomes in (self.allowed, *self.at.values())), self.id

    def on(self, server: str) -> Outcomes:
        return self.at.get(server, self.allowed)


def outcome(answers: list[Answer]) -> str:
    """What came of a row, in the words of `Row.on`."""
    kinds = [answer.kind for answer in answers]
    if len(kinds) > 1:
        return " then ".join(kinds)
    if not kinds:
        return "closed"
    refused = kinds[0].startswith("server") and (400 <= answers[0].status < 500 or answers[0].status in (501, 505))
    return "server" if refused else kinds[0]


def value(make: Callable[[bytes], bytes], name: str = "Authorization") -> Callable[[str], bytes]:
    """A plain request whose one credential is what `make` makes of the token."""
    return lambda token: request("/me", (name, make(token.encode())))


def fixed(data: bytes) -> Callable[[str], bytes]:
    return lambda token: data


def target(path: str | bytes, *, method: str = "GET", token: bool = True) -> Callable[[str], bytes]:
    """A request for a path with the good token, or with none."""
    return lambda good: request(path, *([bearer(good)] if token else []), method=method)
