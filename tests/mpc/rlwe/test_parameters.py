from __future__ import annotations

import math

from amint_mpc.mpc.rlwe import parameters
from amint_mpc.mpc.rlwe.blocks import MOST_TERMS, ROUGH_KEPT, Sizes, best_cut

STANDARD = {1024: 27, 2048: 54, 4096: 109, 8192: 218, 16384: 438, 32768: 881}
"""log2 q at most: 128 bits, classical, ternary secret (Homomorphic Encryption Standard 2018, table 1)."""


def test_the_modulus_is_within_the_standard_for_128_bits() -> None:
    whole = parameters.modulus(0, len(parameters.primes()))
    assert math.log2(whole) <= STANDARD[parameters.N] == parameters.STANDARD_LOG_Q
    assert (8 / math.sqrt(2 * math.pi)) ** 2 <= parameters.ERROR_VARIANCE  # the table's errors


def test_primes_are_prime_distinct_and_of_their_sizes() -> None:
    p = parameters.primes()
    assert len(set(p)) == len(p)
    for prime, bits in zip(p, parameters.KEPT_BITS + parameters.DROPPED_BITS, strict=True):
        assert prime % (2 * parameters.N) == 1
        assert 2 ** (bits - 1) < prime < 2**bits
        assert pow(3, prime - 1, prime) == 1
    for prime, root in zip(p, parameters.roots(), strict=True):
        assert pow(root, parameters.N, prime) == prime - 1


def test_a_million_steps_of_the_large_head_say_nothing() -> None:
    """2^-40 over the whole run."""
    cut = best_cut(Sizes(128, 768, 128))
    a_step = sum(
        parameters.distance(cut.terms(n), cut.polynomials(n) * math.prod(cut.block_shape(n)), cut.sizes.kept(n))
        for n in cut.sizes.products
    )
    assert 10**6 * a_step <= parameters.DISTANCE


def test_an_answer_has_room_for_flood_and_rounding() -> None:
    """Eight standard deviations of the rounding of c1 times a ternary key, and the flood, below half a unit."""
    dropped = len(parameters.DROPPED_BITS)
    rounding = (
        dropped + 1 + 8 * (dropped + 1) * math.sqrt(parameters.N * 2 / 3)
    )  # the conversion is up to `dropped` off
    unit = parameters.modulus(0, len(parameters.KEPT_BITS)) / 2**parameters.PLAINTEXT_BITS
    assert 2**parameters.FLOOD_BITS + rounding < unit / 2
    unit = 2**32 * parameters.modulus(0, ROUGH_KEPT) / 2**parameters.PLAINTEXT_BITS  # of sr the top 32 bits count
    assert 2 * (2**parameters.FLOOD_BITS + rounding + dropped) < unit / 16  # its two parts may come one by one


def test_sums_fit_their_words() -> None:
    assert MOST_TERMS * max(parameters.primes()) ** 2 < 2**64
    for sizes in (Sizes(128, 768, 128), Sizes(128, 192, 64), Sizes(1, 1, 1), Sizes(256, 8000, 300), Sizes(3, 5000, 2)):
        assert max(best_cut(sizes).counts) <= MOST_TERMS
