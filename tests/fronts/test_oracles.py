"""What a stranger learns from refusals (O-05), and that no request says where the broker is (CFG-05)."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator

import pytest

from tests.fronts.altered import alter
from tests.fronts.expect import expect
from tests.fronts.test_table import bearer, get
from tests.kit.drivers import Answer, Headers
from tests.kit.fronts import FRONTS, WHOLE, Front
from tests.kit.stub import StubBroker
from tests.kit.tokens import b64, compact, header, sign, token

Make = Callable[..., Front]


def visible(answer: Answer) -> tuple[int, list[tuple[str, str]], bytes]:
    """All of an answer but the request id, which is drawn for each."""
    return answer.status, [pair for pair in answer.headers if pair[0].lower() != "x-request-id"], answer.body


# For the fronts without a middleware, a path that has no handler is answered by the app alone.
@pytest.mark.parametrize("name", FRONTS)
@pytest.mark.parametrize("headers, status, error", [
    ([], 401, "unauthorized"),
    ([("Authorization", b"Basic eDp5")], 401, "unauthorized"),
    ([bearer("junk")], 401, None),
    ([("Authorization", b"Bearer")], 400, None),
], ids=["none", "another scheme", "bad token", "no token"])  # fmt: skip
def test_o_05_known_and_unknown_routes_are_refused_alike(
    make_front: Make, broker: StubBroker, name: str, headers: Headers, status: int, error: str | None
) -> None:
    front = make_front(name)
    known = ("/me", "/customers/7291", "/customers/8", "/whoami")
    unknown = ("/nothing-here", "/customers", "/customers/7291/orders", "/", "//me", "/me/", "/ME", "/admin.php")
    paths = (*known, *unknown) if name in WHOLE else known
    seen = [visible(expect(front, broker, get(*headers, path=path), status, error=error)) for path in paths]
    assert [one for one in seen if one != seen[0]] == []


@contextlib.contextmanager
def trap() -> Iterator[tuple[str, socket.socket]]:
    """An address that listens: whoever connects is still in its queue at the end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield f"127.0.0.1:{listener.getsockname()[1]}", listener


@pytest.mark.parametrize("name", FRONTS)
def test_cfg_05_no_request_says_where_the_broker_is(make_front: Make, broker: StubBroker, name: str) -> None:
    with trap() as (host, listener):
        url = f"http://{host}"
        values = {
            "Host": host,
            "X-Forwarded-Host": host,
            "X-Forwarded-Server": host,
            "X-Forwarded-For": host,
            "X-Forwarded-Proto": "http",
            "X-Forwarded-Prefix": f"//{host}",
            "Forwarded": f"for={host};host={host};proto=http;by={host}",
            "X-Original-URL": f"{url}/v1/token/validate",
            "X-Rewrite-URL": f"{url}/v1/token/validate",
            "Proxy": url,
            "Origin": url,
            "Referer": f"{url}/",
            "AgentWrit-Broker-URL": url,
            "X-AgentWrit-Broker-URL": url,
        }
        hostile = [(field, value.encode()) for field, value in values.items()]
        front = make_front(name)
        address = host.split(":")
        target = (address[0], int(address[1]))
        alter(front, lambda scope: scope.update(server=target, SERVER_NAME=target[0], SERVER_PORT=address[1]))
        for number, text in enumerate((token(iss=url), token(aud=[url], azp=url), token(head=header(nonce=url)))):
            request = get(*hostile, bearer(text), path="/customers/7291", query=f"broker_url={url}&iss={url}")
            expect(front, broker, request, 200, calls=1)
            assert broker.headers[-1]["host"] == broker.url.removeprefix("http://"), number
        for member in ("jku", "x5u"):
            named = sign(compact(header(**{member: f"{url}/keys"})), compact({"sub": "x"}))
            expect(front, broker, get(*hostile, bearer(named)), 401)
        if name in WHOLE:
            # An absolute-form target, which some servers hand on as the path.
            for path in (f"{url}/me", f"//{host}/me", f"/{b64(url.encode())}"):
                expect(front, broker, get(*hostile, path=path), 401, error="unauthorized")
                answer = front.request(get(*hostile, bearer(token(jti=path)), path=path))
                assert answer.status == 404
        assert not any(url in line or host in line for sent in broker.headers for line in sent.values())
        assert set(broker.paths) == {"/v1/token/validate"}
        with pytest.raises(BlockingIOError):
            listener.accept()
