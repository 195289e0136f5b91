"""Drawings that follow from a secret."""

from collections import Counter

import pytest

from amint_mpc.random_order import drawn, permutation

VECTOR = [47, 24, 30, 46, 1, 6]
ONE = b"s" * 32


def test_a_drawing_is_of_different_numbers_below_the_total() -> None:
    for total, count in ((1, 1), (48, 48), (1000, 10), (2**31, 5), (5, 0), (0, 0)):
        found = drawn(ONE, "x", total, count)
        assert len(set(found)) == len(found) == count
        assert all(0 <= number < total for number in found)
    assert sorted(drawn(ONE, "x", 300, 300)) == list(range(300))
    for wrong in ((3, 4), (3, -1)):
        with pytest.raises(ValueError, match="cannot be drawn"):
            drawn(ONE, "x", *wrong)


def test_it_is_the_same_on_every_machine() -> None:
    assert drawn(ONE, "canaries", 48, 6) == VECTOR


def test_secret_and_purpose_count() -> None:
    found = [drawn(secret, purpose, 10**6, 5) for secret in (ONE, b"t" * 32) for purpose in ("x", "y")]
    assert len({tuple(each) for each in found}) == 4
    assert permutation(ONE, "x", 300).tolist() == drawn(ONE, "x", 300, 300)


def test_no_number_is_drawn_more_often_than_others() -> None:
    """3,000 times 4 of 12: each 1,000 times, standard deviation 26."""
    found = Counter(n for at in range(3000) for n in drawn(at.to_bytes(4, "big"), "x", 12, 4))
    assert set(found) == set(range(12))
    assert max(abs(times - 1000) for times in found.values()) < 5 * 26
