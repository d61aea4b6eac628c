from __future__ import annotations

from agentwrit_guard.client.options import link_options
from agentwrit_guard.transport import LinkOptions


def test_what_reaches_the_link() -> None:
    options = link_options(
        "https://broker.example/base/",
        timeout=3,
        user_agent=" mine/1.0 ",
        ca_file="ca.pem",
        client_cert="cert.pem",
        client_key="key.pem",
    )
    assert options == LinkOptions(
        "https://broker.example/base",
        timeout=3.0,
        ca_file="ca.pem",
        client_cert="cert.pem",
        client_key="key.pem",
        user_agent="mine/1.0",
    )
