"""What a guard tells its operator: one record a decision, and for those that a setting explains, how to mend it.

Three kinds of output, none with token bytes. `agentwrit_guard.decisions` gets one INFO record for each decision,
with the `DecisionEvent` as the record's attribute `decision`. `agentwrit_guard.events` gets security and
configuration events (attribute `event`), and the explanations: a WARNING that names reason, setting and fix, so that
it is seen under a plain server, at most one a reason in ten seconds. Hooks get the event; one that fails changes
nothing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

from agentwrit_guard.core.claims import Principal
from agentwrit_guard.core.decisions import Allowed, DecisionEvent, Denied, Phase, Reason
from agentwrit_guard.core.shadow import last_day
from agentwrit_guard.hooks import Hooks

decisions_log: logging.Logger = logging.getLogger("agentwrit_guard.decisions")
events_log: logging.Logger = logging.getLogger("agentwrit_guard.events")

EXPLAIN_EVERY: Final = 10.0

_EXPLANATIONS: Final[Mapping[Reason, str]] = {
    Reason.CREDENTIALS_IN_QUERY: "a request carried access_token in its query beside the header; send the header only",
    Reason.LIFETIME_EXCEEDED: (
        "lifetime {lifetime} s is over max_token_lifetime {max_token_lifetime}; mint shorter tokens, or raise it"
    ),
    Reason.NOT_YET_VALID: "token starts in the future by more than the leeway; compare the clocks of broker and API",
    Reason.ISSUER_MISMATCH: "token's iss is not the configured issuer; set AA_ISSUER at the broker, or mend issuer=",
    Reason.TRUST_DOMAIN_MISMATCH: "agent is of another trust domain than trust_domain={trust_domain}; mend the setting",
    Reason.PRINCIPAL_KIND: "token is for a principal of kind {kind}; principal_kinds admits {principal_kinds}",
    Reason.CHAIN_VIOLATION: "delegation chain is broken: {violation}; find out who signed this token",
    Reason.CHAIN_LOOP: "an agent stands twice in the delegation chain and chain_loops is 'deny'",
    Reason.UNKNOWN_KEY: (
        "token names a signing key that is not pinned; if the broker has a new one, add its file to pinned_keys"
    ),
    Reason.BAD_SIGNATURE: "token is not signed by a pinned key: forged, or pinned_keys is of another broker",
    Reason.OUTSIDE_RESOURCES: "nothing that was needed and held is of resources={resources}; mend scopes or setting",
    Reason.UNUSABLE_IDENTIFIER: "identifier {value} cannot stand in {template}: it is outside the template's charset, "
    "not the text of the path, or missing from the route; charset= admits other values",
    Reason.DELEGATION_RULE: "token was delegated {depth} times, more than max_depth or delegated= of the route allow",
    Reason.BROKER_UNAVAILABLE: "{message}; tokens not seen before get 503; check broker_url, ca_file and timeout",
    Reason.DENY_LIST: "a token was refused because its {level} is on this guard's deny list",
    Reason.BREAKER_OPEN: "{message}; tokens not seen before get 503 meanwhile",
    Reason.OVER_BUDGET: "{message}; raise unknown_token_rate and unknown_token_burst if these are agents of yours",
    Reason.BROKER_BUSY: "{message}; raise max_in_flight or queue_timeout if the broker can take it",
    Reason.CLAIMS_MISMATCH: "the broker answered with the claims of another token; check what stands between",
}
_AUDIENCE: Final[Mapping[str, str]] = {
    "none": "token has no aud but audience is set; set AA_AUDIENCE at the broker or drop audience=",
    "other": "token's aud lacks the configured audience; mend audience=, or AA_AUDIENCE at the broker",
}
_EVENTS: Final[Mapping[Reason, str]] = {
    Reason.CHAIN_VIOLATION: "chain_violation",
    Reason.CHAIN_LOOP: "chain_loop",
    Reason.UNKNOWN_KEY: "key_rotated",
    Reason.BAD_SIGNATURE: "bad_signature",
    Reason.CLAIMS_MISMATCH: "claims_mismatch",
    Reason.LIFETIME_EXCEEDED: "lifetime_exceeded",
    Reason.BROKER_UNAVAILABLE: "broker_unavailable",
    Reason.BREAKER_OPEN: "broker_unavailable",
    Reason.OVER_BUDGET: "over_budget",
    Reason.BROKER_BUSY: "broker_busy",
    Reason.DENY_LIST: "deny_list",
}

NOTICES: Final = (
    "breaker_closed", "breaker_opened", "chain_loop", "clock_skew", "deny_file_broken", "deny_list_full",
    "shadow_mode",
    "unknown_field",
)  # fmt: skip
"""Events that no refusal stands behind. With those of refusals, `refused` and `hook_failed` they are all there are."""


class Recorder:
    """`settings` are the values that explanations may name; `monotonic` paces them."""

    def __init__(self, settings: Mapping[str, str], monotonic: Callable[[], float], hooks: Hooks) -> None:
        self._settings = settings
        self._monotonic = monotonic
        self._hooks = hooks
        self.reset()

    def reset(self) -> None:
        """Start pacing anew, with a new lock (for a forked child)."""
        self._explained: dict[str, float] = {}
        self._lock = threading.Lock()

    def wanted(self) -> bool:
        """Whether anybody listens, so that an event is worth making."""
        return bool(self._hooks.decision) or decisions_log.isEnabledFor(logging.INFO)

    def decision(
        self,
        decision: Allowed | Denied,
        *,
        phase: Phase,
        front: str,
        method: str,
        path: str,
        request_id: str,
        route: str | None = None,
        enforced: bool = True,
    ) -> None:
        if isinstance(decision, Denied):
            self.explain(decision)
        if not self.wanted():
            return
        event = _event(decision, phase, front, method, path, request_id, route, enforced)
        if decisions_log.isEnabledFor(logging.INFO):
            decisions_log.info(
                "%s %s %a %a: %s%s", event.outcome, event.status, event.method, event.path, event.reason,
                "" if enforced else " (not enforced)", extra={"decision": event},
            )  # fmt: skip
        self._hooks.decided(event)

    def explain(self, denied: Denied) -> None:
        """Warn of a refusal that a setting or a fault explains."""
        reason = denied.reason
        if reason is Reason.AUDIENCE_MISMATCH:
            text = _AUDIENCE[denied.detail.get("aud", "other")]
        elif reason in _EXPLANATIONS:
            text = _EXPLANATIONS[reason]
        else:
            return
        if self._paced(reason.code):
            values = {name: _shown(value) for name, value in denied.detail.items()}
            if "message" in values:
                values["message"] = denied.detail["message"]
            line = text.format_map({**self._settings, **values})
            events_log.warning(
                "%s: %s", reason.code, line, extra={"event": _EVENTS.get(reason, "refused"), "reason": reason.code}
            )

    def event(self, name: str, text: str) -> None:
        """Warn of something that was let in all the same, paced as explanations are."""
        if self._paced(name):
            events_log.warning("%s: %s", name, text, extra={"event": name})

    def _paced(self, name: str) -> bool:
        now = self._monotonic()
        with self._lock:
            last = self._explained.get(name)
            if last is not None and now - last < EXPLAIN_EVERY:
                return False
            self._explained[name] = now
            return True


def warn_of_shadow(what: str, end: float, now: float) -> None:
    """Say at start-up what is not enforced, or no longer is not."""
    if now < end:
        text = f"{what} is in shadow mode: requests that it refuses go through, to the end of {last_day(end)} (UTC)"
    else:
        text = f"{what} is enforced again since the end of {last_day(end)} (UTC): enforce=False and until= can go"
    events_log.warning("shadow_mode: %s", text, extra={"event": "shadow_mode"})


def _shown(value: str) -> str:
    return value if value.isascii() and value.isdigit() else ascii(value)


def _event(
    decision: Allowed | Denied,
    phase: Phase,
    front: str,
    method: str,
    path: str,
    request_id: str,
    route: str | None,
    enforced: bool,
) -> DecisionEvent:
    if isinstance(decision, Denied):
        event = DecisionEvent(
            "denied", decision.reason.code, decision.status, phase, front, method, path, request_id, decision.source,
            required=decision.required, missing=decision.missing, detail=decision.detail,
            enforced=enforced, route=route,
        )  # fmt: skip
        return event if decision.principal is None else dataclasses.replace(event, **_agent(decision.principal))
    return DecisionEvent(
        "allowed", "ok", 200, phase, front, method, path, request_id, decision.source,
        enforced=enforced, route=route, **_agent(decision.principal),
    )  # fmt: skip


def _agent(principal: Principal) -> dict[str, Any]:
    claims = principal.claims
    return {
        "agent_id": claims.sub,
        "task_id": claims.task_id,
        "depth": len(claims.delegation_chain),
        "jti_hash": hashlib.sha256(claims.jti.encode()).hexdigest()[:12],
    }
