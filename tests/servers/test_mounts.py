"""R-10 on real servers: guard and router read the same path, whoever took a prefix from it and however.

A handler's name is what counts as having run: `public` may run for anybody, `me` for a good token alone.
"""

from __future__ import annotations

import pytest

from tests.servers.agents import Mint
from tests.servers.hosts import Host, Serve
from tests.servers.rows import DAPHNE, GRANIAN, GUNICORN, HTTPTOOLS, HYPERCORN, SERVERS, TRIALS, UVICORN, WAITRESS
from tests.servers.trial_apps import PREFIXES
from tests.servers.wire import Answer, bearer, send

STYLES = ("inside", "around", "forwarded")

# How a server is told its prefix, and whether it wants to see that prefix in requests. uvicorn adds it by itself,
# hypercorn, granian and daphne take both, gunicorn and waitress take it off. werkzeug has no such option.
ROOTED = {
    UVICORN: (("--root-path", "{prefix}"), {}, ""),
    HTTPTOOLS: (("--root-path", "{prefix}"), {}, ""),
    HYPERCORN: (("--root-path", "{prefix}"), {}, "{prefix}"),
    GRANIAN: (("{prefix}",), {}, "{prefix}"),
    DAPHNE: (("--root-path", "{prefix}"), {}, "{prefix}"),
    GUNICORN: ((), {"SCRIPT_NAME": "{prefix}"}, "{prefix}"),
    WAITRESS: (("{prefix}",), {}, "{prefix}"),
}


def hostile(prefix: str) -> list[str]:
    """Targets that one reader takes for a public path or for the mounted one, and another does not."""
    escaped = "%2F" + prefix[1:]
    return [
        "/me",
        "/public/../me",
        "/public/..;/me",
        "/public%2F..%2Fme",
        f"{prefix}/me",
        f"{prefix}%2Fme",
        f"{prefix}me",
        f"{prefix}//me",
        f"{prefix}/./me",
        f"{prefix}/me/",
        f"{prefix}/public/../me",
        f"{prefix}/public%2F..%2Fme",
        f"{prefix}/public/..{prefix}/me",
        f"{prefix}{prefix}/me",
        f"/public{prefix}/me",
        f"/public/..{prefix}/me",
        f"/{prefix}/me",
        f"{escaped}/me",
        f"/public{escaped}/me",
    ]


def name(handler: str) -> str:
    return ascii(handler)


def ran_by(host: Host, target: str, *headers: tuple[str, bytes]) -> tuple[Answer, list[str]]:
    before = len(host.ran)
    return send(host.port, target, *headers), host.ran[before:]


def expect_one_reading(host: Host, prefix: str, base: str, token: str, *headers: tuple[str, bytes]) -> None:
    """What a router finds runs as the guard has it and not else. `base` is where the API stands for a client."""
    for target in hostile(prefix):
        answer, ran = ran_by(host, target, *headers)
        assert name("me") not in ran, target
        assert (answer.kind == "pass") == (ran == [name("public")]), (target, answer.kind)
    for target, expected in [(f"{base}/me", "none"), (f"{base}/public/a", "pass"), (f"{base}/public/../me", "none")]:
        answer, _ = ran_by(host, target, *headers)
        assert answer.kind == expected, target
    answer, ran = ran_by(host, f"{base}/me", bearer(token), *headers)
    assert (answer.kind, ran) == ("pass", [name("me")])


@pytest.fixture(scope="module")
def token(mint: Mint) -> str:
    return mint().access_token


@pytest.fixture(scope="module", params=SERVERS)
def host(request: pytest.FixtureRequest, serve: Serve) -> Host:
    return serve(request.param, TRIALS[request.param], AGENTWRIT_CACHE_TTL="60")


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("style", STYLES)
def test_r_10_mounted(style: str, prefix: str, host: Host, token: str) -> None:
    headers = [("X-Style", style.encode())]
    if style == "forwarded":
        headers.append(("X-Forwarded-Prefix", prefix.encode()))
    # WSGI has the prefix off the path where ASGI leaves it on.
    base = "" if style == "forwarded" and "trial_wsgi" in host.name else prefix
    expect_one_reading(host, prefix, base, token, *headers)


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("server", ROOTED)
def test_r_10_prefix_of_the_server(server: str, prefix: str, serve: Serve, token: str) -> None:
    options, env, base = ROOTED[server]
    host = serve(
        server,
        TRIALS[server],
        options=tuple(option.format(prefix=prefix) for option in options),
        AGENTWRIT_CACHE_TTL="60",
        **{key: value.format(prefix=prefix) for key, value in env.items()},
    )
    expect_one_reading(host, prefix, base.format(prefix=prefix), token)
    host.stop()


@pytest.mark.parametrize("header", ["X-Forwarded-Prefix", "X-Script-Name", "SCRIPT_NAME", "Daphne-Root-Path"])
def test_r_10_prefix_of_the_client(header: str, host: Host) -> None:
    """gunicorn believes the third, daphne the fourth, the ASGI app's own middleware the first. So does the guard."""
    for prefix in ("/me", "/public", "/public/a", "/", "", "/%2e%2e", "x"):
        for target in (
            "/me",
            f"/{prefix}/me",
            f"{prefix}/me",
            "/public/../me",
            f"{prefix}/public/../me",
            f"/me{prefix}",
        ):
            if target.startswith("/"):
                answer, ran = ran_by(host, target, (header, prefix.encode()))
                assert name("me") not in ran, target
                assert (answer.kind == "pass") == (ran == [name("public")]), (prefix, target, answer.kind)


@pytest.mark.parametrize(
    ("server", "header"), [(GUNICORN, "SCRIPT_NAME"), (DAPHNE, "Daphne-Root-Path")], ids=[GUNICORN, DAPHNE]
)
def test_r_10_servers_that_believe_a_client(server: str, header: str, serve: Serve) -> None:
    host = serve(server, TRIALS[server], AGENTWRIT_CACHE_TTL="60")
    assert send(host.port, "/x/public/a").kind == "none"
    assert ran_by(host, "/x/public/a", (header, b"/x"))[1] == [name("public")]


def test_r_10_app_that_knows_nothing_of_prefixes_needs_a_proxy_before_daphne(serve: Serve) -> None:
    """A limit that the page about servers states: such an app and the guard read different paths."""
    host = serve(DAPHNE, TRIALS[DAPHNE], AGENTWRIT_CACHE_TTL="60")
    style, prefix = ("X-Style", b"whole"), ("Daphne-Root-Path", b"/customers")
    assert [send(host.port, path, style).kind for path in ("/customers/health", "/health")] == ["none", "app 404"]
    assert ran_by(host, "/customers/health", style, prefix)[1] == [name("whole")]
    assert ran_by(host, "/customers/7291", style, prefix)[1] == []
