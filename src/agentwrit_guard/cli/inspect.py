"""`agentwrit-guard inspect`: what a token says of itself, and what a guard makes of its text alone."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Final

from agentwrit_guard.cli.exits import CommandError, Commands
from agentwrit_guard.core.claims import AgentClaims, parse_claims
from agentwrit_guard.core.decisions import Denied, Reason
from agentwrit_guard.core.jws import MAX_TOKEN, Jws, parse_jws

# A guard has to be told of a broker, but decides on text without one.
_NO_BROKER: Final = "http://localhost"

_WHY: Final[Mapping[Reason, str]] = {
    Reason.MALFORMED_CREDENTIALS: "it has characters that no bearer token has",
    Reason.OVERSIZED_CREDENTIALS: f"it is over {MAX_TOKEN} characters",
    Reason.MALFORMED_TOKEN: "it is not one canonical JWS: three base64url segments without padding, alg EdDSA, a "
    "signature of 64 bytes, a payload that is strict JSON",
    Reason.MALFORMED_CLAIMS: "a claim is missing or not of its form",
    Reason.PROOF_OF_POSSESSION: "it is bound to a key (cnf), so it is no bearer token",
    Reason.EXPIRED: "it has ended",
    Reason.NOT_YET_VALID: "it starts in the future; compare the clocks",
    Reason.LIFETIME_EXCEEDED: "it lives longer than max_token_lifetime allows (AGENTWRIT_MAX_TOKEN_LIFETIME)",
    Reason.ISSUER_MISMATCH: "its iss is not the issuer that is set (AGENTWRIT_ISSUER)",
    Reason.AUDIENCE_MISMATCH: "its aud lacks the audience that is set (AGENTWRIT_AUDIENCE)",
    Reason.TRUST_DOMAIN_MISMATCH: "its agent is of another trust domain than is set (AGENTWRIT_TRUST_DOMAIN)",
    Reason.PRINCIPAL_KIND: "its subject is not of a kind that is let in (AGENTWRIT_PRINCIPAL_KINDS, else agents only)",
    Reason.CHAIN_VIOLATION: "its delegation chain is broken",
    Reason.DENY_LIST: "it is on the deny list (AGENTWRIT_DENY_FILE)",
    Reason.UNKNOWN_KEY: "its kid names no key of AGENTWRIT_PINNED_KEYS",
    Reason.BAD_SIGNATURE: "no key of AGENTWRIT_PINNED_KEYS has signed it",
    Reason.CHAIN_LOOP: "an agent stands twice in its delegation chain (AGENTWRIT_CHAIN_LOOPS)",
}


def add(commands: Commands) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        "inspect",
        help="show what a token says, and what a guard says to it, without a broker",
        description="Show what a token says of itself, and whether a guard would refuse it for its text alone. Nobody "
        "is asked, and the signature is verified only if AGENTWRIT_PINNED_KEYS is set. Exit code 1 if it would be "
        "refused.",
        epilog="A guard's settings are read from the environment (AGENTWRIT_AUDIENCE, AGENTWRIT_ISSUER, ...).",
    )
    parser.add_argument("token", nargs="?", default="-", metavar="TOKEN", help="the token, or - to read it from stdin")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run)
    return parser


def run(arguments: argparse.Namespace) -> int:
    token = _bare(_read() if arguments.token == "-" else arguments.token)
    if not token:
        raise CommandError("there is no token to inspect")
    finding = _find(token)
    if arguments.json:
        print(json.dumps(finding.document(), indent=2))
    else:
        print("\n".join(f"{name:<9} {text}".rstrip() for name, text in finding.lines()))
    return 0 if finding.denied is None else 1


def _read() -> str:
    try:
        return sys.stdin.read()
    except UnicodeDecodeError:
        raise CommandError("what stands on stdin is not text") from None


def _bare(text: str) -> str:
    """The token of a text that may be a whole header line, as `mint --header` prints it."""
    text = text.strip()
    if text[:14].lower() == "authorization:":
        text = text[14:].strip()
    return text[7:].strip() if text[:7].lower() == "bearer " else text


def _find(token: str) -> Finding:
    from agentwrit_guard.guard import Guard

    decision = Guard.from_env(broker_url=_NO_BROKER).decide([b"Bearer " + os.fsencode(token)])
    jws = parse_jws(token)
    claims = None if jws is None else parse_claims(jws.payload)
    return Finding(jws, claims, decision if isinstance(decision, Denied) else None, time.time())


@dataclass(frozen=True)
class Finding:
    """A token taken apart as far as it can be, and the refusal that its text earns."""

    jws: Jws | None
    claims: AgentClaims | None
    denied: Denied | None
    now: float

    @property
    def why(self) -> str:
        if self.denied is None:
            return ""
        why = _WHY.get(self.denied.reason, "")
        detail = ", ".join(f"{name} {value}" for name, value in self.denied.detail.items())
        return f"{why}: {detail}" if detail else why

    def document(self) -> dict[str, Any]:
        return {
            "ok": self.denied is None,
            "reason": self.denied.reason.code if self.denied else None,
            "why": self.why or None,
            "header": {"alg": "EdDSA", "kid": self.jws.kid} if self.jws else None,
            "claims": self._shown_claims(),
            "times": self._times(),
        }

    def lines(self) -> list[tuple[str, str]]:
        """Names and texts, in the order to be read. Texts of the token are escaped: it may be anybody's."""
        lines: list[tuple[str, str]] = []
        if self.jws is not None:
            lines.append(("header", f"alg EdDSA, kid {self.jws.kid or '(none)'}"))
        if self.claims is not None:
            lines += self._claim_lines(self.claims)
        elif self.jws is not None:
            lines.append(("payload", json.dumps(self._shown_claims())))
        if self.denied is None:
            lines.append(("verdict", "nothing in its text speaks against it; a guard would ask the broker"))
        else:
            lines.append(("verdict", f"refused with {self.denied.status}, {self.denied.reason.code}: {self.why}"))
        return lines

    def _claim_lines(self, claims: AgentClaims) -> list[tuple[str, str]]:
        lines = [("subject", _safe(claims.sub))]
        for name, text in (("task", claims.task_id), ("orch", claims.orch_id), ("issuer", claims.iss)):
            if text:
                lines.append((name, _safe(text)))
        if claims.aud:
            lines.append(("audience", _safe(" ".join(claims.aud))))
        lines.append(("id", _safe(claims.jti)))
        lines += [("scopes" if at == 0 else "", _safe(scope)) for at, scope in enumerate(claims.scope or ["(none)"])]
        lines.append(("issued", f"{_utc(claims.iat)}, {_relative(claims.iat - self.now)}"))
        lines.append(("expires", f"{_utc(claims.exp)}, {_relative(claims.exp - self.now)}"))
        lines.append(("lifetime", _span(claims.exp - claims.iat)))
        for at, record in enumerate(claims.delegation_chain):
            held = _safe(" ".join(record.scope))
            lines.append(
                ("chain" if at == 0 else "", f"{_safe(record.agent)} held {held} at {_safe(record.delegated_at)}")
            )
        return lines

    def _shown_claims(self) -> dict[str, Any] | None:
        """The claims without any signature; the raw payload where they cannot be read."""
        if self.jws is None:
            return None
        if self.claims is None:
            return {name: value for name, value in self.jws.payload.items() if name != "delegation_chain"}
        shown = {name: value for name, value in dataclasses.asdict(self.claims).items() if value not in (None, ())}
        for record in shown.get("delegation_chain", ()):
            del record["signature"]
        return shown

    def _times(self) -> dict[str, Any] | None:
        if self.claims is None:
            return None
        return {
            "issued": _utc(self.claims.iat),
            "expires": _utc(self.claims.exp),
            "lifetime": self.claims.exp - self.claims.iat,
            "seconds_left": int(self.claims.exp - self.now),
        }


def _safe(text: str) -> str:
    """Without anything that a terminal could obey or that looks like other text."""
    return ascii(text)[1:-1]


def _utc(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"{seconds} s after 1970"


def _relative(seconds: float) -> str:
    return f"{_span(-seconds)} ago" if seconds < 0 else f"in {_span(seconds)}"


def _span(seconds: float) -> str:
    """The two greatest units of a time, as `4 min 12 s`."""
    left = int(seconds)
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"
