"""The rules behind the reference decision: scopes and requirements, each from its rows of threats.md."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from tests.fuzz.case import Needs, Value

IDENTIFIER: Final = r"[A-Za-z0-9_-][A-Za-z0-9._~@=+-]{0,255}"  # S-10
IDENTIFIER_LENGTH: Final = 512  # open: under a charset of the declaration's own
# S-10, whatever the charset: blanks, controls, and what servers make of bytes that are not UTF-8.
NEVER: Final = {*map(chr, (*range(0x21), *range(0x7F, 0xA1), 0x2028, 0x2029, 0xFFFD, *range(0xD800, 0xE000)))}
TEMPLATE = re.compile(r"(?!admin:|app:)[^:*{}]+:[^:*{}]+:([^{}]+|[^{}]*\{(?P<name>[A-Za-z_][A-Za-z_0-9]*)\}[^{}]*)")


def covers(held: str, requested: str) -> bool:
    """The model of contract section 8."""
    h, r = held.split(":", 2), requested.split(":", 2)
    return len(h) == len(r) == 3 and all(h) and all(r) and h[:2] == r[:2] and h[2] in ("*", r[2])


def covered(held: Sequence[str], requested: str) -> bool:
    return any(covers(one, requested) for one in held)


def declarable(needs: Needs, *, outermost: bool = True) -> bool:
    """S-01, S-02, S-11a, S-12, J-30: a requirement that may be declared at all."""
    if needs.mode == "agent":
        return outermost
    if not needs.parts or not (outermost or needs.rules.items() <= {("delegated", True)}):
        return False
    for part in needs.parts:
        if isinstance(part, Needs):
            if not declarable(part, outermost=False):
                return False
        elif not all("!" <= char <= "~" for char in part) or not TEMPLATE.fullmatch(part):
            return False
    return True


def reached(
    needs: Needs, held: Sequence[str], params: Mapping[str, Value], ceiling: Collection[str] | None = None
) -> bool:
    """S-03 to S-13, S-15, T2. A template without a usable value fails all of the requirement, whatever else is held.

    Under a ceiling, scopes of other resources are not held, and who then holds none is refused by any requirement.
    """
    if ceiling is not None:
        parts = [scope.split(":", 2) for scope in held]
        # `admin:` and `app:` scopes are no API's (J-30).
        held = [
            ":".join(h) for h in parts if len(h) == 3 and all(h) and h[1] in ceiling and h[0] not in ("admin", "app")
        ]
    if needs.mode == "agent":
        return bool(held) or ceiling is None
    usable = all(_required(part, owner, params) is not None for owner, part in _flat(needs))
    return usable and _met(needs, held, params)


def _flat(needs: Needs) -> list[tuple[Needs, str]]:
    return [pair for part in needs.parts for pair in (_flat(part) if isinstance(part, Needs) else [(needs, part)])]


def _met(needs: Needs, held: Sequence[str], params: Mapping[str, Value]) -> bool:
    verdicts = [
        _met(part, held, params) if isinstance(part, Needs) else covered(held, _required(part, needs, params) or "")
        for part in needs.parts
    ]
    return all(verdicts) if needs.mode == "all" else any(verdicts)


def _required(part: str, needs: Needs, params: Mapping[str, Value]) -> str | None:
    """The scope that a template asks for, None where its value cannot stand in one."""
    declared = TEMPLATE.fullmatch(part)
    name = declared and declared["name"]
    if not name:
        return part
    value = params.get(name)
    identifier = "" if value is None or value.converted is None else str(value.converted)
    if value is None or value.raw not in (None, identifier) or len(identifier) > IDENTIFIER_LENGTH:
        return None
    if not re.fullmatch(needs.charset or IDENTIFIER, identifier):
        return None
    if identifier in ("", "*", ".", "..") or set(identifier) & NEVER:
        return None
    return part.replace("{" + name + "}", identifier)
