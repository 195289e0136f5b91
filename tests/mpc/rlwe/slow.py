"""A whole encrypted product in Python integers, from the same seeds as the functions in C: for the test vectors.

One polynomial of each kind; beside reference.py.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from amint_mpc.mpc.correlations.prg import SecretStream
from amint_mpc.mpc.rlwe.parameters import FLOOD_BITS, KEPT_BITS, LOG_N, PUBLIC_KEYS, N, modulus, primes, roots
from tests.mpc.rlwe.reference import T, centred, times

KEPT = len(KEPT_BITS)
CENTRE = 2  # as in _rlwe.c


def reversed_bits(x: int, bits: int) -> int:
    return int(f"{x:0{bits}b}"[::-1], 2)


def ntt(polynomial: Sequence[int], prime: int) -> list[int]:
    """Value i is the polynomial at root^(2 rev(i) + 1), rev turning LOG_N bits around (Cooley, Tukey)."""
    p, x = primes()[prime], np.array([c % primes()[prime] for c in polynomial], dtype=np.uint64)
    for stage in range(LOG_N):
        groups = 1 << stage
        w = np.array([pow(roots()[prime], reversed_bits(groups + i, LOG_N), p) for i in range(groups)], np.uint64)
        halves = x.reshape(groups, 2, -1)
        upper = halves[:, 1] * w[:, None] % np.uint64(p)
        low = halves[:, 0]
        x = np.stack([low + upper, low + np.uint64(p) - upper], axis=1).reshape(-1) % np.uint64(p)
    return [int(value) for value in x]


def inverse_ntt(values: Sequence[int], prime: int) -> list[int]:
    """Undoes `ntt`, stage by stage."""
    p, x = primes()[prime], np.array(values, dtype=np.uint64)
    for stage in reversed(range(LOG_N)):
        groups = 1 << stage
        w = np.array([pow(roots()[prime], -reversed_bits(groups + i, LOG_N), p) for i in range(groups)], np.uint64)
        halves = x.reshape(groups, 2, -1)
        low, high = halves[:, 0], halves[:, 1]
        x = np.stack([low + high, (low + np.uint64(p) - high) * w[:, None] % np.uint64(p)], axis=1).reshape(-1)
        x %= np.uint64(p)
    scale = pow(N, -1, p)
    return [int(value) * scale % p for value in x]


def joined(residues: Sequence[Sequence[int]]) -> list[int]:
    """Numbers mod the product of the first primes, from those mod each."""
    q = modulus(0, len(residues))
    weights = [q // p * pow(q // p, -1, p) for p in primes()[: len(residues)]]
    return [sum(map(int.__mul__, weights, each)) % q for each in zip(*residues, strict=True)]


def uniform(seed: bytes, name: str, prime: int, count: int = N) -> list[int]:
    """AES-256 in counter mode under HMAC-SHA-256(seed, "NAME PRIME"); words are cut, and left out from the prime on."""
    p = primes()[prime]
    key = hmac.digest(seed, f"{name} {prime}".encode(), "sha256")
    stream = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
    found: list[int] = []
    while len(found) < count:
        words = np.frombuffer(stream.update(bytes(4 * N)), dtype="<u4")
        found += [value for value in (int(word) & (1 << p.bit_length()) - 1 for word in words) if value < p]
    return found[:count]


def error(word: int) -> int:
    """Centred binomial, of 21 bits each."""
    return (word & 0x1FFFFF).bit_count() - (word >> 21 & 0x1FFFFF).bit_count()


def ternary(word: int) -> int:
    return (word * 3 >> 64) - 1


def drawn(stream: SecretStream, count: int) -> list[int]:
    """The next words of a secret stream."""
    (words,) = stream.draw(stream.position, [(torch.int64, (count,))])
    return [word % T for word in words.tolist()]


def encoded(message: Sequence[int], q: int) -> list[int]:
    """q m / 2^64, rounded to the nearest."""
    return [(q * m - centred(q * m % T, T)) // T % q for m in message]


@dataclass
class Keys:
    """Of one encryptor: its secret, and the first of its public keys, mod q."""

    secret: list[int]
    b: list[int]
    a: list[int]


def keys(stream: SecretStream, seed: bytes) -> Keys:
    q, count = modulus(0, len(primes())), len(primes())
    secret = [ternary(word) for word in drawn(stream, N)]
    errors = [error(word) for word in drawn(stream, PUBLIC_KEYS * N)[:N]]
    a = joined([inverse_ntt(uniform(seed, "keys", prime), prime) for prime in range(count)])
    b = [(e - x) % q for e, x in zip(errors, times(a, secret, q), strict=True)]
    return Keys(secret, b, a)


def encrypted(of: Keys, stream: SecretStream, seed: bytes, name: str, message: Sequence[int]) -> list[list[int]]:
    """(c0, c1) of one polynomial, which is all that the request has."""
    q = modulus(0, len(primes()))
    errors = [error(word) for word in drawn(stream, N)]
    a = joined([inverse_ntt(uniform(seed, name, prime), prime) for prime in range(len(primes()))])
    masked = zip(errors, times(a, of.secret, q), encoded(message, q), strict=True)
    return [[(e - x + m) % q for e, x, m in masked], a]


def switched(x: int) -> int:
    """x / (the dropped primes), mod the kept ones: less than their number below it."""
    dropped, q = modulus(KEPT, len(primes())), modulus(0, KEPT)
    rest = 0
    for p in primes()[KEPT:]:
        others = dropped // p
        rest += x % p * pow(others, -1, p) % p * others
    assert (x - rest) % dropped == 0
    return (x - rest) // dropped % q


def answered(
    of: Keys, stream: SecretStream, ciphertext: Sequence[Sequence[int]], plain: Sequence[int], places: Sequence[int]
) -> tuple[list[int], list[int], list[int]]:
    """c0 at the wanted places, c1, and the masks that are the evaluator's share with a minus."""
    q, kept = modulus(0, len(primes())), modulus(0, KEPT)
    masks = drawn(stream, len(places))
    (words,) = stream.draw(stream.position, [(torch.int32, (len(places),))])
    floods = [(word & (2 << FLOOD_BITS) - 1) - (1 << FLOOD_BITS) for word in words.tolist()]
    u = [ternary(word) for word in drawn(stream, N)]
    c0, c1 = (
        [(x + y) % q for x, y in zip(times(c, plain, q), times(key, u, q), strict=True)]
        for c, key in zip(ciphertext, (of.b, of.a), strict=True)
    )
    wanted = [c0[at] if at >= 0 else -c0[at + N] % q for at in places]
    added = zip(wanted, encoded(masks, q), floods, strict=True)
    return [(switched((x + m) % q) + e) % kept for x, m, e in added], [(switched(x) + CENTRE) % kept for x in c1], masks


def decrypted(secret: Sequence[int], c0: Sequence[int], c1: Sequence[int], places: Sequence[int]) -> list[int]:
    """round(2^64 phase / q') at the wanted places."""
    q = modulus(0, KEPT)
    masked = times(c1, secret, q)
    phases = [x + (masked[at] if at >= 0 else -masked[at + N]) for x, at in zip(c0, places, strict=True)]
    return [(2 * T * (x % q) + q) // (2 * q) % T for x in phases]
