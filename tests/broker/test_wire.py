"""The twin answers every recorded exchange as the real broker did.

`AGENTWRIT_WIRE=FILE` replays another recording of the same form.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from agentwrit_guard.devbroker import DevBroker
from tests.broker import wire

_DEFAULT = Path(__file__).parent.parent / "vectors" / "data" / "wire.json"
_RECORDING = json.loads(Path(os.environ.get("AGENTWRIT_WIRE") or _DEFAULT).read_text(encoding="utf-8"))
_META: dict[str, Any] = _RECORDING["meta"]
_NOT_COMPARED = {"date", "content-length", "transfer-encoding"}


@pytest.mark.parametrize("exchange", _RECORDING["transcripts"], ids=lambda exchange: exchange["name"])
def test_twin_answers_as_recorded(exchange: dict[str, Any]) -> None:
    given = exchange.get("given", {})
    request, recorded = exchange["request"], exchange["response"]
    settings = _META["configs"][exchange["config"]]
    with DevBroker(**settings, admin_secret=_META["admin_secret"], clock=lambda: exchange["at"]) as broker:
        broker.state.load(given)
        for _ in range(given.get("repeat_before", 0)):
            wire.send(broker, request, _META)
        reply = wire.send(broker, request, _META)
        _check_issued(broker, reply.body)

    assert reply.status == recorded["status"]
    _check_headers(reply, request, recorded)
    random = recorded.get("random", [])
    if "*" in random:
        return
    if random:
        assert wire.comparable(reply.body, random) == wire.comparable(recorded["body"], random)
    else:
        assert reply.body == recorded["body"]


def _check_headers(reply: wire.Reply, request: dict[str, Any], recorded: dict[str, Any]) -> None:
    own_id = any(name.lower() == "x-request-id" for name in request["headers"])
    received = {name: value for name, value in reply.headers.items() if name.lower() not in _NOT_COMPARED}
    expected = dict(recorded["headers"])
    if not own_id:
        assert ("X-Request-Id" in received) == ("X-Request-Id" in expected)
        expected.pop("X-Request-Id", None)
        assert re.fullmatch("[0-9a-f]{16}", received.pop("X-Request-Id", "0" * 16))
    assert received == expected
    assert not [name for name in recorded.get("absent_headers", []) if name in reply.headers]


def _check_issued(broker: DevBroker, body: str) -> None:
    """What the vectors leave out because it is random must at least verify."""
    try:
        token = json.loads(body).get("access_token")
    except ValueError:
        return
    if token is None:
        return
    header, payload, signature = token.split(".")
    broker.public_key.verify(wire.unb64url(signature), f"{header}.{payload}".encode())
    assert wire.unb64url(header).decode() == wire.dumps({"alg": "EdDSA", "typ": "JWT", "kid": broker.kid})
    chain = wire.payload_of(token).get("delegation_chain")
    if chain is not None:
        digest = hashlib.sha256(wire.dumps(chain).encode()).hexdigest()
        assert wire.payload_of(token)["chain_hash"] == digest
