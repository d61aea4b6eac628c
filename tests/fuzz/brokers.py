"""Tokens of a running broker, mutated, and its own word on each: what the guard allows the broker must call valid.

The other way round the guard may refuse what the broker likes only for what threats.md is stricter about.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import random
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import httpx

from agentwrit_guard import AgentWritApp, Clock, Guard, Lookup
from agentwrit_guard.client.admin import Operator
from agentwrit_guard.core.decisions import Reason
from agentwrit_guard.errors import ConfigurationError
from tests.fuzz.case import Case, Needs, Reply
from tests.fuzz.draft import Draft, from_token, sign
from tests.fuzz.generate import generate
from tests.fuzz.goods import DOMAIN, SCOPES, require
from tests.fuzz.guards import Outcome, built, declared, outcome, param
from tests.fuzz.reference import ALLOW, CFG
from tests.fuzz.runs import CHUNK, Tally, disagreement

STRICTER: Final = {
    Reason.NO_CREDENTIALS: "H-04", Reason.MALFORMED_CREDENTIALS: "H-08, J-14", Reason.REPEATED_CREDENTIALS: "H-06",
    Reason.OVERSIZED_CREDENTIALS: "H-15", Reason.CREDENTIALS_IN_QUERY: "H-16", Reason.MALFORMED_TOKEN: "J-05 to J-18",
    Reason.MALFORMED_CLAIMS: "J-19 to J-27, D-02 to D-04", Reason.EXPIRED: "J-20", Reason.NOT_YET_VALID: "J-22, J-23",
    Reason.LIFETIME_EXCEEDED: "J-21, D-09", Reason.ISSUER_MISMATCH: "J-25", Reason.AUDIENCE_MISMATCH: "J-26",
    Reason.TRUST_DOMAIN_MISMATCH: "J-28", Reason.PRINCIPAL_KIND: "J-28, J-29", Reason.PROOF_OF_POSSESSION: "J-31",
    Reason.CHAIN_VIOLATION: "D-01 to D-08", Reason.CHAIN_LOOP: "D-07", Reason.INSUFFICIENT_SCOPE: "S",
    Reason.UNUSABLE_IDENTIFIER: "S-08 to S-13", Reason.DELEGATION_RULE: "status map", Reason.OUTSIDE_RESOURCES: "T2",
    Reason.UNKNOWN_KEY: "J-07, J-35", Reason.BAD_SIGNATURE: "J-16, J-17", Reason.CLAIMS_MISMATCH: "B-14",
}  # fmt: skip
"""Where a guard may refuse a token that the broker calls valid, and the rows that say so.

The last one is for tokens that the broker's key has signed and the broker has not issued: it writes their claims anew.
"""
_CODES: Final = {reason.code for reason in STRICTER} | {"configuration"}
_CEILING: Final = sorted({f"{scope.rpartition(':')[0]}:*" if scope.count(":") == 2 else scope for scope in SCOPES})
_SETTINGS: Final[tuple[dict[str, Any], ...]] = (
    {}, {}, {"trust_domain": DOMAIN}, {"chain_loops": "deny"}, {"max_token_lifetime": 86400},
    {"principal_kinds": ("agent", "app", "admin")}, {"principal_kinds": ("app", "admin"), "trust_domain": DOMAIN},
    {"cache_ttl": 0},
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Broker:
    """A broker under its URL, and a way to ask it without the guard. `now` is its clock."""

    url: str
    http: httpx.Client
    now: Callable[[], float] = time.time
    guards: dict[str, tuple[Guard, list[float]]] = dataclasses.field(default_factory=dict)

    def word(self, token: str) -> Reply:
        reply = self.post("/v1/token/validate", {"token": token})
        return reply.status_code, tuple(reply.headers.multi_items()), reply.content

    def post(self, path: str, body: dict[str, Any], bearer: str = "") -> httpx.Response:
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        # ASCII escapes, so that a lone surrogate can be sent as well.
        return self.http.post(self.url + path, content=json.dumps(body).encode(), headers=headers)

    def guard(self, settings: dict[str, Any]) -> tuple[Guard, list[float]]:
        """A guard that asks this broker, and the time that its clock shows."""
        key = repr(sorted(settings.items()))
        if key not in self.guards:
            at = [0.0]
            clock = Clock(monotonic=lambda: at[0], wall=lambda: at[0])
            self.guards[key] = built(self.url, {"allow_http": True, **settings}, clock), at
        return self.guards[key]

    def close(self) -> None:
        for guard, _ in self.guards.values():
            guard.close()

    def judged(self, case: Case) -> Outcome:
        """The decision of a guard that asks this broker itself."""
        try:
            requirement = None if case.needs == Needs() else declared(case.needs)
        except ConfigurationError:
            return Outcome(CFG, "configuration", again=CFG)
        guard, at = self.guard(case.settings)
        guard._parts.reset()
        at[0] = case.now
        params = {name: param(value) for name, value in case.params.items()}
        decision = guard.decide(case.entries, requirement, params, query=case.query)
        asks = isinstance(decision, Lookup)
        found = outcome(guard.settle(decision) if isinstance(decision, Lookup) else decision)
        again = guard.check(case.entries, requirement, params, query=case.query)
        return found._replace(calls=int(asks), again=outcome(again).decision)


def minted(broker: Broker, admin_secret: str, rng: random.Random) -> list[str]:
    """Tokens of every kind that the broker issues: agents, delegates down to depth 5, apps, admins, short and long."""
    with Operator(broker.url, admin_secret, allow_http=True) as operator:
        credentials = operator.create_app(f"fuzz-{secrets.token_hex(6)}", _CEILING)
    tokens = []
    with AgentWritApp(broker.url, credentials.client_id, credentials.client_secret, allow_http=True) as app:
        agents = []
        for number in range(8):
            held = sorted(rng.sample(SCOPES, rng.choice((1, 2, 4))))
            ttl = (300, 300, 600, 900, 1800, 3600, 3601, 7200)[number]
            agents.append(app.create_agent(f"orch-{number % 3}", f"task-{number}", held, max_ttl=ttl))
        tokens += [agent.access_token for agent in agents]
        for start in agents:
            held, given = start.scope, start.delegate(agents[0].agent_id, start.scope, ttl=300)
            for hop in range(rng.randrange(5)):
                held = rng.sample(held, rng.randrange(1, len(held) + 1))
                given = given.delegate(rng.choice(agents).agent_id, held, ttl=(300, 300, 3600, 86400)[hop % 4])
            tokens.append(given.access_token)
        app_login = {"client_id": credentials.client_id, "client_secret": credentials.client_secret}
        logins = [("/v1/app/auth", app_login), ("/v1/admin/auth", {"secret": admin_secret})]
        for path, body in logins:
            login = broker.post(path, body).json()["access_token"]
            scope = ["app:audit:read"] if path == "/v1/app/auth" else ["admin:audit:*"]
            order = {"delegate_to": agents[0].agent_id, "scope": scope, "ttl": 300}
            tokens += [login, broker.post("/v1/delegate", order, login).json()["access_token"]]
        released = app.create_agent("orch-0", "task-0", ["read:customers:7291"])
        tokens.append(released.access_token)
        released.release()
    return tokens


def source(tokens: list[str], broker: Broker, signer: Callable[[str], str]) -> Callable[[random.Random], Draft]:
    """Drafts of the broker's tokens. What a mutation changes is signed by `signer`, or keeps its old signature."""

    def make(rng: random.Random) -> Draft:
        draft = from_token(rng.choice(tokens))
        old = draft.minted.rpartition(".")[2]
        draft.sign = signer if rng.random() < 0.8 else lambda _: old
        draft.settings = rng.choice(_SETTINGS)
        draft.now = int(broker.now())
        held = [scope for scope in draft.get("scope") if not scope.startswith(("admin:", "app:"))]
        require(draft, rng, held or ["read:customers:7291"])
        return draft

    return make


def asked(case: Case) -> str:
    """The token that a request carries, if it carries one at all."""
    return case.entries[0].strip(b" \t").rpartition(b" ")[2].decode("latin-1") if case.entries else ""


def compared(broker: Broker, case: Case) -> tuple[Outcome, str]:
    """What the guard decides, and how that contradicts the reference or the broker."""
    token = asked(case)
    word = broker.word(token)
    case = dataclasses.replace(case, replies=(word,), elapsed=0, warm="")
    found, differs = disagreement(case, broker.judged)
    valid = word[0] == 200 and json.loads(word[2]).get("valid") is True
    if not differs and found.decision == ALLOW and not valid:
        differs = f"guard allows what the broker calls invalid ({word[0]})"
    if not differs and valid and found.decision != ALLOW and found.reason not in _CODES:
        differs = f"guard refuses ({found.reason}) what the broker calls valid"
    return found, f"{differs}\n  {case!r}" if differs else ""


def spread(
    url: str,
    admin_secret: str,
    seed: int,
    count: int,
    minutes: float | None = None,
    *,
    signer: Callable[[str], str] = sign,
    now: Callable[[], float] = time.time,
) -> Iterator[Tally]:
    """Tallies of chunk after chunk. `signer` is the test key's, which the broker does not know, or the broker's own."""
    end = None if minutes is None else time.monotonic() + 60 * minutes
    with (
        httpx.Client(trust_env=False, timeout=10) as http,
        contextlib.closing(Broker(url, http, now)) as broker,
    ):
        rng = random.Random(f"{seed}:mint")
        tokens, tally = minted(broker, admin_secret, rng), Tally()
        for index in range(count):
            case = generate(seed, index, source=source(tokens, broker, signer))
            found, differs = compared(broker, case)
            tally.counts[found.decision, found.reason] += 1
            if differs:
                tally.differences.append(f"seed {seed}, input {index}: {differs}")
            if tally.inputs == CHUNK:
                yield tally
                tally = Tally()
                # The shortest tokens would run out in a long run.
                tokens = minted(broker, admin_secret, rng) if index % 20_000 > 19_000 else tokens
            if end is not None and time.monotonic() >= end:
                break
        yield tally
