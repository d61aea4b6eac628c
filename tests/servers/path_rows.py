"""The rows of threats R that depend on what a server does with the method and the target."""

from __future__ import annotations

from tests.servers.rows import GUNICORN, NONE, PASS, SERVER, Row, fixed, one_of, target
from tests.servers.wire import bearer, request

MISSING = one_of("app 404")
# A router that tidies a path up says so, to agents that were let in only.
TIDIED = one_of("app 307", "app 308")
WRONG = one_of("app 405")

PREFLIGHT = (("Origin", b"https://a.example"), ("Access-Control-Request-Method", b"GET"))

# What no route has as it is written. None of these is public, whatever a server makes of it.
TARGETS: dict[str, str | bytes] = {
    "R-05 trailing slash": "/me/",
    "R-06 doubled slash": "//me",
    "R-06 host and path": "//evil.example/me",
    "R-06 parent": "/a/../me",
    "R-06 same": "/./me",
    "R-06 backslash": "/me\\x",
    "R-06 fragment": "/me#frag",
    "R-06 parent of the public prefix": "/public/../me",
    "R-06 doubled slash and the public prefix": "//public/../me",
    "R-06 doubled slash in the public prefix": "/public//../me",
    "R-07 escaped parent of the public prefix": "/public/%2e%2e/me",
    "R-07 escaped slashes after the public prefix": "/public%2F..%2Fme",
    "R-06 parameter of a segment": "/health;/me",
    "R-06 backslash parent": "/public/..\\me",
    "R-07 escaped slash": "/%2Fme",
    "R-07 escaped slash after the public path": "/health%2F..%2Fme",
    "R-07 escaped question mark": "/me%3F/public/a",
    "R-07 escaped fragment": "/me%23/public/a",
    "R-07 escaped backslash parent": "/public/..%5Cme",
    "R-07 escaped line end": "/health%0A",
    "R-06 empty segment below the public prefix": "/public//a",
    "R-06 backslash below the public prefix": "/public/a\\b",
    "R-07 escaped backslash below the public prefix": "/public/a%5Cb",
    "R-07 escaped NUL below the public prefix": "/public/a%00",
    "R-07 invalid UTF-8 below the public prefix": "/public/%ff",
    "R-07 overlong dots": "/public/%c0%ae%c0%ae/me",
    "R-07 public path, then invalid UTF-8": "/health%ff",
    "R-07 escaped slash in lower case": "/a%2f..%2fme",
    "R-07 escaped twice": "/%252e%252e/me",
    "R-07 escaped letter": "/%6de",
    "R-07 invalid UTF-8": "/%ff",
    "R-07 raw high byte": b"/me\xff",
    "R-07 escaped NUL": "/me%00",
    "R-08 absolute form": "http://127.0.0.1/me",
    "R-08 absolute form of a public path": "http://127.0.0.1/me?/public/a",
    "R-08 another scheme": "x://127.0.0.1/me",
    "R-08 public path, another host": "http://a.example/../me",
    "R-08 user in the authority": "http://health@127.0.0.1/me",
    "R-08 no slash": "me",
    "R-08 asterisk": "*",
    "R-08 authority": "127.0.0.1:80",
    "R-14 unknown": "/nowhere",
}

# What becomes of a URL when it is put together from the Host header (CVE-2026-48710).
HOSTS = {
    "host with a path": b"a/public/a?",
    "host with the public path": b"a/health?x=",
    "host with a fragment": b"a/health#",
    "host with a user": b"a@b/health#",
    "host with a prefix": b"a/public",
    "host of blanks": b" ",
    "empty host": b"",
    "host with a high byte": b"a\xff",
}


ROWS = [
    Row("R-01 HEAD without", target("/me", method="HEAD", token=False), NONE, head=True),
    Row("R-01 HEAD", target("/me", method="HEAD"), PASS, good=True, head=True),
    Row("R-02 OPTIONS without", target("/me", method="OPTIONS", token=False), NONE),
    Row("R-02 OPTIONS", target("/me", method="OPTIONS"), PASS | WRONG, good=True, runs=False),
    Row("R-02 preflight", lambda token: request("/me", *PREFLIGHT, method="OPTIONS"), NONE),
    Row("R-03 lower case without", target("/me", method="get", token=False), NONE | SERVER),
    Row("R-03 lower case", target("/me", method="get"), PASS | WRONG | SERVER, good=True),
    Row("R-03 lower case, public", target("/public/../me", method="get", token=False), NONE | SERVER),
    # Nothing but a GET and a HEAD is public where a rule names no method.
    Row("R-03 unknown method, public", target("/health", method="GETX", token=False), NONE | SERVER),
    Row("R-03 lower-case POST, public", target("/health", method="post", token=False), NONE | SERVER),
    Row("R-03 mixed case without", target("/me", method="gEt", token=False), NONE | SERVER),
    Row(
        "R-03 blank in the method",
        fixed(b"GE T /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
        NONE | SERVER,
    ),
    Row("R-03 unknown method without", target("/me", method="GETX", token=False), NONE | SERVER),
    Row("R-03 unknown method", target("/me", method="GETX"), WRONG | SERVER, good=True),
    Row("R-03 PATCH without", target("/me", method="PATCH", token=False), NONE),
    Row("R-03 PATCH", target("/me", method="PATCH"), WRONG, good=True),
    Row("R-03 TRACE without", target("/me", method="TRACE", token=False), NONE | SERVER),
    Row("R-04 override without", lambda token: request("/me", ("X-HTTP-Method-Override", b"OPTIONS")), NONE),
    *(
        Row(f"R-09 {name} without", lambda token, host=host: request("/me", host=host), NONE | SERVER)
        for name, host in HOSTS.items()
    ),
    *(
        Row(f"R-09 {name}", lambda token, host=host: request("/me", bearer(token), host=host), PASS | SERVER, good=True)
        for name, host in HOSTS.items()
    ),
    *(
        Row(f"R-09 {name}", lambda token, name=name: request("/me", (name, b"/public/a")), NONE)
        for name in ("X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Uri", "X-Original-URI")
    ),
    Row("R-09 forwarded host", lambda token: request("/me", ("X-Forwarded-Host", b"a/public/a?")), NONE),
    Row("R-09 two hosts", lambda token: request("/me", ("Host", b"a/public/a?")), NONE | SERVER),
    Row("R-09 no host", fixed(b"GET /me HTTP/1.1\r\nConnection: close\r\n\r\n"), NONE | SERVER),
    Row(
        "R-09 public host and path, and the target is not",
        lambda token: request("http://127.0.0.1/me", host=b"127.0.0.1/health"),
        NONE | SERVER,
    ),
    Row(
        "R-10 prefix from the client",
        lambda token: request("/me", ("X-Forwarded-Prefix", b"/public"), ("X-Script-Name", b"/public")),
        NONE,
    ),
    Row("R-10 SCRIPT_NAME without", lambda token: request("/a/me", ("SCRIPT_NAME", b"/a")), NONE | SERVER),
    Row(
        "R-10 SCRIPT_NAME",
        lambda token: request("/a/me", ("SCRIPT_NAME", b"/a"), bearer(token)),
        MISSING,
        # gunicorn takes a prefix from loopback: guard and router agree that the path is /me.
        at={GUNICORN: PASS},
        good=True,
    ),
    Row(
        "R-10 SCRIPT_NAME into the public prefix",
        lambda token: request("/me", ("SCRIPT_NAME", b"/me"), ("PATH_INFO", b"/public/a")),
        NONE | SERVER,
        # What is left of the path is empty there, and that is not public either.
    ),
    Row("R-20 inbound identity", lambda token: request("/me", ("X-AgentWrit-Agent", b"spiffe://a/agent/b/c/d")), NONE),
    *(Row(f"{name} without", target(path, token=False), NONE | SERVER) for name, path in TARGETS.items()),
    *(Row(name, target(path), PASS | MISSING | TIDIED | SERVER, good=True) for name, path in TARGETS.items()),
    Row(
        "R-23 huge body without",
        lambda token: request("/me", method="POST", body=b"x" * 300_000),
        NONE,
    ),
    Row(
        "R-24 a body that is a request",
        lambda token: (
            request("/me", method="POST", body=request("/me", bearer(token)), keep=True) + request("/nowhere")
        ),
        NONE | one_of("none then none"),
    ),
]
