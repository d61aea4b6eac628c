"""Well-formed answers: bound to the token (B-14), our own checks (B-15, B-21), and an honest no (B-16, B-20)."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any, Final

from agentwrit_guard.core.decisions import Reason
from tests.faults.acts import Said, answers
from tests.faults.broker import FaultBroker
from tests.faults.fault import Fault
from tests.kit.stub import valid
from tests.kit.tokens import AGENT, NOW, OTHER, REMOVED, claims, delegated, record
from tests.link.raw import answer

ANOTHER: Final = "spiffe://agentwrit.local/agent/orch-3/task-3/6addb01b452d86c3"
# Every claim that we know, so that each can be changed.
FULL: Final = delegated(record(), sid="session-1", aud=["api-1"], iss="broker")
CHANGED: Final[dict[str, list[Any]]] = {
    "iss": ["other", "", REMOVED, None],
    "sub": [ANOTHER, AGENT.upper(), REMOVED],
    "aud": [["api-2"], ["api-1", "api-2"], "api-1", [], REMOVED, None],
    "exp": [NOW + 301, float(NOW + 300), str(NOW + 300), REMOVED],
    "nbf": [NOW - 1, REMOVED],
    "iat": [NOW - 1, REMOVED],
    "jti": ["0" * 32, REMOVED],
    "sid": ["session-2", REMOVED, None],
    "scope": [["read:customers:*"], ["read:customers:7291", "write:customers:7291"], "read:customers:7291", [],
              REMOVED, None],
    "task_id": ["task-2", REMOVED],
    "orch_id": ["orch-2", REMOVED],
    "delegation_chain": [[], REMOVED, None, [record(ANOTHER)], [record(), record()], record(), "chain"],
    "chain_hash": ["0" * 64, REMOVED],
}  # fmt: skip
FIELDS: Final[dict[str, list[Any]]] = {
    "agent": [ANOTHER, REMOVED],
    "scope": [["read:customers:7291"], REMOVED],
    "delegated_at": ["2027-01-15T08:00:00.28491113Z", REMOVED],
    "signature": ["cd" * 64, REMOVED],
}


def confirms(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Said:
    """An honest yes whose claims are changed."""

    def said(_: FaultBroker, asked: bytes) -> bytes:
        changed = change(json.loads(valid(asked)[2])["claims"])
        told = {name: value for name, value in changed.items() if value is not REMOVED}
        return answer(json.dumps({"valid": True, "claims": told}).encode())

    return said


def merged(**members: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda told: {**told, **members}


def in_record(**members: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def change(told: dict[str, Any]) -> dict[str, Any]:
        hop = {**told["delegation_chain"][0], **members}
        return {**told, "delegation_chain": [{name: value for name, value in hop.items() if value is not REMOVED}]}

    return change


def told(name: str, change: Callable[[dict[str, Any]], dict[str, Any]], **more: Any) -> Fault:
    return Fault(f"B-14 {name}", answers(confirms(change)), **{"payload": FULL, **more})


def mixed_up(name: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Fault:
    return told(name, change, reason=Reason.CLAIMS_MISMATCH)


def shown(value: Any) -> str:
    if value is REMOVED:
        return "removed"
    text = json.dumps(value)
    return f"changed to {text if len(text) < 70 else f'another {type(value).__name__} of {len(value)}'}"


def own(name: str, reason: Reason, payload: dict[str, Any], calls: int = 0, **more: Any) -> Fault:
    """The broker likes the token, and we do not."""
    return Fault(name, reason=reason, payload=payload, calls=calls, **more)


def no(name: str, *members: Any, **more: Any) -> Fault:
    """The broker says no, and whatever else it says."""

    def said(_: FaultBroker, asked: bytes) -> bytes:
        token = json.loads(asked)["token"]
        text = json.dumps({"valid": False, **dict(members)}).replace("{token}", token)
        return answer(text.encode())

    return Fault(name, answers(said), reason=Reason.REJECTED_BY_BROKER, **more)


def too_late(broker: FaultBroker, connection: socket.socket, _: int) -> None:
    """The token expires while the answer is on its way."""
    while body := broker.take(connection):
        broker.clock.move(300)
        connection.sendall(answer(valid(body)[2]))


def by_clock(name: str, ahead: float, reason: Reason | None, **changes: int) -> Fault:
    """A token issued now by a broker whose clock is `ahead` seconds ahead of ours, which shows NOW + 1."""
    issued = int(NOW + 1 + ahead)
    payload = claims(iat=issued, nbf=issued, exp=issued + 300, **changes)
    return Fault(f"B-21 {name}", reason=reason, payload=payload, calls=0 if reason else 1)


CLAIMING: Final = [
    mixed_up("claims of another token", lambda _: claims(sub=OTHER, jti="f" * 32)),
    mixed_up("claims of an earlier token of the same agent", lambda _: claims(jti="f" * 32, iat=NOW - 9, nbf=NOW - 9)),
    *(mixed_up(f"{name} {shown(value)}", merged(**{name: value}))
      for name, values in CHANGED.items() for value in values),
    *(mixed_up(f"{name} of a delegation record {shown(value)}", in_record(**{name: value}))
      for name, values in FIELDS.items() for value in values),
    told("claims unchanged", dict, reason=None),
    told("claims in another order", lambda told: dict(reversed(told.items())), reason=None),
    *(told(f"no aud, and aud {shown(value)}", merged(aud=value), reason=None, payload=claims())
      for value in (None, [], REMOVED)),
    *(told(f"no scope, and scope {shown(value)}", merged(scope=value), reason=None, payload=claims(scope=REMOVED))
      for value in (None, [], REMOVED)),
    told("an unknown claim in the token alone", merged(extra=REMOVED), reason=None, payload=claims(extra={"a": [1]})),
    told("an unknown claim in both, and they differ", merged(extra=2), reason=None, payload=claims(extra=1)),
    told("an unknown claim in the reply alone", merged(extra=1), reason=None, event="unknown_field"),
    own("B-15 exp past", Reason.EXPIRED, claims(exp=NOW + 1)),
    Fault("B-15 exp passes while the broker is asked", too_late, reason=Reason.EXPIRED),
    own("B-15 nbf ahead", Reason.NOT_YET_VALID, claims(nbf=NOW + 7)),
    own("B-15 audience wrong", Reason.AUDIENCE_MISMATCH, claims(aud=["api-2"]), settings={"audience": "api-1"}),
    own("B-15 audience missing", Reason.AUDIENCE_MISMATCH, claims(), settings={"audience": "api-1"}),
    own("B-15 chain wrong", Reason.CHAIN_VIOLATION, delegated(record(), chain_hash="0" * 64)),
    own("B-15 chain widens", Reason.CHAIN_VIOLATION, delegated(record(scope=("read:orders:1",)))),
    no("B-16 false"),
    no("B-16 false with an error", ("error", "broker-says: token is expired")),
    no("B-16 false with an error in HTML", ("error", "<h1>broker-says</h1><script>alert(1)</script>")),
    no("B-16 false with an error of many lines", ("error", "broker-says\r\nSet-Cookie: a=b\r\n\r\n\x1b[31m")),
    no("B-16 false with the token in the error", ("error", "broker-says no to {token}")),
    no("B-16 false with claims", ("claims", claims())),
    no("B-16 false with claims that are no object", ("claims", "broker-says")),
    no("B-20 broker restarted with a new key", ("error", "token is invalid or expired")),
    own("B-20 broker restarted with a new key, and the old one is pinned", Reason.UNKNOWN_KEY, claims(),
        settings={"pinned_keys": ("{old_key}",)}),
    by_clock("4 s ahead", 4, None),
    by_clock("10 s ahead", 10, Reason.NOT_YET_VALID),
    by_clock("1 h ahead", 3600, Reason.NOT_YET_VALID),
    by_clock("10 s behind", -10, None),
    by_clock("1 h behind", -3600, Reason.EXPIRED),
]  # fmt: skip
