"""The coin that auditor and developer toss together."""

from collections import Counter

import pytest

from amint_mpc.afterwards import coin
from amint_mpc.afterwards.coin import Coin

VECTOR = [3, 13, 14, 20, 28, 30]
COMMITMENT = "f27fc55169175dd6c68b0ca052d5fbcb78656a551db39291d3b61ed90abf4b8c"
ONE = Coin(b"s" * 32, b"a" * 32, b"d" * 32)


def test_a_drawing_is_of_different_numbers_below_the_total() -> None:
    for total, count in ((1, 1), (48, 48), (1000, 10), (2**31, 5), (5, 0), (0, 0)):
        drawn = ONE.draw("x", total, count)
        assert len(set(drawn)) == len(drawn) == count
        assert all(0 <= number < total for number in drawn)
    assert sorted(ONE.draw("x", 300, 300)) == list(range(300))
    for wrong in ((3, 4), (3, -1)):
        with pytest.raises(ValueError, match="cannot be drawn"):
            ONE.draw("x", *wrong)


def test_it_is_the_same_on_every_machine() -> None:
    assert ONE.draw("canaries", 48, 6) == VECTOR
    assert coin.commitment(b"a" * 32) == COMMITMENT


def test_every_part_of_it_counts() -> None:
    parts = [b"s" * 32, b"a" * 32, b"d" * 32]
    drawn = [ONE.draw("x", 10**6, 5), ONE.draw("y", 10**6, 5)]
    for place in range(3):
        other = list(parts)
        other[place] = b"o" * 32
        drawn.append(Coin(*other).draw("x", 10**6, 5))
    assert len({tuple(each) for each in drawn}) == 5


def test_no_number_is_drawn_more_often_than_others() -> None:
    """3,000 times 4 of 12: each 1,000 times, standard deviation 26."""
    found = Counter(n for at in range(3000) for n in Coin(b"", b"", at.to_bytes(4, "big")).draw("x", 12, 4))
    assert set(found) == set(range(12))
    assert max(abs(times - 1000) for times in found.values()) < 5 * 26
