"""The delegation chain of a token: attenuation hop by hop, members, times and hash (contract 6; threats D).

The broker checks none of this when it validates. Record signatures are not looked at: they cover neither the
delegate nor earlier records, and the token's own signature covers all.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from datetime import datetime, timezone

from agentwrit_guard.core.claims import AgentClaims, DelegationRecord, agent_domain
from agentwrit_guard.core.scopes import Grant

_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z", re.ASCII)
_HASH = re.compile(r"[0-9a-f]{64}")
_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


def chain_violation(claims: AgentClaims, payload: str, *, domain: str) -> str | None:
    """What is wrong with the chain, None if it is sound or absent.

    `payload` is the token's payload as text, because the hash is over the raw text of the chain. `domain` is the
    trust domain that every member must be an agent of.
    """
    chain = claims.delegation_chain
    if not chain:
        return "hash without a chain" if claims.chain_hash is not None else None
    if claims.chain_hash is None or not _HASH.fullmatch(claims.chain_hash):
        return "no hash, or not 64 hex digits"
    if not _hash_fits(claims.chain_hash, payload):
        return "hash does not fit"
    if any(agent_domain(record.agent) != domain for record in chain):
        return "a member is no agent of the trust domain"
    return _widening(claims) or _disorder(chain, claims.iat)


def has_loop(claims: AgentClaims) -> bool:
    """Whether some agent stands twice in the line from root to holder, self-delegation included."""
    line = [record.agent for record in claims.delegation_chain] + [claims.sub]
    return len(set(line)) != len(line)


def _hash_fits(chain_hash: str, payload: str) -> bool:
    digest = hashlib.sha256(_raw_member(payload, "delegation_chain").encode()).hexdigest()
    return hmac.compare_digest(digest, chain_hash)


def _raw_member(payload: str, wanted: str) -> str:
    """The text of a member of the payload itself: not of an object in it, however its name is spelt.

    `payload` has been parsed before: it is one object, and the member is there once.
    """
    end = _gap(payload, 0)
    name, raw = None, ""
    while name != wanted:
        name, end = _DECODER.raw_decode(payload, _gap(payload, end + 1))
        start = _gap(payload, _gap(payload, end) + 1)
        _, end = _DECODER.raw_decode(payload, start)
        raw, end = payload[start:end], _gap(payload, end)
    return raw


def _gap(text: str, index: int) -> int:
    """Where the white space that begins at `index` ends."""
    match = _SPACE.match(text, index)
    return match.end() if match else index


def _widening(claims: AgentClaims) -> str | None:
    held = Grant(claims.delegation_chain[0].scope)
    for given in [record.scope for record in claims.delegation_chain[1:]] + [claims.scope]:
        if not all(held.covers(scope) for scope in given):
            return "a hop widens the scope"
        held = Grant(given)
    return None


def _disorder(chain: tuple[DelegationRecord, ...], iat: int) -> str | None:
    # None is later than `iat`, which has been held against the clock.
    before = (0, 0)
    for record in chain:
        at = _instant(record.delegated_at)
        if at is None:
            return "a time is not RFC 3339 in UTC"
        if at < before or at[0] > iat:
            return "times are out of order"
        before = at
    return None


def _instant(text: str) -> tuple[int, int] | None:
    """Seconds and nanoseconds: datetime has microseconds only."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    try:
        whole = datetime.strptime(match.group(1), "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    except ValueError:
        return None
    return int(whole.timestamp()), int((match.group(2) or "").ljust(9, "0"))
