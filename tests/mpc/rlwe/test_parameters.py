"""That nobody lowers the parameters: the standard's table, the cost of an attack by formula, and the flood."""

from __future__ import annotations

import math
from functools import lru_cache

import pytest

from amint_mpc.mpc.rlwe import parameters
from amint_mpc.mpc.rlwe.blocks import MOST_TERMS, Cut, Sizes, best_cut
from amint_mpc.mpc.rlwe.parameters import KEPT

STANDARD = {1024: 27, 2048: 54, 4096: 109, 8192: 218, 16384: 438, 32768: 881}
"""log2 q at most: 128 bits, classical, ternary secret (Homomorphic Encryption Standard 2018, table 1)."""


def test_the_modulus_is_within_the_standard_for_128_bits() -> None:
    whole = parameters.modulus(0, len(parameters.primes()))
    assert math.log2(whole) <= STANDARD[parameters.N] == parameters.STANDARD_LOG_Q
    assert (8 / math.sqrt(2 * math.pi)) ** 2 <= parameters.ERROR_VARIANCE  # the table's errors


TERNARY = math.sqrt(2 / 3)  # standard deviation


@lru_cache(maxsize=32)
def attack(n: int, log_q: float, error: float) -> tuple[float, float]:
    """log2 of what the primal attack on LWE with ternary secrets costs: core-SVP, and as the standard counts.

    The key and the errors are a short vector of a lattice of dimension d = m + n + 1 and volume q^m (error / TERNARY)^n
    (Bai, Galbraith 2014). BKZ with blocks of b finds it where sqrt(b) error <= delta^(2b - d - 1) volume^(1/d) (Alkim,
    Ducas, Poeppelmann, Schwabe 2016; Albrecht, Goepfert, Virdia, Wunderer 2017), with Chen's delta. One sieve takes
    2^(0.292 b) (Becker, Ducas, Gama, Laarhoven 2016): core-SVP. The standard's tables count 8 d sieves of
    2^(0.292 b + 16.4) (Albrecht, Player, Scott 2015).

    Args:
        error: standard deviation of the errors.
    """

    def dimension(b: int) -> int:
        """Of a lattice in which blocks of b are enough; 0: none."""
        log_delta = math.log2((math.pi * b) ** (1 / b) * b / (2 * math.pi * math.e)) / (2 * (b - 1))
        for m in range(n // 8, 3 * n, n // 64):
            d = m + n + 1
            volume = (m * log_q + n * math.log2(error / TERNARY)) / d
            if math.log2(b) / 2 + math.log2(error) <= (2 * b - d - 1) * log_delta + volume:
                return d
        return 0

    low, high = 50, 4000
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if dimension(middle) else (middle + 1, high)
    core = 0.292 * low
    return core, core + 16.4 + math.log2(8 * dimension(low))


@pytest.mark.parametrize("n", [2048, 4096, 8192, 16384])
def test_the_formula_gives_the_standards_table(n: int) -> None:
    """128 bits at its largest q, within two, with its errors of 3.19; and fewer where q is a tenth longer."""
    assert abs(attack(n, STANDARD[n], 3.19)[1] - 128) < 2
    assert attack(n, 1.1 * STANDARD[n], 3.19)[1] < 126


def test_an_attack_on_the_key_costs_128_bits() -> None:
    log_q = math.log2(parameters.modulus(0, len(parameters.primes())))
    core, whole = attack(parameters.N, log_q, math.sqrt(parameters.ERROR_VARIANCE))
    assert whole >= 128
    assert core >= 95


def lowered(**changes: float) -> float:
    """The attack's cost after a change, as the standard counts."""
    log_q = math.log2(parameters.modulus(0, len(parameters.primes())))
    usual = {"n": parameters.N, "log_q": log_q, "error": math.sqrt(parameters.ERROR_VARIANCE)}
    return attack(**{**usual, **changes})[1]  # type: ignore[arg-type]


def test_lower_parameters_cost_less_than_128_bits() -> None:
    """So the test before this one fails for them."""
    assert lowered(n=4096) < 128
    assert lowered(log_q=216 + 28) < 128  # a prime more


def remainders(kept: int) -> float:
    """Root mean square of what the rounding of c1 adds to the phase, in units: for each dropped prime a number that is
    uniform in [0, 1), less 2 for all (`slow.switched`), times the key."""
    dropped = len(parameters.primes()) - kept
    return math.sqrt(parameters.N * TERNARY**2 * (dropped / 12 + (dropped / 2 - 2) ** 2))


def test_the_evaluators_secret_is_hidden_by_rounding_alone() -> None:
    """c1 of an answer is u times a public key, rounded to q'. Were all that the rounding of c1 adds to the phase known
    as well, below the flood, that would say of each coefficient log2 of its standard deviation in units: as if the
    errors were so much smaller."""
    error = math.sqrt(1 / 12) / (remainders(KEPT) * math.sqrt(2 * math.pi * math.e))
    assert attack(parameters.N, math.log2(parameters.modulus(0, KEPT)), error)[1] >= 256


def test_primes_are_prime_distinct_and_of_their_sizes() -> None:
    p = parameters.primes()
    assert len(set(p)) == len(p)
    for prime, bits in zip(p, parameters.KEPT_BITS + parameters.DROPPED_BITS, strict=True):
        assert prime % (2 * parameters.N) == 1
        assert 2 ** (bits - 1) < prime < 2**bits
        assert pow(3, prime - 1, prime) == 1
    for prime, root in zip(p, parameters.roots(), strict=True):
        assert pow(root, parameters.N, prime) == prime - 1


def of_answers(cuts: list[Cut]) -> float:
    """The statistical distance of all answers."""
    return sum(
        parameters.distance(cut.terms(n), cut.polynomials(n) * math.prod(cut.block_shape(n)))
        for cut in cuts
        for n in cut.sizes.products
    )


def of_a_step(rows: int, inputs: int, hidden: int, link: str) -> float:
    """Of a training step: those of the linear layer, and those of the ReLU's products of masks."""
    relu = [Sizes(*shape, ("sr",)) for shape in ((rows, 1, hidden), (rows, hidden, 1), (hidden, 1, rows))]
    return of_answers([best_cut(sizes, link) for sizes in (Sizes(rows, inputs, hidden), *relu)])


@pytest.mark.parametrize("link", ["lan", "wan"])
def test_a_million_steps_of_the_large_head_say_nothing(link: str) -> None:
    """2^-40 over the whole run, whatever the blocks."""
    assert 10**6 * of_a_step(128, 768, 128, link) <= parameters.DISTANCE == 2.0**-40


def test_with_a_flood_of_four_bits_less_they_would(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parameters, "FLOOD_BITS", parameters.FLOOD_BITS - 4)
    assert 10**6 * of_a_step(128, 768, 128, "lan") > parameters.DISTANCE


def test_an_answer_has_room_for_flood_and_rounding() -> None:
    """Eight standard deviations of the rounding of c1 times a ternary key, and the flood, below half a unit."""
    rounding = len(parameters.DROPPED_BITS) + 8 * remainders(KEPT)
    unit = parameters.modulus(0, len(parameters.KEPT_BITS)) / 2**parameters.PLAINTEXT_BITS
    assert 2**parameters.FLOOD_BITS + rounding < unit / 2


def test_sums_fit_their_words() -> None:
    assert MOST_TERMS * max(parameters.primes()) ** 2 < 2**64
    for sizes in (Sizes(128, 768, 128), Sizes(128, 192, 64), Sizes(1, 1, 1), Sizes(256, 8000, 300), Sizes(3, 5000, 2)):
        assert max(best_cut(sizes).counts) <= MOST_TERMS
