"""Answers whose status is none of the contract's, whatever their body says (B-04 to B-08; B-09 for the other 2xx)."""

from __future__ import annotations

from typing import Any, Final

from tests.faults.acts import answers
from tests.faults.broker import FaultBroker
from tests.faults.fault import Fault
from tests.kit.stub import valid
from tests.link.raw import answer


def status(name: str, line: str, *headers: bytes, **more: Any) -> Fault:
    """`line` is the status and its phrase; `{trap}`, `{port}` and `{token}` are filled in. The body says yes."""

    def said(broker: FaultBroker, body: bytes) -> bytes:
        filled = [line.encode(), *headers]
        places = {b"{trap}": broker.trap.encode(), b"{port}": b"%d" % broker.port, b"{token}": body[10:-2]}
        for place, value in places.items():
            filled = [text.replace(place, value) for text in filled]
        return answer(valid(body)[2], *filled[1:], status=filled[0])

    word = "redirect" if line.startswith("3") else "status"
    return Fault(name, answers(said), (word,), **{"said": (line.split(" ")[0], "broker_url"), **more})


def limited(said: bytes, seconds: int) -> Fault:
    """A 429, and what of its Retry-After is passed on."""
    name = f"B-05 429 with Retry-After {said.decode('latin-1')!a}"
    return status(name, "429 Too Many Requests", b"Retry-After: " + said, retry_after=seconds, opens=True)


def redirect(code: int, where: str, target: bytes, **more: Any) -> Fault:
    return status(f"B-08 {code} to {where}", f"{code} Elsewhere", b"Location: " + target, **more)


STATUSES: Final = [
    status("B-04 500", "500 Internal Server Error"),
    status("B-04 502", "502 Bad Gateway"),
    status("B-04 503", "503 Service Unavailable"),
    status("B-04 503 with Retry-After", "503 Service Unavailable", b"Retry-After: 7", retry_after=7),
    status("B-04 504", "504 Gateway Timeout"),
    status("B-04 500 with the token in the phrase", "500 {token}"),
    status("B-04 500 with the token in a header", "500 Oops", b"X-Request: {token}"),
    limited(b"1", 1),
    limited(b"0", 1),
    limited(b"30", 30),
    limited(b"31", 30),
    limited(b"3600", 30),
    limited(b"999999999", 30),
    limited(b"abc", 2),
    limited(b"-5", 2),
    limited(b"1.5", 2),
    limited(b"\xb2", 2),
    limited(b"Wed, 21 Oct 2015 07:28:00 GMT", 2),
    limited(b"", 2),
    status("B-05 429 without Retry-After", "429 Too Many Requests", retry_after=2, opens=True),
    status(
        "B-05 429 with two Retry-Afters", "429 Slow", b"Retry-After: 1", b"Retry-After: 9", retry_after=2, opens=True
    ),
    status("B-06 400 for our own body", "400 Bad Request"),
    status("B-06 413 for our own body", "413 Content Too Large"),
    status("B-07 401", "401 Unauthorized", b'WWW-Authenticate: Bearer realm="broker-says"'),
    status("B-07 403", "403 Forbidden"),
    status("B-07 404", "404 Not Found", said=("404", "path of broker_url")),
    status("B-07 405", "405 Method Not Allowed", b"Allow: GET", said=("405", "path of broker_url")),
    status("B-07 407", "407 Proxy Authentication Required", b"Proxy-Authenticate: Basic"),
    status("B-07 421", "421 Misdirected Request"),
    status("B-07 451", "451 Unavailable For Legal Reasons"),
    *(redirect(code, "elsewhere", b"http://{trap}/v1/token/validate") for code in (301, 302, 303, 307, 308)),
    redirect(301, "https elsewhere", b"https://{trap}/v1/token/validate"),
    redirect(302, "the same host without a scheme", b"//127.0.0.1:{port}/v1/token/validate"),
    redirect(307, "itself", b"http://127.0.0.1:{port}/v1/token/validate"),
    redirect(308, "itself, by path", b"/v1/token/validate"),
    redirect(302, "elsewhere with the token", b"http://{trap}/?token={token}"),
    redirect(301, "nowhere", b""),
    status("B-08 300 with a choice", "300 Multiple Choices", b"Link: <http://{trap}/>; rel=alternate"),
    status("B-08 302 with a Refresh header", "302 Found", b"Refresh: 0; url=http://{trap}/"),
    Fault("B-08 304", answers(b"HTTP/1.1 304 Not Modified\r\n\r\n"), ("redirect",)),
    Fault("B-08 broker_url with slashes at its end", reason=None, url="{scheme}://{host}:{port}//"),
    *(status(f"B-09 {code} with a true", f"{code} Not 200") for code in (201, 202, 203, 206, 207, 226, 299, 999)),
    Fault("B-09 204", answers(b"HTTP/1.1 204 No Content\r\n\r\n"), ("status",)),
]
