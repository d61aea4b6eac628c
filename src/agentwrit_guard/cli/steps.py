"""The demo's scenario, one row a step, and what a right answer looks like."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import httpx

from agentwrit_guard.cli.cast import Cast
from agentwrit_guard.cli.relay import Relay


@dataclass(frozen=True)
class Stage:
    """What steps may change before they ask."""

    cast: Cast
    relay: Relay

    def release_worker(self) -> None:
        self.cast.agents["worker"].release()

    def revoke_suspect(self) -> None:
        if self.cast.operator is not None:
            self.cast.operator.revoke("agent", self.cast.agents["suspect"].agent_id)

    def cut(self) -> None:
        self.relay.cut()

    def restore(self) -> None:
        self.relay.restore()


@dataclass(frozen=True)
class Step:
    """One request, made to each front. `who` holds the token, `shown` are the ids that a collection must have.

    `source` is where the decision has to come from: the broker, the guard's cache, or the guard's own checks.
    """

    name: str
    who: str
    path: str
    required: str
    status: int
    source: str
    method: str = "GET"
    shown: tuple[str, ...] | None = None
    first: Callable[[Stage], None] | None = None
    operators: bool = False

    @property
    def request(self) -> str:
        return f"{self.method} {self.path}"

    def shortcomings(self, answer: httpx.Response, source: str) -> list[str]:
        """What is not as it should be; empty for a right answer."""
        found = []
        if answer.status_code != self.status:
            found.append(f"answered {answer.status_code}, expected {self.status}")
        if source != self.source:
            found.append(f"decided by {source}, expected {self.source}")
        if not found and self.status in (401, 403) and "www-authenticate" not in answer.headers:
            found.append("refused without a challenge")
        if not found and self.status == 503 and "retry-after" not in answer.headers:
            found.append("503 without Retry-After")
        if not found and self.shown is not None:
            ids = tuple(item["id"] for item in answer.json())
            if ids != self.shown:
                found.append(f"showed {', '.join(ids) or 'nothing'}, expected {', '.join(self.shown)}")
        return found


ADA, GRACE, EDSGER = "/customers/7291", "/customers/7292", "/customers/7293"
READ_ADA, READ_GRACE, READ_EDSGER = "read:customers:7291", "read:customers:7292", "read:customers:7293"
WRITE_GRACE, WRITE_EDSGER = "write:customers:7292", "write:customers:7293"
ANY: Final = ""

STEPS: Final = (
    Step("right scope", "clerk", ADA, READ_ADA, 200, "broker"),
    Step("right scope, again", "clerk", ADA, READ_ADA, 200, "cache"),
    Step("another customer's id", "clerk", GRACE, READ_GRACE, 403, "cache"),
    Step("collection, filtered", "clerk", "/customers", ANY, 200, "cache", shown=("7291",)),
    Step("collection, whole", "manager", "/customers", ANY, 200, "broker", shown=("7291", "7292", "7293")),
    Step("no token", "nobody", ADA, READ_ADA, 401, "guard"),
    Step("forged token", "forger", ADA, READ_ADA, 401, "broker"),
    Step("admin token", "operator", ADA, READ_ADA, 401, "guard", operators=True),
    Step("narrowed delegation", "delegate", GRACE, READ_GRACE, 200, "broker"),
    Step("beyond the delegation", "delegate", EDSGER, READ_EDSGER, 403, "cache"),
    Step("before the release", "worker", EDSGER, READ_EDSGER, 200, "broker"),
    Step("seen a moment ago", "worker", EDSGER, READ_EDSGER, 200, "cache"),
    Step("a write asks anew", "worker", f"{EDSGER}/vip", WRITE_EDSGER, 200, "broker", "PUT"),
    Step("released", "worker", f"{EDSGER}/vip", WRITE_EDSGER, 401, "broker", "PUT", first=Stage.release_worker),
    Step("released, known by now", "worker", EDSGER, READ_EDSGER, 401, "cache"),
    Step("before the revocation", "suspect", GRACE, READ_GRACE, 200, "broker", operators=True),
    Step(
        "revoked by the operator", "suspect", f"{GRACE}/vip", WRITE_GRACE, 401, "broker", "PUT",
        first=Stage.revoke_suspect, operators=True,
    ),
    Step("broker unreachable", "newcomer", ADA, READ_ADA, 503, "broker", first=Stage.cut),
    Step("seen before the outage", "clerk", ADA, READ_ADA, 200, "cache"),
    Step("broker back", "newcomer", ADA, READ_ADA, 200, "broker", first=Stage.restore),
)  # fmt: skip
