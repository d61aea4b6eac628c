"""A good request on its way to becoming a hostile one: mutations work on it stage by stage, as text where text matters.

Payload and header are lists of members whose names and values are JSON text, so that a duplicate, an odd number or an
escaped name is one more member.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from tests.fuzz.case import JSON_ANSWER, Case, Fault, Needs, Reply, Value
from tests.kit.tokens import KEY, NOW, b64

STAGES: Final = ("scene", "chain", "claims", "text", "token", "header", "needs", "reply")
Member = list[str]

_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_ESCAPES: Final = {ord(char): f"\\u{ord(char):04x}" for char in "&<>\u2028\u2029"}


def sign(signed: str) -> str:
    return b64(KEY.sign(signed.encode()))


@dataclass
class Draft:
    """What one case is made from. `sign` gives the signature of a token's first two segments."""

    settings: dict[str, Any] = field(default_factory=dict)
    now: float = NOW
    elapsed: int = 0
    query: bytes = b""
    head: list[Member] = field(default_factory=list)
    claims: list[Member] = field(default_factory=list)
    chain: list[dict[str, Any]] = field(default_factory=list)
    written: Callable[[object], str] = json.dumps
    head_text: bytes = b""
    text: bytes = b""
    issued: str = ""
    token: str = ""
    entries: list[bytes] = field(default_factory=list)
    warm: bool = False
    needs: Needs = field(default_factory=Needs)
    params: dict[str, Value] = field(default_factory=dict)
    replies: list[Reply | Fault] = field(default_factory=list)
    sign: Callable[[str], str] = sign
    minted: str = ""

    def get(self, name: str) -> Any:
        """The value of a claim, None if there is none or it is not JSON any more."""
        for key, text in self.claims:
            if key == f'"{name}"':
                try:
                    return json.loads(text)
                except ValueError:
                    return None
        return None

    def put(self, name: str, text: str) -> None:
        """Give a claim a value, as JSON text, in its place or at the end."""
        for member in self.claims:
            if member[0] == f'"{name}"':
                member[1] = text
                return
        self.claims.append([f'"{name}"', text])

    def drop(self, name: str) -> None:
        self.claims = [member for member in self.claims if member[0] != f'"{name}"']

    def finish(self, stage: str) -> None:
        """What has to be made when the mutations of a stage have been at work."""
        if stage == "chain" and self.chain:
            raw = self.written(self.chain)
            self.put("delegation_chain", raw)
            self.put("chain_hash", f'"{hashlib.sha256(raw.encode()).hexdigest()}"')
        elif stage == "claims":
            self.head_text, self.text = joined(self.head), joined(self.claims)
        elif stage == "text":
            signed = f"{b64(self.head_text)}.{b64(self.text)}"
            same = self.minted.rpartition(".")[0] == signed
            self.issued = self.token = self.minted if same else f"{signed}.{self.sign(signed)}"
        elif stage == "token":
            self.entries = [b"Bearer " + self.token.encode("utf-8", "surrogatepass")]
        elif stage == "header":
            self.replies = [self.honest()]

    def honest(self) -> Reply:
        """What a broker says that signed `issued`: any other spelling of a token has no valid signature."""
        if [entry.strip(b" \t").rpartition(b" ")[2] for entry in self.entries] != [self.issued.encode()]:
            return 200, JSON_ANSWER, b'{"valid":false,"error":"token is invalid or expired"}\n'
        return 200, JSON_ANSWER, b'{"valid":true,"claims":' + self.text + b"}\n"

    def case(self) -> Case:
        # A token that is in the cache already is not asked about, so its replies would not be looked at.
        warm = self.warm and not self.elapsed and len(self.replies) == 1 and self.replies[0] == self.honest()
        return Case(
            tuple(self.entries), self.needs, self.params, self.settings, tuple(self.replies), self.now, self.elapsed,
            self.query, self.issued if warm else "",
        )  # fmt: skip


def joined(members: list[Member]) -> bytes:
    return ("{" + ",".join(f"{name}:{value}" for name, value in members) + "}").encode("utf-8", "surrogatepass")


def compact(value: object) -> str:
    return _ENCODER.encode(value)


def members(value: dict[str, Any]) -> list[Member]:
    return [[f'"{name}"', broker_text(item)] for name, item in value.items()]


def from_token(token: str) -> Draft:
    """A draft of a token that a broker has issued. As long as its text is not changed it stays that very token."""
    head, payload = (base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in token.split(".")[:2])
    claims = json.loads(payload)
    # The chain's text stays as it is: the broker escapes what compact() does not.
    draft = Draft(head=members(json.loads(head)), claims=members(claims), minted=token)
    draft.chain = claims.get("delegation_chain", [])
    draft.written = broker_text
    return draft


def broker_text(value: object) -> str:
    """JSON as the broker writes it (contract 2)."""
    return compact(value).translate(_ESCAPES)


Mutation = Callable[[Draft, random.Random], None]
"""One change of a draft, decided by the random numbers alone."""

HEAD: Final = members({"alg": "EdDSA", "typ": "JWT"})


def pick(rng: random.Random, weights: dict[Any, int]) -> Any:
    return rng.choices(list(weights), list(weights.values()))[0]
