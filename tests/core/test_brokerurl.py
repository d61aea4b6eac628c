"""The broker's URL (threats CFG-01 to CFG-04): one normal form, or a start-up error that says why."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from agentwrit_guard.brokerurl import broker_url
from agentwrit_guard.errors import ConfigurationError

NORMAL = [
    ("https://broker.example", "https://broker.example"),
    ("https://broker.example/", "https://broker.example"),
    ("https://broker.example///", "https://broker.example"),
    ("HTTPS://Broker.Example:8443/", "https://broker.example:8443"),
    ("https://broker.example/agentwrit/v2/", "https://broker.example/agentwrit/v2"),
    ("https://10.0.0.7", "https://10.0.0.7"),
    ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
    ("https://[2001:db8::1]:8080/a-b_c~d.e", "https://[2001:db8::1]:8080/a-b_c~d.e"),
    ("https://b:443", "https://b:443"),
    ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
    ("http://127.9.9.9", "http://127.9.9.9"),
    ("http://[::1]:8080", "http://[::1]:8080"),
    ("http://localhost:8080", "http://localhost:8080"),
    ("http://[::ffff:127.0.0.1]", "http://[::ffff:127.0.0.1]"),
]


@pytest.mark.parametrize("url, normal", NORMAL)
def test_b_08_cfg_02_one_normal_form(url: str, normal: str) -> None:
    assert broker_url(url) == normal
    assert broker_url(normal) == normal


PLAIN_HTTP = ["http://broker.example", "http://10.0.0.7:8080", "http://0.0.0.0", "http://[::]", "http://[2001:db8::1]",
              "http://127.0.0.1.example", "http://localhost.example", "http://xlocalhost"]  # fmt: skip


@pytest.mark.parametrize("url", PLAIN_HTTP)
def test_cfg_01_http_off_loopback_needs_the_switch(url: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ConfigurationError, match=r"allow_http.*AGENTWRIT_ALLOW_HTTP"):
        broker_url(url)
    assert caplog.records == []
    assert broker_url(url, allow_http=True) == url
    assert broker_url(url, allow_http=True) == url
    assert [getattr(entry, "event", None) for entry in caplog.records] == ["insecure_broker_url"] * 2


def test_cfg_01_https_and_loopback_are_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    broker_url("https://broker.example", allow_http=True)
    broker_url("http://127.0.0.1", allow_http=True)
    assert caplog.records == []


REFUSED = [
    *[pytest.param(url, id=f"CFG-02 scheme {url!a}")
      for url in ("file:///etc/passwd", "ftp://b", "ws://b", "broker.example", "//broker.example", "https:/b",
          "https:b", "",
                  "javascript:alert(1)", "unix:///run/broker", "https", ":", "://b")],
    *[pytest.param(url, id=f"CFG-02 user info {url!a}")
      for url in ("https://user@b", "https://user:pass@b", "https://@b", "https://:@b", "https://b@c@d")],
    *[pytest.param(url, id=f"CFG-02 query or fragment {url!a}")
      for url in ("https://b?x=1", "https://b/?", "https://b#", "https://b/p#x", "https://b/p?a@c")],
    *[pytest.param(url, id=f"CFG-02 path {url!a}")
      for url in ("https://b/../x", "https://b/a/..", "https://b/./a", "https://b//a", "https://b/a//b", "https://b/%2e%2e/",
                  "https://b/a%2Fb", "https://b/a b", "https://b/a;b", "https://b/a\\b", "https://b/*", "https://b/{x}",
                  "https://b/a:b")],
    *[pytest.param(url, id=f"CFG-02 host {url!a}")
      for url in ("https://", "https:///x", "https://:8080", "https://bücher.example", "https://b\u0440oker", "https://b_c",
                  "https://-b", "https://b-", "https://b..c", "https://.b", "https://b.", "https://b,c", "https://b%41",
                  "https://b\tc", "https://b\n", " https://b", "https://b ", "https://b\x00", "https://[::1", "https://::1",
                  "https://[zz]", "https://b:port", "https://b:65536", "https://b:-1", "https://b:8080x",
                  "https://b:8 0",
                  "https://[v1.example]", "https://good.example[::1]", "https://[::1]evil.example", "https://[127.0.0.1]",
                  "https://" + "a" * 64 + ".example", "https://" + "a." * 127 + "example")],
    *[pytest.param(url, id=f"CFG-02 number {url!a}")
      for url in ("https://127.1", "https://2130706433", "https://0x7f000001", "https://0x7f.1", "https://017700000001",
                  "https://127.0.0.01", "https://1.2.3", "https://256.1.1.1", "https://b.1", "https://b.0x", "http://127.1")],
    *[pytest.param(url, id=f"CFG-04 {url!a}")
      for url in ("https://169.254.169.254", "http://169.254.169.254", "https://169.254.1.1:8080", "https://[fe80::1]",
                  "https://[febf::1]", "https://[::ffff:169.254.169.254]", "https://[::ffff:a9fe:a9fe]",
                  "https://100.100.100.200", "https://[fd00:ec2::254]", "https://metadata.google.internal",
                  "https://Metadata", "https://instance-data", "https://224.0.0.1", "https://[ff02::1]",
                  "https://[fe80::1%25eth0]", "https://[::ffff:100.100.100.200]", "https://metadata.google.internal/x",
                  "https://192.0.0.192", "https://168.63.129.16", "https://[fd20:ce::254]",
                  "https://[64:ff9b::a9fe:a9fe]", "https://[2002:a9fe:a9fe::1]", "https://[::169.254.169.254]")],
    pytest.param("https://broker.example:0", id="CFG-02 port 0"),
    pytest.param("https://[::1%25lo]", id="CFG-02 zone"),
]  # fmt: skip


@pytest.mark.parametrize("url", REFUSED)
def test_cfg_a_url_that_no_broker_has(url: str) -> None:
    for allow_http in (False, True):
        with pytest.raises(ConfigurationError, match="broker_url"):
            broker_url(url, allow_http=allow_http)


@pytest.mark.parametrize("url", [None, 7, b"https://b", ["https://b"], {}])
def test_cfg_02_what_is_no_text(url: object) -> None:
    with pytest.raises(ConfigurationError, match="broker_url"):
        broker_url(url)


@pytest.mark.parametrize("url", ["https://u:s3cret@b", "ftp://u:s3cret@b", "https://u:s3cret@b:99999",
    "https://u:s3cret @b",
                                 "https://u:s3cret@b?q", "http://u:s3cret@b", "https://u:s3cret@[::1",
                                 "//u:s3cret@b"])  # fmt: skip
def test_cfg_02_a_password_in_the_url_is_not_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        broker_url(url)
    assert "s3cret" not in str(caught.value)


def _resolving(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    def resolve(host: str, *_: object, **__: object) -> list[Any]:
        assert host == "localhost"
        if not addresses:
            raise OSError("no such name")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("addresses", [("10.0.0.7",), ("127.0.0.1", "10.0.0.7"), ("fe80::1%eth0",)])
def test_cfg_03_a_localhost_that_is_elsewhere_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, scheme: str, addresses: tuple[str, ...]
) -> None:
    _resolving(monkeypatch, *addresses)
    assert broker_url(f"{scheme}://localhost:8080") == f"{scheme}://localhost:8080"
    assert [(record.levelname, record.event) for record in caplog.records] == [("WARNING", "insecure_broker_url")]  # type: ignore[attr-defined]
    assert addresses[-1] in caplog.text


@pytest.mark.parametrize("addresses", [("127.0.0.1",), ("::1", "127.0.0.1"), ()])
def test_cfg_03_a_localhost_that_is_here_is_not(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, addresses: tuple[str, ...]
) -> None:
    _resolving(monkeypatch, *addresses)
    broker_url("http://localhost")
    assert caplog.records == []
