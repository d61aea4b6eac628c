"""Mutations of a signed token's text: spelling of base64url, segments, bits, size (threats J-12 to J-17, H-15)."""

from __future__ import annotations

import random
from typing import Final

from tests.fuzz.draft import Draft
from tests.fuzz.keys import ORDER
from tests.fuzz.strict import ALPHABET, segment
from tests.kit.tokens import b64, compact

_INSIDE: Final = (
    "=", "==", "+", "/", " ", "\r", "\n", "\r\n", "\t", "\x00", "\u0130", "é", "-", ".", "%3D", "~", '"', "\x7f",
)  # fmt: skip
_WHOLE: Final = (
    "", ".", "..", "...", "a.b.c", "x", "null", "e30.e30." + "A" * 86, "Bearer", '{"payload":"e30","signatures":[]}',
    "undefined",
)  # fmt: skip


def spare_bits(draft: Draft, rng: random.Random) -> None:
    """Another spelling of a segment's last character: the broker ignores what is left over in the signature."""
    segments = draft.token.split(".")
    place = rng.choice((len(segments) - 1, rng.randrange(len(segments))))
    if segments[place]:
        index = ALPHABET.find(segments[place][-1])
        segments[place] = segments[place][:-1] + ALPHABET[(index & ~15 | rng.randrange(16)) % 64]
        draft.token = ".".join(segments)


def inside(draft: Draft, rng: random.Random) -> None:
    """A character that does not belong, at either end or anywhere."""
    dots = [index for index, char in enumerate(draft.token) if char == "."]
    place = rng.choice((0, len(draft.token), rng.randrange(len(draft.token) + 1), *dots))
    draft.token = draft.token[:place] + rng.choice(_INSIDE) + draft.token[place:]


def bit(draft: Draft, rng: random.Random) -> None:
    """One character of another value, most often in the signature."""
    if draft.token:
        place = rng.randrange(len(draft.token) - 86, len(draft.token)) if len(draft.token) > 86 else 0
        place = rng.choice((place, rng.randrange(len(draft.token))))
        draft.token = draft.token[:place] + rng.choice((*ALPHABET, ".")) + draft.token[place + 1 :]


def signature(draft: Draft, rng: random.Random) -> None:
    """Values that a careless verifier takes, by form a signature each; or the right one with a bit changed (J-16)."""
    body, _, last = draft.issued.rpartition(".")
    data = segment(last)
    r, s = data[:32], data[32:]
    number = int.from_bytes(s, "little")
    nought, one = bytes(32), (1).to_bytes(32, "little")
    flipped = int.from_bytes(data, "little") ^ 1 << rng.randrange(512)
    beyond = (number + ORDER).to_bytes(32, "little")
    values = (r + nought, r + one, nought * 2, one + nought, one + s, s + r, b"\xff" * 64, r + b"\xff" * 32)
    value = rng.choice((*values, r + beyond, r + beyond, flipped.to_bytes(64, "little")))
    draft.token = f"{body}.{b64(value)}"


def segments(draft: Draft, rng: random.Random) -> None:
    """Another number of segments, empty ones, another order."""
    parts = draft.token.split(".")
    draft.token = ".".join(rng.choice((
        parts[:2], parts[:1], [*parts, ""], [*parts, parts[-1]], ["", *parts], parts[::-1], [parts[0], "", parts[-1]],
        [*parts[:2], ""], [*parts[:2], "A" * 86], [*parts[:2], parts[-1][:84]], [*parts[:2], parts[-1] + "AA"],
        [*parts[:2], parts[-1] * 2], [b64(compact({"alg": "none"})), *parts[1:2], ""], [*parts[:2], parts[-1][:-1]],
    )))  # fmt: skip


def whole(draft: Draft, rng: random.Random) -> None:
    draft.token = rng.choice((*_WHOLE, draft.token * 2, draft.token.swapcase(), draft.token[::-1]))


def sized(draft: Draft, rng: random.Random) -> None:
    """Exactly at the size limit, and one byte over it: by an unknown claim, so that nothing else is wrong."""
    room = rng.choice((8191, 8192, 8193, 8194, 8300)) - len(draft.token) - 1
    if room <= 40:
        return
    # Three bytes of payload are four characters; what is missing is made up in the header, whose size moves alone.
    for size in range(room * 3 // 4 - 12, room * 3 // 4 + 4):
        text = draft.text[:-1] + b',"pad":"' + b"p" * (size - 9) + b'"}'
        if len(b64(text)) - len(b64(draft.text)) == room + 1 and draft.text.endswith(b"}"):
            draft.text = text
            draft.finish("text")
            return


MUTATIONS: Final = (spare_bits, spare_bits, inside, bit, bit, signature, signature, segments, whole, sized)
