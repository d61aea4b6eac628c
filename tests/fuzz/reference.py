"""What the guard must decide, said once more in some 35 lines: threats.md section 3, without the guard's code."""

from __future__ import annotations

import re
from typing import Final

from tests.fuzz import keys, rules, scopes
from tests.fuzz.case import Case
from tests.fuzz.strict import Refused

ALLOW, REQUEST, NONE, TOKEN, SCOPE, UNAVAILABLE, CFG = "allow", "400", "401 none", "401", "403", "503", "cfg"

TOKEN_BYTES: Final = 8192
VALUE_BYTES: Final = TOKEN_BYTES + 256  # open: threats.md does not say how many blanks may stand round a token
DEFAULTS: Final = {
    "issuer": None, "audience": None, "trust_domain": None, "principal_kinds": ("agent",),
    "max_token_lifetime": 3600, "chain_loops": "allow", "pinned_keys": (), "pinned_thumbprints": (), "resources": None,
}  # fmt: skip
SCHEME = re.compile(rb"([-!#$%&'*+.^_`|~0-9A-Za-z]+)(?= |[ \t]*\Z)")
CREDENTIALS = re.compile(rb"[^ ]+ +([!-~]+)[ \t]*")


def decide(case: Case) -> tuple[str, bool]:
    """The decision, and whether the broker is asked for it. CFG when the requirement must not even be declared."""
    policy, needs = {**DEFAULTS, **case.settings}, case.needs
    if not scopes.declarable(needs):
        return CFG, False
    value = case.entries[0] if case.entries else b""
    if len(case.entries) > 1 or b"," in value or len(value) > VALUE_BYTES:
        return REQUEST, False
    if case.entries and rules.names_a_token(case.query):
        return REQUEST, False
    scheme, found = SCHEME.match(value), CREDENTIALS.fullmatch(value)
    if not value.strip(b" \t") or (scheme and scheme[1].lower() != b"bearer"):
        return NONE, False
    if not scheme or not found or len(found[1]) > TOKEN_BYTES:
        return REQUEST, False
    try:
        token = found[1].decode()
        claims, text = rules.structure(token)
        rules.typed(claims)
        exp, nbf, iat = claims["exp"], claims["nbf"], claims["iat"]
        timely = nbf <= case.now + 5 and iat <= case.now + 60 and case.now < exp
        alive = timely and 0 < exp - iat <= policy["max_token_lifetime"]
        if not (alive and rules.party(claims, policy) and rules.chained(claims, text, policy)):
            return TOKEN, False
        if not keys.signed(token, policy):
            return TOKEN, False
    except Refused:
        return TOKEN, False
    told = rules.word(case.replies)
    if told is None or (told["valid"] and rules.known(told["claims"]) != rules.known(claims)):
        return UNAVAILABLE, True
    if not told["valid"] or case.now + case.elapsed >= exp:
        return TOKEN, True
    depth = len(claims.get("delegation_chain", ()))
    direct = depth == 0 or (needs.rules.get("delegated", True) and depth <= needs.rules.get("max_depth", depth))
    held, ceiling = claims.get("scope") or [], policy["resources"]
    return (ALLOW if direct and scopes.reached(needs, held, case.params, ceiling) else SCOPE), True
