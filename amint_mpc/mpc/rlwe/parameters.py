"""Ring, moduli and noise of the encryption: chosen once, with what security and correctness ask of them.

The scheme is BFV (Fan and Vercauteren 2012, eprint 2012/144) over Z[x] / (x^N + 1) with plaintexts mod t = 2^64,
one-sided: ciphertexts are multiplied by plaintexts and added, never by one another. Answers lose the dropped primes
(modulus switching), so that q' is left.

Security
    LWE: N = 8192, ternary secrets, errors of variance 10.5: 128 bits while log2 q <= 218 (Homomorphic Encryption
        Standard, Albrecht et al. 2018, table 1, uniform ternary secret, classical).
    evaluator: an answer's c0 gets a fresh mask mod t and a flood. The noise that depends on the evaluator's matrix is
        hidden by it up to a statistical distance, `distance`; a run that would exceed 2^-40 in all is refused
        (`pair/distance.py`).
Correctness
    after modulus switching an answer is right if flood and rounding stay below q' / 2t.
"""

from __future__ import annotations

import math
from functools import lru_cache

LOG_N = 13
N = 1 << LOG_N
PLAINTEXT_BITS = 64
KEPT_BITS, DROPPED_BITS = (28, 24, 24), (28, 28, 28, 28, 28)
KEPT = len(KEPT_BITS)
ERROR_VARIANCE = 10.5
PUBLIC_KEYS = 16
"""Encryptions of zero that one ternary u blinds."""
FLOOD_BITS = 10
"""The flood is uniform in +-2^FLOOD_BITS at q', so in +-2^FLOOD_BITS times the dropped primes at q."""
GALOIS_KEYS = 6
"""Automorphisms that answers can be packed with: so many levels at most."""
DIGITS = 4
"""Of a number in packing, each of two of the primes."""
STANDARD_LOG_Q = 218
DISTANCE = 2.0**-40
"""At most, over a whole run."""


def _is_prime(p: int) -> bool:
    return p % 2 == 1 and all(p % d for d in range(3, math.isqrt(p) + 1, 2))


@lru_cache(maxsize=1)
def primes() -> tuple[int, ...]:
    """The kept ones first: of each size the largest that are 1 mod 2 N."""
    found: list[int] = []
    for bits in KEPT_BITS + DROPPED_BITS:
        p = (1 << bits) - 2 * N + 1
        while p in found or not _is_prime(p):
            p -= 2 * N
        found.append(p)
    return tuple(found)


def bits_of(prime: int) -> int:
    """That a number mod it travels with."""
    return (KEPT_BITS + DROPPED_BITS)[prime]


@lru_cache(maxsize=1)
def roots() -> tuple[int, ...]:
    """A primitive 2N-th root of unity for each prime."""
    return tuple(
        next(r for g in range(2, p) if pow(r := pow(g, (p - 1) // (2 * N), p), N, p) == p - 1) for p in primes()
    )


def modulus(first: int, last: int) -> int:
    """The product of primes first to last - 1."""
    return math.prod(primes()[first:last])


def noise(terms: int, levels: int = 0) -> float:
    """Root mean square of an accumulated coefficient's noise at q.

    Args:
        terms: how many products of plaintext coefficients and errors it sums: the entries of the plaintexts behind it.
        levels: of packing. In each of them a coefficient meets one change of keys, which adds, digit by digit, N
            products of a key's error and of a number below the digit's two primes, as good as uniform. What level i
            adds the later ones double: its variance counts 4^(levels - i) times, all of them (4^levels - 1) / 3 times.
    """
    plaintext = 4.0**PLAINTEXT_BITS / 12 * terms * (ERROR_VARIANCE + 1 / 12)
    digits = sum((a * b) ** 2 / 3 for a, b in zip(primes()[::2], primes()[1::2], strict=True))
    return math.sqrt(plaintext + N * ERROR_VARIANCE * digits * (4**levels - 1) / 3)


def distance(terms: int, coefficients: int, levels: int = 0) -> float:
    """Statistical distance of so many answered coefficients from ones that say nothing but the result: at most.

    Two uniform floods of width w whose centres are e apart differ by e / w; the mean of |e| is below its rms.
    """
    width = 2.0 ** (FLOOD_BITS + 1) * float(modulus(KEPT, len(primes())))
    return coefficients * noise(terms, levels) / width
