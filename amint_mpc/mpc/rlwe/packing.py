"""Answers packed: many ciphertexts, of whose coefficients few are wanted, become one.

Source: Chen, Dai, Kim, Song 2021, "Efficient homomorphic conversion between (ring) LWE ciphertexts" (eprint 2020/015),
section 3, PackLWEs. The wanted coefficients stand at multiples of 2^k here, not at 0 alone, so its last k steps do.

Steps, for up to 2^levels ciphertexts
    1. all of them are multiplied by 2^-levels mod q.
    2. x and y, whose wanted coefficients stand at multiples of 2^(j + 1), become
       x + y X^e + g_j (x - y X^e) with e = 2^j and g_j: X -> X^(1 + N / 2^j). What x has at multiples of 2^(j + 1) is
       doubled, for g_j leaves it alone, and so is what y has there, which moves to odd multiples of 2^j; what stood at
       odd multiples of 2^j falls out, for g_j changes its sign. All else stays at places that are not wanted. j goes
       from k - 1 down to k - levels, and each step halves the number of ciphertexts.
    3. g_j (c1) is under the key g_j (s). It is cut into digits, its numbers mod pairs of primes; each is multiplied by
       an encryption of g_j (s) that counts mod its pair alone (0 mod the other primes). Their sum is under s again.
Ciphertext i of 2^levels ends up moved by i 2^(k - levels).
Noise: what a ciphertext's wanted coefficient had, exactly: step 1 makes it a large number, but all of step 2 is linear
mod q, and the doublings give it back. Step 3 adds errors of the keys times digits (`parameters.noise`): they depend on
the evaluator's matrix through the digits, as the rest of the noise does, and are flooded with it.
Who learns what: the evaluator sees encryptions of g_j (s) under s (RLWE, circular security). The encryptor sees
nothing of this: answers are blinded and flooded after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from amint_mpc.mpc.rlwe.blocks import Cut
from amint_mpc.mpc.rlwe.parameters import DIGITS, GALOIS_KEYS, N, primes, roots
from amint_mpc.mpc.rlwe.ring import Ring

_COUNT, _CHUNK = len(primes()), 64
Ciphertexts = tuple[Tensor, Tensor]
"""c0 and c1."""


def turns(ring: Ring) -> Tensor:
    """What g_j does to a transformed polynomial: number i comes from number turns[j, i]. [GALOIS_KEYS, N] int32."""
    x, p = _monomial(1), primes()[0]
    ring.checked("rlwe_ntt", 0, x, 0, 0)
    exponent, power = {}, 1
    for e in range(2 * N):
        exponent[power], power = e, power * roots()[0] % p
    at = np.array([exponent[value] for value in x.tolist()])  # of the root that a polynomial is evaluated at
    number = np.empty(2 * N, dtype=np.int32)
    number[at] = np.arange(N)
    return torch.from_numpy(np.array([number[at * (1 + N // 2**j) % (2 * N)] for j in range(GALOIS_KEYS)]))


def add_turned(ring: Ring, key: Tensor, prime: int, zeros: Tensor) -> None:
    """Make the encryptor's keys of encryptions of zero. Args: key: s mod a prime. zeros: [GALOIS_KEYS * DIGITS, N]."""
    p = primes()[prime]
    for number, turn in enumerate(turns(ring).long()):
        at = zeros[number * DIGITS + prime // 2]
        at += key[turn] - p
        at += (at >> 31) & p


class Packing:
    """The evaluator's part.

    Args:
        keys: for each prime c0 and c1 of the encryptor's, [GALOIS_KEYS * DIGITS, N].
    """

    def __init__(self, ring: Ring, keys: Sequence[Ciphertexts]) -> None:
        self._ring, self._turns = ring, turns(ring)
        parts = torch.stack([torch.stack(both) for both in keys])  # prime, part, key and digit
        self._keys = parts.view(_COUNT, 2, GALOIS_KEYS, DIGITS, N).permute(2, 3, 1, 0, 4).contiguous()
        self._monomials = torch.stack([_monomial(1 << j).repeat(_COUNT, 1) for j in range(GALOIS_KEYS)])
        for of_one in self._monomials:
            for prime, polynomial in enumerate(of_one):
                ring.checked("rlwe_ntt", prime, polynomial, 0, 0)
        self._room = torch.empty(3 * _COUNT + 6, N, dtype=torch.int64)

    def products(self, cut: Cut, a: Tensor, r: Sequence[Ciphertexts]) -> Tensor:
        """A R, packed.

        Args:
            a: the evaluator's matrix. r: for each prime the encryptor's, transformed and "chunked"; used up.

        Returns:
            [primes, 2, cut.polynomials("ar") * N], "chunked".
        """
        rows, columns = cut.block[0] << cut.levels, cut.counts[2]
        out = torch.empty(_COUNT, 2, N // _CHUNK, cut.polynomials("ar"), _CHUNK, dtype=torch.int32)
        for prime, both in enumerate(r):
            for part in both:
                self._ring.call("rlwe_scale", prime, part, part.numel(), pow(2, -cut.levels, primes()[prime]))
        for group, some in enumerate(torch.split(a, rows)):
            each = self._sums(Cut(replace(cut.sizes, rows=len(some)), cut.block), some, r)
            for column, ciphertexts in enumerate(each):
                packed = self._packed(ciphertexts, cut.skip("ar") + cut.levels, cut.levels)
                out[:, :, :, group * columns + column] = packed.view(_COUNT, 2, N // _CHUNK, _CHUNK)
        return out.view(_COUNT, 2, -1)

    def _sums(self, cut: Cut, a: Tensor, r: Sequence[Ciphertexts]) -> Tensor:
        """A R, not packed: [columns, rows, primes, 2, N]."""
        m, b, k = cut.counts
        found = torch.empty(k, m, _COUNT, 2, N, dtype=torch.int32)
        sums = torch.empty(2, m * k * N, dtype=torch.int32)
        for prime, both in enumerate(r):
            plain = self._ring.encoded(cut, "a", a, prime)
            self._ring.products(prime, (plain, m * b, b, 1), both, (b * k, k, 1), (m * k, k, 1), (m, b, k), sums)
            chunks = sums.view(2, N // _CHUNK, m, k, _CHUNK)
            found[:, :, prime] = chunks.permute(3, 2, 0, 1, 4).reshape(k, m, 2, N)
        return found

    def _packed(self, ciphertexts: Tensor, k: int, levels: int) -> Tensor:
        """[up to 2^levels, primes, 2, N], used up, to [primes, 2, N]."""
        left = len(ciphertexts)
        for level in range(1, levels + 1):
            half, j = 1 << levels - level, k - level
            for i in range(min(half, left)):
                y = ciphertexts[i + half] if i + half < left else torch.zeros_like(ciphertexts[i])
                keys = self._monomials[j], self._turns[j], self._keys[j]
                self._ring.call("rlwe_merge", ciphertexts[i], y, *keys, self._room)
            left = min(half, left)
        return ciphertexts[0]


def _monomial(e: int) -> Tensor:
    x = torch.zeros(N, dtype=torch.int32)
    x[e] = 1
    return x
