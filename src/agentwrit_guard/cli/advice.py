"""What to do about a refusal: one sentence for each reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from agentwrit_guard.core.decisions import Reason

_ADVICE: Final[Mapping[Reason, str]] = {
    Reason.NO_CREDENTIALS: "Callers send no bearer token: give them one, or list the path in public=.",
    Reason.MALFORMED_CREDENTIALS: "Have the caller send one `Authorization: Bearer TOKEN` and nothing else in it.",
    Reason.REPEATED_CREDENTIALS: "Have the caller, or the proxy in between, send one Authorization header only.",
    Reason.OVERSIZED_CREDENTIALS: "The token is too long: have its scopes or its delegation chain shortened.",
    Reason.CREDENTIALS_IN_QUERY: "Have the caller send the token in the header only, not in the query.",
    Reason.MALFORMED_TOKEN: "This is no token of the broker: find out what the caller sends.",
    Reason.MALFORMED_CLAIMS: "The token lacks a claim that a guard needs: find out who made it.",
    Reason.EXPIRED: "Have the agent renew its token before it ends.",
    Reason.NOT_YET_VALID: "Compare the clocks of broker and API.",
    Reason.LIFETIME_EXCEEDED: "Mint shorter tokens, or raise max_token_lifetime.",
    Reason.ISSUER_MISMATCH: "Mend issuer=, or AA_ISSUER at the broker.",
    Reason.AUDIENCE_MISMATCH: "Mend audience=, or AA_AUDIENCE at the broker.",
    Reason.TRUST_DOMAIN_MISMATCH: "Mend trust_domain=, or keep agents of other domains away.",
    Reason.PRINCIPAL_KIND: "Have the caller come as an agent, or admit its kind in principal_kinds.",
    Reason.PROOF_OF_POSSESSION: "The token is bound to a key, which a guard cannot check: mint a plain one.",
    Reason.CHAIN_VIOLATION: "The delegation chain is broken: find out who signed this token.",
    Reason.CHAIN_LOOP: "Have no agent delegate back to one before it, or set chain_loops to allow.",
    Reason.UNKNOWN_KEY: "If the broker has a new key, add its file to pinned_keys.",
    Reason.BAD_SIGNATURE: "The token is forged, or pinned_keys is of another broker: find out which.",
    Reason.DENY_LIST: "Whoever this is was stopped on purpose: see the deny file.",
    Reason.REJECTED_BY_BROKER: "The broker calls the token invalid: have the agent get a new one.",
    Reason.INSUFFICIENT_SCOPE: "Grant the agent the scope, or change what the route requires; see the scopes below.",
    Reason.UNUSABLE_IDENTIFIER: "The path has no usable identifier: mend the caller, or set charset= of the route.",
    Reason.DELEGATION_RULE: "Have the agent ask with a token of its own, or loosen max_depth or delegated=.",
    Reason.OUTSIDE_RESOURCES: "The token is meant for another API: mend its scopes, or resources=.",
    Reason.BROKER_UNAVAILABLE: "No fault of the caller: see why calls to the broker failed; check broker_url, timeout.",
    Reason.BREAKER_OPEN: "No fault of the caller: several calls to the broker had failed before; see why.",
    Reason.OVER_BUDGET: "Raise unknown_token_rate and unknown_token_burst if these are agents of yours.",
    Reason.BROKER_BUSY: "Raise max_in_flight or queue_timeout if the broker can take it.",
    Reason.CLAIMS_MISMATCH: "The broker answered for another token: check what stands between it and the API.",
}
_BY_CODE: Final = {reason.code: text for reason, text in _ADVICE.items()}


def advice(code: str) -> str:
    """What to do about a reason, by the code that logs have. A newer guard's may be unknown here."""
    return _BY_CODE.get(code, "This release does not know the reason: look it up where the log was written.")
