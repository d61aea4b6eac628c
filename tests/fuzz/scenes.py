"""Mutations of what stands round a request: the guard's settings, its clock, the query string."""

from __future__ import annotations

import random
from typing import Any, Final

from tests.fuzz.draft import Draft
from tests.fuzz.goods import AUDIENCE, DOMAIN, ISSUER, SETTINGS

_CHANGES: Final[tuple[dict[str, Any], ...]] = (
    {"issuer": ISSUER}, {"issuer": ISSUER + "/"}, {"audience": AUDIENCE}, {"audience": AUDIENCE[:-1]},
    {"trust_domain": DOMAIN}, {"trust_domain": "corp.example"}, {"chain_loops": "deny"}, {"cache_ttl": 0},
    {"max_token_lifetime": 300}, {"max_token_lifetime": 7200}, {"principal_kinds": ("app", "admin")},
)  # fmt: skip
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


MUTATIONS: Final = (other_settings, one_setting, clock_moves, slow_broker, token_in_query)
