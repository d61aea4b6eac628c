"""Mutations of the requirement and the route's parameters (threats S), and of how direct an agent must be."""

from __future__ import annotations

import dataclasses
import random
from typing import Final

from tests.fuzz.case import KINDS, Needs, Value
from tests.fuzz.draft import Draft

_TEXTS: Final = (
    "", "read", "read:customers", "read:customers:", "read::1", ":customers:1", "read:customers:a:b",
    "read:customers:{p0}:x", "read:customers:{p0}{p1}", "read:{p0}:1", "{p0}:customers:1", "read:customers:{}",
    "read:customers:{0}", "read:customers:{p0.__class__}", "read:customers:{p0:>99}", "read:customers:{p0",
    "read:customers:p0}", "read:customers:{{p0}}", "read:customers:{p0!r}", "read:customers: 1", " read:customers:1",
    "read:customers:1\n", "read:customers:é", "read:customers:\x00", "*:customers:1", "read:*:1", "read:customers:x*",
    "read:customers:*", "read:customers:**", "admin:customers:1", "app:customers:1", "Admin:customers:1", "admins:x:1",
    "read:admin:1", "re*d:x:1", "read:customers:{p 0}", "read:customers:{pé}", "read:customers:{_}",
    "read:customers:{class}", "read:customers:~!@#$%^&()_+", "read:customers:customer-{p0}",
    "read:customers:{p0}-customer", "read:data:customer-{p0}", "read:customers:7291", "read:customers:{absent}",
    "read:orders:::", "read:customers:{p0}:{p0}", "read:customers:{p0}*", 'read:customers:"', "read:customers:\x7f",
    "read:customers:*:x",
)  # fmt: skip
_VALUES: Final = (
    "*", "**", "", " ", "a b", "7291 ", " 7291", "a:b", ":", "..", ".", "...", "../x", "a/b", "%2a", "\x00", "a\r\nb",
    "a\n", "\ufffd", "a\ufffd", "＊", "é", "e\u0301", "\u202e", "\u2028", "\xa0", "\x85", "\x7f", "\ud800", "-", "_",
    "~", ".a", "a.", "=x", "+1", "01", "1_0", "-0", "-12", "1.0", "1e3", "٣", "0x10", "None", "null", "{p0}", "{id}",
    "x" * 256, "x" * 257, "x" * 512, "x" * 513, "a" * 255 + "é", "7291", "a@b=c+d", "a,b", '"', "\\", "\t",
)  # fmt: skip
_EDGES: Final = ("x" * 256, "x" * 257, "x" * 512, "x" * 513, ".a", "a.", "*", "..", "\ud800", "\ufffd", "a b", "a\n")
_CHARSETS: Final = (
    ".*", "(?s).*", "[0-9]+", "[a-z:]+", "[a-z/]*", "[.]+", "[*]", "7291|a:b", "[A-Z]{3}", "\\w+", "[^x]+", "\\S+",
)  # fmt: skip


def another_part(draft: Draft, rng: random.Random) -> None:
    """A scope or template of the requirement becomes another, declarable or not."""
    if draft.needs.parts:
        parts = list(draft.needs.parts)
        parts[rng.randrange(len(parts))] = rng.choice(_TEXTS)
        draft.needs = dataclasses.replace(draft.needs, parts=tuple(parts))
    else:
        draft.needs = Needs("all", (rng.choice(_TEXTS),), rules=draft.needs.rules)


def odd_part(draft: Draft, rng: random.Random) -> None:
    """The same scope but for its case, a blank, a star, one character."""
    parts = [part for part in draft.needs.parts if isinstance(part, str)]
    if parts:
        part = rng.choice(parts)
        action, _, rest = part.partition(":")
        made = rng.choice(
            (
                part.upper(),
                part + "x",
                part + ":x",
                part[:-1],
                f"x{part}",
                f"{action}:x{rest}",
                f"{part}*",
                f"{action} :{rest}",
            )
        )
        parts[parts.index(part)] = made
        draft.needs = dataclasses.replace(draft.needs, parts=tuple(parts))


def another_shape(draft: Draft, rng: random.Random) -> None:
    """All become any, any become all, none at all, one more, one level more."""
    needs = draft.needs
    more = rng.choice(("read:customers:7291", "write:orders:1", "read:orders:{p0}"))
    draft.needs = rng.choice((
        dataclasses.replace(needs, mode="any" if needs.mode == "all" else "all"),
        dataclasses.replace(needs, mode="all", parts=()),
        Needs("all", (*needs.parts, more), rules=needs.rules),
        Needs("any", (*needs.parts, more), rules=needs.rules),
        Needs("any", (Needs("all", (more,)), Needs("all", needs.parts)), rules=needs.rules),
        Needs("all", (needs, more)),
        Needs("any", (Needs(), *needs.parts)),
        Needs(rules=needs.rules),
    ))  # fmt: skip


def another_value(draft: Draft, rng: random.Random) -> None:
    """A route value that is hostile, or not what the handler gets."""
    text = rng.choice((*_VALUES, f"{rng.randrange(10**6)}"))
    kind = rng.choice(("str", "str", "int", "float", "uuid", "bool", "none"))
    try:
        KINDS[kind](text)
    except ValueError:
        kind = "str"
    name = rng.choice(("p0", *draft.params))
    draft.params = {**draft.params, name: Value(rng.choice((text, text, None, "7291")), kind, text)}


def raw_differs(draft: Draft, rng: random.Random) -> None:
    """The path says it in another way than the handler's value does."""
    for name, value in draft.params.items():
        text = value.text
        raw = rng.choice(
            (f"+{text}", f"0{text}", f"{text} ", text.upper(), text.replace("-", ""), f"{text}/", "", text)
        )
        draft.params = {**draft.params, name: dataclasses.replace(value, raw=raw)}


def value_lacks(draft: Draft, rng: random.Random) -> None:
    draft.params = {name: value for name, value in draft.params.items() if rng.random() < 0.3}


def charset(draft: Draft, rng: random.Random) -> None:
    draft.needs = dataclasses.replace(draft.needs, charset=rng.choice(_CHARSETS))
    if rng.random() < 0.7:
        another_value(draft, rng)


def wide_open(draft: Draft, rng: random.Random) -> None:
    """A template that lets anything in, for a holder of everything: only the rules for all charsets are left."""
    scopes = draft.get("scope")
    held = (
        [text for text in scopes if isinstance(text, str) and text.count(":") > 1] if isinstance(scopes, list) else []
    )
    stars = [text for text in held if text.endswith(":*")] or held or ["read:customers:*"]
    action, resource, _ = rng.choice(stars).split(":", 2)
    around = rng.choice(("{p0}", "{p0}", "x-{p0}", "{p0}-x"))
    text = rng.choice((rng.choice(_VALUES), rng.choice(_EDGES), f"a{chr(rng.randrange(0xB0))}b"))
    charset = rng.choice(("(?s).*", ".*", "\\S*", None))
    draft.needs = Needs("all", (f"{action}:{resource}:{around}",), charset=charset)
    draft.params = {"p0": Value(rng.choice((text, None)), "str", text)}


def direct(draft: Draft, rng: random.Random) -> None:
    """Rules on delegation, tight round the depth that is there."""
    depth = len(draft.chain)
    rule = rng.choice(
        (
            {"delegated": False},
            {"delegated": True},
            {"max_depth": max(0, depth + rng.choice((-1, 0, 1)))},
            {"max_depth": 0},
        )
    )
    draft.needs = dataclasses.replace(draft.needs, rules={**draft.needs.rules, **rule})


MUTATIONS: Final = (
    another_part, another_part, odd_part, another_shape, another_value, another_value, raw_differs, value_lacks,
    charset, wide_open, wide_open, direct, direct,
)  # fmt: skip
