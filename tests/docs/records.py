"""The log behind the report that a page shows."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

from agentwrit_guard.core.decisions import DecisionEvent, Reason
from agentwrit_guard.jsonlog import JsonFormatter

NOW = 1_800_000_000
SHOP = "spiffe://agentwrit.local/agent/shop/orders/4addb01b452d86c3"
REPORTS = "spiffe://agentwrit.local/agent/reports/nightly/5b0c8f1e2d3a4b5c"


def line(event: DecisionEvent, at: float) -> str:
    made = {"name": "agentwrit_guard.decisions", "levelname": "INFO", "created": NOW + at, "decision": event}
    return JsonFormatter().format(logging.makeLogRecord(made))


def shown() -> str:
    """The one record that the page shows."""
    said = _said(Reason.INSUFFICIENT_SCOPE, "8f14e45fceea167a", "/orders/7", SHOP)
    event = DecisionEvent(
        **{**said, "source": "cache", "required": ("read:orders:7",), "missing": ("read:orders:7",)},
        task_id="orders", jti_hash="0a4d55a8d778", route="/orders/{order_id}",
    )  # fmt: skip
    return json.dumps(json.loads(line(event, 2.25)))


def log() -> Iterator[str]:
    """A morning in shadow mode."""
    for number in range(200):
        refusals = list(_refusals(number))
        for at, event in enumerate(refusals or [_allowed(number)]):
            yield line(event, number * 18 + at / 1000)


def _allowed(number: int) -> DecisionEvent:
    return DecisionEvent("allowed", "ok", 200, "middleware", "asgi", "GET", "/orders/7", f"r{number}", "cache")


def _refusals(number: int) -> Iterator[DecisionEvent]:
    rid = f"r{number}"
    if number % 20 == 0:
        yield _allowed(number)
        said = _said(Reason.INSUFFICIENT_SCOPE, rid, "/orders/7", SHOP)
        yield DecisionEvent(**said, missing=(f"write:orders:{number // 100}",), route="/orders/{order_id}")
    elif number % 50 == 1:
        for phase, route in (("middleware", None), ("requirement", "/reports")):
            yield DecisionEvent(**{**_said(Reason.NO_CREDENTIALS, rid, "/reports", None), "phase": phase}, route=route)
    elif number in (7, 8):
        yield DecisionEvent(**{**_said(Reason.EXPIRED, rid, f"/export/{number}", REPORTS), "phase": "middleware"})
    elif number in (90, 91, 92):
        yield DecisionEvent(**{**_said(Reason.BROKER_UNAVAILABLE, rid, "/orders/7", None), "phase": "middleware"})


def _said(reason: Reason, request_id: str, path: str, agent: str | None) -> dict[str, Any]:
    return {
        "outcome": "denied", "reason": reason.code, "status": reason.status, "phase": "requirement", "front": "fastapi",
        "method": "GET", "path": path, "request_id": request_id, "source": "broker", "agent_id": agent,
        "enforced": False,
    }  # fmt: skip
