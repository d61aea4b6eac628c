"""Public keys that would make a pin worthless (threats 4.2, CFG-07)."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agentwrit_guard.core.edwards import weakness

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
# The y of the points whose order is 8: the only ones beside 0 and +-1 with a small order.
Y8 = int.from_bytes(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little")
BASE_Y = 4 * pow(5, -1, P) % P


def key(y: int, sign: int = 0) -> bytes:
    return (y | sign << 255).to_bytes(32, "little")


def test_keys_that_are_made_as_they_should_be() -> None:
    for seed in range(40):
        private = Ed25519PrivateKey.from_private_bytes(seed.to_bytes(32, "big"))
        assert weakness(private.public_key().public_bytes_raw()) is None


def test_base_point() -> None:
    assert weakness(key(BASE_Y)) is None
    assert weakness(key(BASE_Y, 1)) is None


@pytest.mark.parametrize("y", [1, P - 1, 0, Y8, P - Y8])
@pytest.mark.parametrize("sign", [0, 1])
def test_points_of_small_order(y: int, sign: int) -> None:
    text = weakness(key(y, sign))
    assert text is not None
    assert "small order" in text or (y in (1, P - 1) and sign == 1 and "canonical" in text)


@pytest.mark.parametrize("y", [P, P + 1, 2**255 - 1])
@pytest.mark.parametrize("sign", [0, 1])
def test_second_spellings(y: int, sign: int) -> None:
    assert weakness(key(y, sign)) == "it is not the canonical spelling of a point"


def test_point_with_a_part_of_small_order() -> None:
    """The base point plus the point of order 2 is (-x, -y): its own order is twice the prime one."""
    for sign in (0, 1):
        assert "small order" in str(weakness(key(P - BASE_Y, sign)))


def test_what_is_on_no_curve() -> None:
    """Of all numbers, half are on no point, and of the points one in eight has the prime order."""
    found = [weakness(key(y)) for y in range(2, 402)]
    assert 160 < found.count("it is no point of the curve") < 240
    assert 10 < found.count(None) < 45


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_length(length: int) -> None:
    assert weakness(bytes(length)) == f"it has {length} bytes, not 32"
