"""Writes docs/settings.md from the settings dataclass: `python docs/generate_settings.py`.

Names, types and defaults come from the code. What a setting means stands here, once; a test fails for a setting
without a line, for a range that the code does not keep, and for a page that was not written anew.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from agentwrit_guard.settings import PREFIX, Settings

PAGE: Final = Path(__file__).with_name("settings.md")


class About(NamedTuple):
    """One setting in words; `low` and `high` bound a number."""

    text: str
    low: float | None = None
    high: float | None = None


ABOUT: Final[Mapping[str, About]] = {
    "broker_url": About(
        "Where the broker is: scheme, host, port and a plain path. `https`, or `http` on loopback; trailing slashes "
        "are dropped. Link-local, multicast and metadata addresses are refused."
    ),
    "audience": About("What the token's `aud` has to contain. Left out, `aud` is not looked at."),
    "issuer": About("What the token's `iss` has to equal. Left out, `iss` is not looked at."),
    "trust_domain": About("The trust domain that agents have to be of, as in `spiffe://DOMAIN/agent/...`."),
    "principal_kinds": About(
        "Who is let in: any of `agent`, `app`, `admin`. In the environment separated by commas. Scopes of the families "
        "`app:` and `admin:` satisfy no requirement, whoever holds them."
    ),
    "cache_ttl": About(
        "For how many seconds a validated identity is kept, and so a revocation may go unseen. 0 keeps none.",
        0,
        60,
    ),
    "cache_size": About(
        "How many identities are kept, and as many refusals of the broker beside them. The least recently used goes "
        "first.",
        1,
        10_000_000,
    ),
    "timeout": About(
        "The whole of one broker call in seconds, name resolution and one retry included. Then the answer is a 503.",
        0.05,
        60,
    ),
    "stale_if_error": About(
        "For how many seconds past `cache_ttl` an identity still counts while the broker cannot be asked. Only where a "
        "route has no `max_age` of its own, never past `exp`, and such answers carry `X-AgentWrit-Stale`. 0 is never.",
        0,
        60,
    ),
    "recheck_interval": About(
        "How often the token of an open websocket or a streamed answer is validated again, in seconds. `exp` and the "
        "deny list end it in any case. 0 leaves it at those.",
        0,
        86_400,
    ),
    "max_token_lifetime": About(
        "The greatest `exp - iat` of a token, in seconds. A longer-lived one is refused.", 1, 31_536_000
    ),
    "max_in_flight": About("How many broker calls one process makes at a time.", 1, 1024),
    "queue_timeout": About(
        "For how many seconds a call waits for its turn or for budget, before the answer is a 503. It waits longer, up "
        "to `timeout`, where the line moves fast enough for its turn to come.",
        0,
        60,
    ),
    "unknown_token_rate": About(
        "How many broker calls a second may go to tokens that were never valid here. A call is given back when the "
        "broker says that the token is valid.",
        0.01,
        1_000_000,
    ),
    "unknown_token_burst": About("How many of those calls may come at once.", 1, 1_000_000),
    "breaker_failures": About(
        "After how many failed validations in a row the broker is left alone for a while (1 to 30 s).", 1, 1_000_000
    ),
    "deny_file": About(
        "A file of what is let in no more, one `level target` a line, in force within a second of each change. See "
        "`Guard.deny` for the levels. Replace it in one step; one that cannot be used leaves the last one in force."
    ),
    "chain_loops": About(
        "`deny` refuses a token in whose delegation chain an agent stands twice. `allow` logs the event `chain_loop`."
    ),
    "resources": About(
        "The local ceiling: only scopes of these resources count here, whatever a token holds. A token without any is "
        "refused with 403. In the environment separated by commas. Left out, all count."
    ),
    "pinned_keys": About(
        "Files with the broker's public Ed25519 key, each PEM, a JWK or a JWK Set. Tokens that none of the keys has "
        "signed are refused without a call; the others are asked about as ever. Give two while the broker changes its "
        "key. In the environment separated by commas."
    ),
    "pinned_thumbprints": About(
        "Of the keys in `pinned_keys`, the only ones that count, by RFC 7638 thumbprint. In the environment separated "
        "by commas."
    ),
    "realm": About("The realm in challenges: printable ASCII without quotes and backslashes."),
    "enforce": About(
        "`False` is shadow mode: refusals are recorded, and the requests go through without an agent. Only with "
        "`until`. See [operations](operations.md#roll-out-shadow-then-enforce)."
    ),
    "until": About(
        "The last day of shadow mode, in UTC, as in `2027-01-31`. From the next day on the guard enforces, whatever "
        "`enforce` says."
    ),
    "allow_http": About(
        "Permits `http` off loopback, where tokens travel in the clear, and warns at every start. In the environment "
        "`1`, `true`, `yes`, `on` or `0`, `false`, `no`, `off`."
    ),
    "ca_file": About("Roots to verify the broker's certificate with, instead of the bundled ones. A PEM file."),
    "client_cert": About("A certificate to show to the broker. A PEM file."),
    "client_key": About("The key of `client_cert`, if it is not in the same file. A PEM file."),
}

_PAGE: Final = """\
# Settings

<!-- Written by docs/generate_settings.py. Change that, and run it. -->

Each setting has one name in three spellings: the keyword of `Guard(...)` and `FlaskGuard(...)`, `AGENTWRIT_` and the
name in capitals in the environment, and the same in Flask's `app.config`. `Guard(...)` takes keywords only;
`Guard.from_env()` takes keywords, then the environment; `FlaskGuard` without a guard takes keywords, then `app.config`,
then the environment. A setting that cannot be used raises `ConfigurationError`, which names it. An unknown name that
starts with `AGENTWRIT_` is warned of on the logger `agentwrit_guard.events`.

```python spellings
import os

from agentwrit_guard import Guard

os.environ["AGENTWRIT_BROKER_URL"] = "https://broker.example"
os.environ["AGENTWRIT_CACHE_TTL"] = "2"

assert Guard.from_env().settings == Guard("https://broker.example", cache_ttl=2.0).settings
assert Guard.from_env(cache_ttl=1.0).settings.cache_ttl == 1.0
```

Times are in seconds.

| Keyword | Environment, Flask's config | Type | Default | Range | Meaning |
|---|---|---|---|---|---|
{rows}

`Guard` takes two more keywords that have no other spelling: `clock`, for tests, and `on_decision`, which is called with
each `DecisionEvent`.

## Options of the middlewares

These belong to the middlewares and to `FlaskGuard`, not to the guard. They are keywords, and `FlaskGuard` also finds
them in `app.config`. They are not read from the environment, where they are warned of as unknown.

| Keyword | Flask's config | Default | Meaning |
|---|---|---|---|
| `public` | `AGENTWRIT_PUBLIC` | nothing | Paths that need no agent. `"/health"` is that path for GET and HEAD, \
`"POST /hooks"` names a method, a trailing slash makes a prefix. A prefix never matches a path with `.`, `..` or empty \
segments, a backslash, NUL or U+FFFD. |
| `protect` | `AGENTWRIT_PROTECT` | everything | The only parts that need an agent, in the same spelling; a rule \
without a method is for all methods. |
| `others` | `AGENTWRIT_OTHERS` | `refuse` | `pass` lets requests go on whose credentials are not an AgentWrit \
agent's, without an agent. |
| `allow_preflight` | `AGENTWRIT_ALLOW_PREFLIGHT` | `False` | Lets CORS preflights go on: OPTIONS with `Origin` and \
`Access-Control-Request-Method`. |
| `private_answers` | `AGENTWRIT_PRIVATE_ANSWERS` | `False` | Adds `Cache-Control: private` and `Vary: Authorization` \
to answers to agents that lack them, where an HTTP cache stands in front of the API. Refusals carry `no-store` in any \
case. |

## Other names in the environment

The commands read `AGENTWRIT_CLIENT_ID`, `AGENTWRIT_CLIENT_SECRET` and `AGENTWRIT_ADMIN_SECRET`; see
`agentwrit-guard COMMAND --help`. Nothing else about the connection to the broker comes from the environment:
`HTTPS_PROXY`, `SSL_CERT_FILE` and their like are not looked at.
"""


def render() -> str:
    """The page as it should be."""
    return _PAGE.format(rows="\n".join(_row(field) for field in dataclasses.fields(Settings)))


def _row(field: dataclasses.Field[object]) -> str:
    about = ABOUT[field.name]
    kind = str(field.type).replace(" | None", "").replace(", ...", "").replace("Until", "date")
    cells = (
        f"`{field.name}`",
        f"`{PREFIX}{field.name.upper()}`",
        f"`{kind}`",
        _default(field.default),
        "" if about.low is None or about.high is None else f"{about.low:,} to {about.high:,}".replace(".0 ", " "),
        about.text,
    )
    return f"| {' | '.join(cells)} |"


def _default(value: object) -> str:
    if value is dataclasses.MISSING:
        return "required"
    if value is None:
        return "none"
    return f"`{', '.join(value)}`" if isinstance(value, tuple) else f"`{value}`"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
