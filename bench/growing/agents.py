"""Agents that differ in all that agents differ in. Their tokens are signed by nobody: the guard leaves that to the
broker, unless keys are pinned."""

from __future__ import annotations

import hashlib
import json
import random
import time
from typing import Any, Final

from agentwrit_guard.core.wire import BrokerReply
from bench.drills.tokens import HEAD, encoded, packed

SIGNATURE: Final = 64
_PREFIX: Final = b"Bearer "
_HEAD: Final = packed(HEAD)
_JSON: Final = {"content-type": "application/json"}


class Crowd:
    """Agents one after the other, each with its own id, session, task and two scopes: tokens of 760 bytes."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        self._now = int(time.time())

    def next(self) -> tuple[bytes, bytes]:
        """Credentials as in the header, and the payload in them, as JSON."""
        agent, customer = self._dice.randbytes(8).hex(), self._dice.randbytes(8).hex()
        payload = (
            f'{{"iss":"agentwrit","sub":"spiffe://agentwrit.local/agent/orch-{agent[:6]}/task-{customer[:8]}/{agent}",'
            f'"aud":["customer-api"],"exp":{self._now + 3000},"nbf":{self._now},"iat":{self._now},'
            f'"jti":"{self._dice.randbytes(16).hex()}","sid":"{self._dice.randbytes(16).hex()}",'
            f'"scope":["read:customers:customer-{customer}","write:notes:customer-{customer}-of-agent-{agent}"],'
            f'"task_id":"task-{customer[:8]}","orch_id":"orch-{agent[:6]}"}}'
        ).encode()
        return credentials(payload, self._dice), payload


def credentials(payload: bytes, dice: random.Random) -> bytes:
    return _PREFIX + b".".join((_HEAD, encoded(payload), encoded(dice.randbytes(SIGNATURE))))


def token(shown: bytes) -> bytes:
    """The token in credentials."""
    return shown[len(_PREFIX) :]


def answer(payload: bytes) -> BrokerReply:
    """What the broker says of a valid token."""
    return BrokerReply(200, _JSON, b'{"valid":true,"claims":' + payload + b"}\n")


def holder(scopes: int, depth: int) -> tuple[bytes, bytes]:
    """Credentials and payload of an agent with so many scopes, at the end of a chain of so many hops.

    It holds `read:c:00` and so on: short ones, so that 256 and five hops fit into a token's 8 KiB.
    """
    dice, now = random.Random(scopes * 10 + depth), int(time.time())
    said: dict[str, Any] = {
        "iss": "agentwrit", "sub": _agent(dice), "exp": now + 3000, "nbf": now, "iat": now,
        "jti": dice.randbytes(16).hex(), "sid": dice.randbytes(16).hex(), "scope": _scopes(scopes), "task_id": "task",
        "orch_id": "orch",
    }  # fmt: skip
    if depth:
        said["delegation_chain"] = [_hop(dice, now) for _ in range(depth)]
        said["chain_hash"] = hashlib.sha256(_compact(said["delegation_chain"])).hexdigest()
    payload = _compact(said)
    return credentials(payload, dice), payload


def _scopes(number: int) -> list[str]:
    return [f"read:c:{index:02x}" for index in range(number)]


def _hop(dice: random.Random, now: int) -> dict[str, Any]:
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now - 60))
    return {"agent": _agent(dice), "scope": ["read:c:*"], "delegated_at": at, "signature": dice.randbytes(64).hex()}


def _agent(dice: random.Random) -> str:
    return f"spiffe://agentwrit.local/agent/orch/task/{dice.randbytes(8).hex()}"


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
