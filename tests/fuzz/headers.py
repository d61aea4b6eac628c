"""Mutations of the Authorization entries as bytes: count, comma, scheme, case, blanks, controls, size (threats H)."""

from __future__ import annotations

import random
from typing import Final

from tests.fuzz.draft import Draft

_BLANKS: Final = (
    b" ", b"  ", b"\t", b" \t ", b"\xa0", b"\x0b", b"\x0c", b"\x1c", b"\x1d", b"\x1e", b"\x00", b"\n", b"\r\n ",
    b"\x85", b"\x7f",
)  # fmt: skip
_SCHEMES: Final = (
    b"bearer", b"BEARER", b"bEaReR", b"Bear", b"Bearer:", b"Bearerx", b"XBearer", b"Basic", b"DPoP", b"Token",
    b"Bea\xa0rer", b"Beare\xc5\x99", b"\xefBearer", b"Be(arer", b"", b"Bearer,", b'"Bearer"', b"B", b"bearer\x00",
    b"Digest", b"Bearer=", b"Be\xc4\xb1rer", b"bea\xe2\x84\xaarer",
)  # fmt: skip
_WHOLE: Final = (
    b"", b" ", b"   ", b"\t", b" \t \t", b"Bearer", b"Bearer ", b"Bearer  \t", b"Bearer\t", b"bearer", b"Basic dTpw",
    b"Basic", b"Basic ", b"Basic\tx", b"Basic x,y", b'Digest a="b",c="d"', b",", b"Bearer ,", b"Basic \x00",
    b"Basic \xff", b"\x00", b"\xa0", b"Bearer Bearer", b"Bearer Bearer x", b"Negotiate\x0b", b"Token x y",
    b"Bearer a b", b"Basic  x", b'Basic "', b"Bearer\x00x", b"\nBearer x", b"Bearer\n x", b"GET / HTTP/1.1",
    b"Basic ~!", b"x" * 8448, b"x" * 8449,
)  # fmt: skip


def scheme(draft: Draft, rng: random.Random) -> None:
    draft.entries = [rng.choice(_SCHEMES) + b" " + entry.partition(b" ")[2] for entry in draft.entries]


def between(draft: Draft, rng: random.Random) -> None:
    """What stands between scheme and token."""
    gap = rng.choice((b"", b"  ", b"   ", b" " * 200, *_BLANKS, b" \t", b", ", b" ,", b" ="))
    draft.entries = [gap.join(entry.split(b" ", 1)) for entry in draft.entries]


def around(draft: Draft, rng: random.Random) -> None:
    """Blanks of every kind before and behind."""
    blank = rng.choice(_BLANKS) * rng.choice((1, 1, 3))
    place = rng.random()
    draft.entries = [blank + entry if place < 0.3 else entry + blank for entry in draft.entries]


def trailing(draft: Draft, rng: random.Random) -> None:
    """What may follow the token, and what may not."""
    tail = rng.choice(
        (
            b" ",
            b"\t",
            b" \t" * 20,
            b" x",
            b",x",
            b", Bearer x",
            b";",
            b"=",
            b"\r\n",
            b"\n",
            b",",
            b" ,",
            b"\x00",
            b" " * 240,
            b"\xff",
            b'"',
        )
    )
    draft.entries = [entry + tail for entry in draft.entries]


def count(draft: Draft, rng: random.Random) -> None:
    """None, or more than one: equal, good then bad, bad then good, empty ones."""
    other = rng.choice((b"", b"Bearer x", b"Basic x", *draft.entries))
    draft.entries = rng.choice(
        ([], draft.entries * 2, [*draft.entries, other], [other, *draft.entries], draft.entries * 3)
    )


def joined(draft: Draft, rng: random.Random) -> None:
    """As WSGI servers join repeated headers."""
    other = rng.choice((b"", b"Bearer x", b"Basic x", *draft.entries))
    draft.entries = [rng.choice((b",", b", ")).join((entry, other)) for entry in draft.entries]


def one_byte(draft: Draft, rng: random.Random) -> None:
    changed = []
    for entry in draft.entries:
        data = bytearray(entry)
        if data:
            data[rng.choice((rng.randrange(len(data)), rng.randrange(min(9, len(data)))))] = rng.randrange(256)
        changed.append(bytes(data))
    draft.entries = changed


def whole(draft: Draft, rng: random.Random) -> None:
    draft.entries = [rng.choice(_WHOLE)]


def sized(draft: Draft, rng: random.Random) -> None:
    """A token or a foreign credential of just under, at, and over the limit."""
    size = rng.choice((8191, 8192, 8193, 8400, 60_000))
    draft.entries = [
        rng.choice((b"Bearer ", b"Bearer    ", b"Basic "))
        + rng.choice((b"x", b"a.b.c.", b".", b"A" * 40 + b".")) * size
    ]
    draft.entries = [entry[: entry.rindex(b" ") + 1 + size] for entry in draft.entries]


def padded(draft: Draft, rng: random.Random) -> None:
    """The whole value just under, at, and over its limit, whatever it is."""
    size = rng.choice((8447, 8448, 8449, 8450))
    draft.entries = [rng.choice((entry, b"Basic x")).ljust(size) for entry in draft.entries]


MUTATIONS: Final = (scheme, between, around, trailing, trailing, count, joined, one_byte, whole, sized, padded)
