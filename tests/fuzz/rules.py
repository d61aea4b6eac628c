"""The rules behind the reference decision: tokens and replies, each from its rows of threats.md.

Where threats.md names no figure or leaves a choice, a comment says `open:` and the rule takes the guard's.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import string
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote_plus

from tests.fuzz.case import FAULTS, Fault, Reply
from tests.fuzz.scopes import covered
from tests.fuzz.strict import Refused, fraction, instant, one_object, raw_member, segment

CLAIMS: Final = (
    "iss", "sub", "aud", "exp", "nbf", "iat", "jti", "sid", "scope", "task_id", "orch_id", "delegation_chain",
    "chain_hash",
)  # fmt: skip
FIELDS: Final = ("agent", "scope", "delegated_at", "signature")
HEADER: Final = ("alg", "typ", "kid")
# J-08 to J-12; those of the x5 family by their start.
REFUSED: Final = ("jwk", "jku", "crit", "b64", "cty", "zip", "enc", "epk", "apu", "apv", "iv", "tag", "p2s", "p2c")
SCOPES, SCOPE_LENGTH, CHAIN, TEXT, AUDIENCES, REPLY = 256, 512, 5, 2048, 64, 65536  # open: 64 audiences (J-26)
NAME: Final = set(string.ascii_letters + string.digits + "._-")
JSON_TYPE = re.compile(r'application/json\s*(;\s*(charset=("?)utf-8\3)?)?', re.IGNORECASE)


def names_a_token(query: bytes) -> bool:
    """H-16."""
    return "access_token" in [unquote_plus(pair.partition("=")[0]) for pair in query.decode("latin-1").split("&")]


def structure(token: str) -> tuple[dict[str, Any], str]:
    """J-01 to J-18: the payload of a compact JWS, and its text."""
    parts = token.split(".")
    if len(parts) != 3 or len(parts[2]) != 86:
        raise Refused("parts")
    segment(parts[2])
    data = segment(parts[1])
    head, claims = one_object(segment(parts[0])), one_object(data)
    if any(_folded(name) in HEADER and name not in HEADER for name in head):
        raise Refused("alias in the header")
    if any(_folded(name) in CLAIMS and name not in CLAIMS for name in claims):
        raise Refused("alias in the payload")
    if any(_folded(name) in REFUSED or _folded(name).startswith("x5") for name in head):
        raise Refused("parameter")
    typ, kid = head.get("typ", "JWT"), head.get("kid", "k" * 43)
    if head.get("alg") != "EdDSA" or not isinstance(typ, str) or typ.lower() != "jwt":
        raise Refused("alg or typ")
    if not isinstance(kid, str) or len(kid) != 43 or not set(kid) <= NAME - {"."}:
        raise Refused("kid")
    return claims, data.decode()


def _folded(name: str) -> str:
    """As the broker's parser folds names, letter by letter: only the Kelvin sign and the long s become ASCII."""
    return name.replace("\u017f", "s").lower()


def typed(claims: Mapping[str, Any]) -> None:
    """J-19, J-22 to J-27, J-31, D-02 to D-04; contract 4: what the broker leaves out is never null or empty."""
    if "cnf" in claims or not all(type(claims.get(name)) is int for name in ("exp", "nbf", "iat")):
        raise Refused("cnf or a time")
    if not all(0 < claims[name] < 2**53 for name in ("exp", "nbf", "iat")):
        raise Refused("time")
    if claims.get("iss") != "":
        _text(claims.get("iss"))
    for name in ("sub", "jti", *({"sid", "task_id", "orch_id", "chain_hash"} & claims.keys())):
        _text(claims.get(name))
    for name, most in (("aud", AUDIENCES), ("scope", SCOPES)):
        if claims.get(name) is not None:
            _texts(claims[name], most)
    if any(len(scope) > SCOPE_LENGTH for scope in claims.get("scope") or ()):
        raise Refused("scope")
    chain = claims.get("delegation_chain", [{}])
    if not isinstance(chain, list) or not 0 < len(chain) <= CHAIN:
        raise Refused("chain")
    for record in chain if "delegation_chain" in claims else ():
        if not isinstance(record, dict) or not _texts(record.get("scope"), SCOPES):
            raise Refused("record")
        for name in ("agent", "delegated_at", "signature"):
            _text(record.get(name))


def _text(value: Any) -> None:
    if not isinstance(value, str) or not 0 < len(value.encode()) <= TEXT:
        raise Refused("text")
    if not value.isprintable() and "Cc" in map(unicodedata.category, value):
        raise Refused("control character")


def _texts(value: Any, most: int) -> int:
    if not isinstance(value, list) or len(value) > most or not all(isinstance(text, str) for text in value):
        raise Refused("list of texts")
    return len(value)


def party(claims: Mapping[str, Any], policy: Mapping[str, Any]) -> bool:
    """J-25, J-26, J-28, J-29."""
    sub, domain = claims["sub"], agent_domain(claims["sub"])
    kind = "agent" if domain else "admin" if sub == "admin" else "app" if sub.startswith("app:") else None
    if kind == "app" and not (sub[4:] and set(sub[4:]) <= NAME):
        return False
    if kind not in policy["principal_kinds"] or policy["issuer"] not in (None, claims["iss"]):
        return False
    if policy["audience"] is not None and policy["audience"] not in (claims.get("aud") or ()):
        return False
    return kind != "agent" or policy["trust_domain"] in (None, domain)


def agent_domain(sub: str) -> str | None:
    """The trust domain of `spiffe://DOMAIN/agent/ORCH/TASK/INSTANCE`, None for any other text (J-28)."""
    parts = sub.split("/")
    if len(parts) != 7 or parts[:2] != ["spiffe:", ""] or parts[3] != "agent":
        return None
    if not all(part and set(part) <= NAME for part in parts[2:]) or {".", ".."} & set(parts[4:]):
        return None
    return parts[2] if parts[2] == parts[2].lower() else None


def chained(claims: Mapping[str, Any], text: str, policy: Mapping[str, Any]) -> bool:
    """D-01, D-03, D-05 to D-08."""
    if "delegation_chain" not in claims:
        return "chain_hash" not in claims
    chain = claims["delegation_chain"]
    if claims.get("chain_hash") != hashlib.sha256(raw_member(text, "delegation_chain").encode()).hexdigest():
        return False
    # open: an app's or admin's token has no trust domain of its own, so its chain needs a configured one.
    domain = agent_domain(claims["sub"]) or policy["trust_domain"]
    if any(agent_domain(record["agent"]) is None or agent_domain(record["agent"]) != domain for record in chain):
        return False
    line = [record["agent"] for record in chain] + [claims["sub"]]
    if policy["chain_loops"] == "deny" and len(set(line)) < len(line):
        return False
    held = [record["scope"] for record in chain] + [claims.get("scope") or []]
    if not all(covered(one, scope) for one, other in itertools.pairwise(held) for scope in other):
        return False
    # The second counts for "not after iat": the broker cuts iat to the second and the record's time not (contract 6).
    times = [(instant(record["delegated_at"]), fraction(record["delegated_at"])) for record in chain]
    # open: a time before 1970 is none. The broker writes year 1 where it has no time.
    return times == sorted(times) and times[0][0].timestamp() >= 0 and times[-1][0].timestamp() <= claims["iat"]


def word(replies: Sequence[Reply | Fault]) -> dict[str, Any] | None:
    """B-01 to B-13: an object whose `valid` is true or false, None if the broker could not be asked."""
    reply = replies[0]
    if reply == "reset":
        reply = replies[min(1, len(replies) - 1)]
    if isinstance(reply, str):
        assert reply in FAULTS
        return None
    status, headers, body = reply
    types = [text for name, text in headers if name.lower() == "content-type"]
    # open: a lone `identity` is no encoding.
    encodings = [text for name, text in headers if name.lower() == "content-encoding"]
    if (
        status != 200
        or encodings not in ([], ["identity"])
        or len(body) > REPLY
        or len(types) != 1
        or not JSON_TYPE.fullmatch(types[0])
    ):
        return None
    try:
        told = one_object(body)
    except Refused:
        return None
    if told.get("valid") is True and not isinstance(told.get("claims"), dict):
        return None
    return told if isinstance(told.get("valid"), bool) else None


def known(claims: Mapping[str, Any]) -> str:
    """B-14: the claims that we know, as a text that differs when they do: repr keeps 1, 1.0 and True apart."""
    kept = {name: claims[name] for name in CLAIMS if name in claims}
    kept.update({name: claims.get(name) or [] for name in ("aud", "scope") if claims.get(name) in (None, [])})
    if isinstance(kept.get("delegation_chain"), list):
        kept["delegation_chain"] = [
            {name: item[name] for name in FIELDS if name in item} if isinstance(item, dict) else item
            for item in kept["delegation_chain"]
        ]
    return repr(_sorted(kept))


def _sorted(value: Any) -> Any:
    """Without the order of members, which is no part of an object's value."""
    if isinstance(value, dict):
        return {name: _sorted(value[name]) for name in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value
