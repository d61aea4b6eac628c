"""Mutations of what stands round a request: the guard's settings, its clock, the query string."""

from __future__ import annotations

import random
from typing import Any, Final

from tests.fuzz.draft import Draft
from tests.fuzz.goods import AUDIENCE, CEILINGS, DOMAIN, ISSUER, PINS, SETTINGS, named
from tests.fuzz.keys import KEYS, signer
from tests.kit.tokens import KID

_CHANGES: Final[tuple[dict[str, Any], ...]] = (
    {"issuer": ISSUER}, {"issuer": ISSUER + "/"}, {"audience": AUDIENCE}, {"audience": AUDIENCE[:-1]},
    {"trust_domain": DOMAIN}, {"trust_domain": "corp.example"}, {"chain_loops": "deny"}, {"cache_ttl": 0},
    {"max_token_lifetime": 300}, {"max_token_lifetime": 7200}, {"principal_kinds": ("app", "admin")},
)  # fmt: skip
# Names that the good scopes begin with, have elsewhere or spell otherwise, and one that only odd ones have.
_CEILINGS: Final[tuple[tuple[str, ...], ...]] = (
    ("customer",), ("customersx",), ("Customers",), ("read", "write", "delete"), ("7291", "12"), ("invoices",),
    ("customer", "data-x"), ("x", "data"), ("c",),
)  # fmt: skip
_KIDS: Final = (None, *KEYS, KID)  # the last is no thumbprint of anything
_QUERIES: Final = (
    b"access_token=x", b"a=1&access_token=", b"access_token", b"%61ccess_token=x", b"access%5Ftoken=x",
    b"x=access_token", b"Access_Token=x", b"access_token2=x", b"a=access_token=x", b"?access_token=x",
    b"a;access_token=x", b"&&access_token&", b"access+token=x", b"%", b"\xff=%ff", b"xaccess_token=1",
    b"access_token%00=1", b"a=1",
)  # fmt: skip


def other_settings(draft: Draft, rng: random.Random) -> None:
    draft.settings = rng.choice(SETTINGS)


def one_setting(draft: Draft, rng: random.Random) -> None:
    draft.settings = rng.choice(_CHANGES)


def another_ceiling(draft: Draft, rng: random.Random) -> None:
    names = rng.choice(_CEILINGS)
    draft.settings = {**draft.settings, **rng.choice((*CEILINGS, {"resources": names}, {"resources": names}))}


def other_pins(draft: Draft, rng: random.Random) -> None:
    draft.settings = {**draft.settings, "pinned_thumbprints": (), **rng.choice(PINS)}


def other_key(draft: Draft, rng: random.Random) -> None:
    """Signed by either key, and the header names either, one that nobody has, or none."""
    draft.sign = signer(rng.choice(list(KEYS)))
    named(draft, rng.choice(_KIDS))


def clock_moves(draft: Draft, rng: random.Random) -> None:
    draft.now += rng.choice((-3600, -61, -60, -6, -5, -1, -0.5, 0.5, 1, 299, 300, 301, 599, 600, 3599, 3600))


def slow_broker(draft: Draft, rng: random.Random) -> None:
    """The call ends at, before or after `exp`."""
    exp = draft.get("exp")
    if isinstance(exp, int):
        draft.elapsed = rng.choice((1, 2))
        draft.now = exp - rng.choice((1, 2, 3))


def token_in_query(draft: Draft, rng: random.Random) -> None:
    draft.query = rng.choice(_QUERIES)


MUTATIONS: Final = (
    other_settings, one_setting, another_ceiling, another_ceiling, other_pins, other_key, clock_moves, slow_broker,
    token_in_query,
)  # fmt: skip
