"""What an answer says to caches that stand between API and agents: theirs must not become somebody else's (C-28)."""

from __future__ import annotations

import re
from collections.abc import Iterable

_LISTED = re.compile(r"[\s,]+")


def additions(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The headers that an answer lacks (RFC 9111, 3.5 and 4.1): `Vary: Authorization` and `Cache-Control: private`.

    An answer that says anything of `Cache-Control` by itself keeps that.
    """
    varies: set[str] = set()
    controlled = False
    for name, value in headers:
        lowered = name.lower()
        if lowered == "vary":
            varies.update(_LISTED.split(value.lower()))
        controlled = controlled or lowered == "cache-control"
    lacking = [] if varies & {"authorization", "*"} else [("Vary", "Authorization")]
    return lacking if controlled else [*lacking, ("Cache-Control", "private")]
