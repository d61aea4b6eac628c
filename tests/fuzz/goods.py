"""Good requests: a guard's settings, a token that it accepts, and a requirement that the token's scopes satisfy."""

from __future__ import annotations

import random
from datetime import datetime, timezone
from typing import Any, Final

from tests.fuzz.case import Needs, Value
from tests.fuzz.draft import HEAD, Draft, compact, members, pick
from tests.fuzz.keys import FILES, NEW, OLD, signer
from tests.kit.tokens import NOW

ISSUER, AUDIENCE, DOMAIN = "https://broker.example.com", "https://api.example.com", "agentwrit.local"

SETTINGS: Final[tuple[dict[str, Any], ...]] = (
    {}, {"issuer": ISSUER, "audience": AUDIENCE, "trust_domain": DOMAIN},
    {"principal_kinds": ("agent", "app", "admin"), "chain_loops": "deny"},
    {"max_token_lifetime": 600, "cache_ttl": 0, "trust_domain": DOMAIN, "principal_kinds": ("agent", "app")},
    {"audience": AUDIENCE, "cache_ttl": 60}, {"issuer": ISSUER, "chain_loops": "deny", "trust_domain": DOMAIN},
)  # fmt: skip
PINS: Final[tuple[dict[str, Any], ...]] = (
    {"pinned_keys": ("old.pem",)}, {"pinned_keys": ("new.jwk",)}, {"pinned_keys": ("both.jwks",)},
    {"pinned_keys": ("new.jwk", "old.pem")}, {"pinned_keys": ("both.jwks",), "pinned_thumbprints": (OLD,)},
    {"pinned_keys": ("old.pem", "new.jwk"), "pinned_thumbprints": (NEW,)},
)  # fmt: skip
CEILINGS: Final[tuple[dict[str, Any], ...]] = (
    {"resources": ("customers",)}, {"resources": ("data", "orders")}, {"resources": ("customers", "files", "orders")},
)  # fmt: skip
SCOPES: Final = (
    "read:customers:7291", "read:customers:*", "read:customers:12", "write:customers:7291", "write:orders:*",
    "read:orders:a:b", "read:orders::", "read:data:customer-7291", "read:data:x*", "Read:customers:7291",
    "delete:files:report.pdf", "read:files:3f2b8c1e-6d2a-4a0e-9f57-0c1d2e3f4a5b", "read:files:-5", "read:files:a/b",
)  # fmt: skip
RESOURCES: Final = sorted({scope.split(":")[1] for scope in SCOPES})


def agent(rng: random.Random, domain: str = DOMAIN) -> str:
    return f"spiffe://{domain}/agent/orch-{rng.randrange(5)}/task.{rng.randrange(9)}/{rng.getrandbits(64):016x}"


def good(rng: random.Random) -> Draft:
    draft = Draft(settings=settings(rng), head=[list(member) for member in HEAD], written=compact)
    keyed(draft, rng)
    draft.now = NOW + rng.choice((0, 0, 0, 0.5, 17))
    age = rng.choice((0, 1, 30, 299))
    most = draft.settings.get("max_token_lifetime", 3600)
    iat = int(draft.now) - age
    ceiling = draft.settings.get("resources", RESOURCES)
    needed = [scope for scope in SCOPES if scope.split(":")[1] in ceiling]
    held = sorted({rng.choice(needed), *rng.sample(SCOPES, rng.choice((0, 0, 1, 2, 4)))})
    payload: dict[str, Any] = {"iss": draft.settings.get("issuer", rng.choice(("", ISSUER))), "sub": agent(rng)}
    if "audience" in draft.settings or rng.random() < 0.2:
        payload["aud"] = rng.choice(([AUDIENCE], ["https://other.example.com", AUDIENCE]))
    payload["exp"] = iat + rng.choice((300, 600, most))
    payload["nbf"], payload["iat"] = iat, iat
    payload["jti"] = f"{rng.getrandbits(128):032x}"
    payload["scope"] = held
    payload["task_id"], payload["orch_id"] = "task-1", "orch-1"
    draft.claims = members(payload)
    draft.chain = chain(rng, held, iat, pick(rng, {0: 55, 1: 18, 2: 9, 3: 6, 4: 6, 5: 6}))
    draft.warm = rng.random() < 0.1
    require(draft, rng, [scope for scope in held if scope in needed])
    return draft


def settings(rng: random.Random) -> dict[str, Any]:
    """A guard's settings; of eight guards one has pinned keys, and of five one has a ceiling."""
    pins = rng.choice(PINS) if rng.random() < 0.125 else {}
    ceiling = rng.choice(CEILINGS) if rng.random() < 0.2 else {}
    return {**rng.choice(SETTINGS), **pins, **ceiling}


def keyed(draft: Draft, rng: random.Random) -> None:
    """Signed by a key that the guard has pinned, if it has. A token may leave it to the guard to find out which."""
    pinned = {kid for name in draft.settings.get("pinned_keys", ("old.pem",)) for kid in FILES[name]}
    kid = rng.choice(sorted(pinned & set(draft.settings.get("pinned_thumbprints", pinned))))
    draft.sign = signer(kid)
    named(draft, kid if rng.random() < 0.9 else None)


def named(draft: Draft, kid: str | None) -> None:
    """Give the header a `kid`, or none."""
    draft.head = [member for member in draft.head if member[0] != '"kid"']
    draft.head += [['"kid"', f'"{kid}"']] if kid else []


def chain(rng: random.Random, held: list[str], iat: int, depth: int) -> list[dict[str, Any]]:
    """Records whose scopes narrow down to `held`, each a little wider than the next."""
    records: list[dict[str, Any]] = []
    for hop in range(depth):
        held = [wider(scope) if rng.random() < 0.3 else scope for scope in held] + rng.sample(SCOPES, rng.randrange(2))
        at = f"{datetime.fromtimestamp(iat - 10 * hop, timezone.utc):%Y-%m-%dT%H:%M:%S}"
        digits = rng.choice(("", ".5", f".{rng.randrange(10**9):09d}".rstrip("0").rstrip(".")))
        record = {"agent": agent(rng), "scope": held, "delegated_at": f"{at}{digits}Z", "signature": "ab" * 64}
        records.insert(0, record)
    return records


def wider(scope: str) -> str:
    action, resource, _ = scope.split(":", 2)
    return f"{action}:{resource}:*"


def require(draft: Draft, rng: random.Random, held: list[str]) -> None:
    """A requirement that these scopes satisfy: any agent, literal scopes, templates, one of several, nested."""
    parts = tuple(asked(draft, rng, rng.choice(held), place) for place in range(rng.choice((1, 1, 1, 2))))
    rules = rng.choice(({}, {}, {}, {"max_age": 0}, {"max_age": 30.0}, {"max_depth": 5}))
    shape = pick(rng, {"agent": 1, "all": 5, "any": 2, "nested": 2})
    other = rng.choice(("read:customers:7291", "write:nothing:1", "admins:of:nothing"))
    if shape == "agent":
        draft.needs, draft.params = Needs(rules=rules), {}
    elif shape == "nested":
        draft.needs = Needs("all", (Needs("any", (other, *parts)), rng.choice(parts)), rules=rules)
    else:
        draft.needs = Needs(shape, (*parts, other) if shape == "any" else parts, rules=rules)


def asked(draft: Draft, rng: random.Random, held: str, place: int) -> str:
    """A required scope that `held` covers, as a literal or as a template with its parameter."""
    action, resource, identifier = held.split(":", 2)
    if identifier == "*" and rng.random() < 0.8:
        identifier = rng.choice(("7291", "-12", "a.b-c_d", "3f2b8c1e-6d2a-4a0e-9f57-0c1d2e3f4a5b", "x=1+2@~"))
    if rng.random() < 0.5 or any(char in identifier for char in ":*/"):
        return f"{action}:{resource}:{identifier}"
    if identifier.startswith("customer-"):
        return template(draft, place, f"{action}:{resource}:customer-{{p{place}}}", Value("7291", "int", "7291"))
    kinds = ["str"]
    if identifier.lstrip("-").isdigit():
        kinds.append("int")
    if len(identifier) == 36:
        kinds.append("uuid")
    value = Value(rng.choice((identifier, identifier, None)), rng.choice(kinds), identifier)
    return template(draft, place, f"{action}:{resource}:{{p{place}}}", value)


def template(draft: Draft, place: int, text: str, value: Value) -> str:
    draft.params = {**draft.params, f"p{place}": value}
    return text
