"""Whether 32 bytes are an Ed25519 public key that a signature can be trusted under (RFC 8032, 5.1; threats 4.2).

Libraries take any 32 bytes. Under a point of small order anybody can make signatures that verify, and a point with
two spellings has two names. Only looked at when a key is loaded, so plain integers are fast enough.
"""

from __future__ import annotations

from typing import Final, NamedTuple

_P: Final = 2**255 - 19
_ORDER: Final = 2**252 + 27742317777372353535851937790883648493
_D: Final = -121665 * pow(121666, -1, _P) % _P
_ROOT: Final = pow(2, (_P - 1) // 4, _P)


class _Point(NamedTuple):
    """Extended coordinates: x = X/Z, y = Y/Z, x*y = T/Z."""

    x: int
    y: int
    z: int
    t: int


_ZERO: Final = _Point(0, 1, 1, 0)


def weakness(public_key: bytes) -> str | None:
    """Why a public key must not be trusted, None if it may be."""
    if len(public_key) != 32:
        return f"it has {len(public_key)} bytes, not 32"
    number = int.from_bytes(public_key, "little")
    y, sign = number & (2**255 - 1), number >> 255
    if y >= _P:
        return "it is not the canonical spelling of a point"
    x = _x_of(y)
    if x is None:
        return "it is no point of the curve"
    if x == 0 and sign:
        return "it is not the canonical spelling of a point"
    if x & 1 != sign:
        x = _P - x
    point = _Point(x, y, 1, x * y % _P)
    if point == _ZERO or not _is_zero(_times(_ORDER, point)):
        return "it is a point of small order, or has a part of one"
    return None


def _x_of(y: int) -> int | None:
    """The x of a point, either of the two; None if y is on no point."""
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if x * x % _P == square:
        return x
    x = x * _ROOT % _P
    return x if x * x % _P == square else None


def _is_zero(point: _Point) -> bool:
    return point.x % _P == 0 and (point.y - point.z) % _P == 0


def _times(scalar: int, point: _Point) -> _Point:
    result = _ZERO
    while scalar:
        if scalar & 1:
            result = _sum(result, point)
        point = _sum(point, point)
        scalar >>= 1
    return result


def _sum(one: _Point, other: _Point) -> _Point:
    """The complete addition of RFC 8032, 5.1.4: it has no special cases."""
    a = (one.y - one.x) * (other.y - other.x) % _P
    b = (one.y + one.x) * (other.y + other.x) % _P
    c = 2 * one.t * other.t * _D % _P
    d = 2 * one.z * other.z % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return _Point(e * f % _P, g * h % _P, f * g % _P, e * h % _P)
