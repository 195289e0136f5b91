"""How matrices are cut into polynomials.

Coefficient packing: Huang, Lu, Hong and Ding 2022, Cheetah, section 4; here with one scheme of exponents for every
product of a step.

X is [n, f], W [f, h]; rows are i, inputs j, outputs k. A block has nw rows, fw inputs and hw outputs, nw fw hw <= N.
With alpha = hw fw i, beta = hw j and gamma = k inside of a block, an entry stands at

    W, R [f, h]    beta + gamma        A [n, f]    alpha - beta
    S, d [n, h]    alpha - gamma       T [n, h]    gamma - alpha

and a product of polynomials collects the sums of a matrix product at

    A R [n, h]     alpha + gamma       S R^T [n, f]   alpha + beta       A^T T [f, h]   gamma - beta

All other terms of it fall elsewhere: in a sum of exponents the differences of the inner index are too small to reach
another wanted place. So a matrix is transformed, or encrypted, once for all products that it takes part in.

Where A R is the only product, the inner index has the lowest exponents: alpha = hw fw i, beta = j, gamma = fw k. Then
the wanted places are the multiples of fw, and 2^levels answers whose rows follow one another can be packed into one
(packing.py): answer i of them moves by i fw / 2^levels.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np

from amint_mpc.mpc.rlwe.parameters import DROPPED_BITS, GALOIS_KEYS, KEPT_BITS, PUBLIC_KEYS, N

Name = Literal["r", "s", "t", "a", "sr", "at", "ar", "rs"]
"""rs: the second part of sr, where that is made of two products."""
AXES: Mapping[Name, tuple[int, int]] = {
    "a": (0, 1),
    "r": (1, 2),
    "s": (0, 2),
    "t": (0, 2),
    "ar": (0, 2),
    "sr": (0, 1),
    "at": (1, 2),
}
"""Which axes a matrix has, of rows 0, inputs 1, outputs 2."""
_SIGNS: Mapping[Name, tuple[int, int]] = {
    "a": (1, -1),
    "r": (1, 1),
    "s": (1, -1),
    "t": (-1, 1),
    "ar": (1, 1),
    "sr": (1, 1),
    "at": (-1, 1),
}
PLAIN: Mapping[Name, tuple[Name, ...]] = {"ar": ("a",), "sr": ("r", "s"), "at": ("a",)}
ENCRYPTED: Mapping[Name, tuple[Name, ...]] = {"ar": ("r",), "sr": ("r", "s"), "at": ("t",)}
"""What each product is made of: the evaluator's matrices, and the encryptor's."""
MOST_TERMS = 255  # of an accumulated product, which has 64 bits
TRANSFORM_MS = 0.010
MERGE = 50
"""Transforms that one step of packing takes as long as; it has 32."""
MB_MS = {"lan": 4.0, "wan": 80.0}
"""What a MB costs: CPU time of TLS; the time on a link of 100 Mbit/s."""


@dataclass(frozen=True)
class Sizes:
    """Of one step.

    Args:
        rows, inputs, outputs: n, f, h.
        products: which of ar, sr, at are wanted.
    """

    rows: int
    inputs: int
    outputs: int
    products: tuple[Name, ...] = ("ar", "sr", "at")

    @property
    def plain(self) -> tuple[Name, ...]:
        """The matrices that the evaluator multiplies with."""
        order: tuple[Name, ...] = ("a", "r", "s")
        return tuple(name for name in order if any(name in PLAIN[product] for product in self.products))

    @property
    def encrypted(self) -> tuple[Name, ...]:
        """The matrices that are sent under encryption."""
        order: tuple[Name, ...] = ("r", "s", "t")
        return tuple(name for name in order if any(name in ENCRYPTED[product] for product in self.products))


@dataclass(frozen=True)
class Cut:
    """Sizes, and those of a block. levels: of packing, for ar alone."""

    sizes: Sizes
    block: tuple[int, int, int]
    levels: int = 0

    @cached_property
    def counts(self) -> tuple[int, int, int]:
        """Blocks along rows, inputs and outputs."""
        s = self.sizes
        whole = (s.rows, s.inputs, s.outputs)
        return tuple(-(-size // width) for size, width in zip(whole, self.block, strict=True))  # type: ignore[return-value]

    def polynomials(self, name: Name) -> int:
        """How many a matrix has; of a product, its answers."""
        one, other = AXES[name]
        return -(-self.counts[one] // (1 << self.levels_of(name))) * self.counts[other]

    def levels_of(self, name: Name) -> int:
        """Of packing."""
        return self.levels if name == "ar" else 0

    def across(self, name: Name) -> int:
        """How many of them stand side by side."""
        return self.counts[AXES[name][1]]

    def exponents(self, name: Name) -> tuple[int, int]:
        """Of a matrix's two axes."""
        _, fw, hw = self.block
        steps = (fw * hw, 1, fw) if self.sizes.products == ("ar",) else (fw * hw, hw, 1)
        one, other = ((axis, sign) for axis, sign in zip(AXES[name], _SIGNS[name], strict=True))
        return steps[one[0]] * one[1], steps[other[0]] * other[1]

    def shape(self, name: Name) -> tuple[int, int]:
        """Of a matrix."""
        whole = (self.sizes.rows, self.sizes.inputs, self.sizes.outputs)
        one, other = AXES[name]
        return whole[one], whole[other]

    def block_shape(self, name: Name) -> tuple[int, int]:
        """Of a block of a matrix; of a product, of what is in one answer."""
        one, other = AXES[name]
        return self.block[one] << self.levels_of(name), self.block[other]

    def places(self, name: Name) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
        """Where the entries of a block of a product stand, row by row; below 0: at N less, with a minus."""
        (rows, columns), (one, other) = self.block_shape(name), self.exponents(name)
        packed, row = np.divmod(np.arange(rows)[:, None], self.block[AXES[name][0]])
        places = row * one + np.arange(columns) * other + (packed << self.skip(name))
        return np.asarray(places.reshape(-1), dtype=np.int32)

    def skip(self, name: Name) -> int:
        """All these places are multiples of 2^skip."""
        if self.sizes.products == ("ar",):
            return self.block[1].bit_length() - 1 - self.levels
        return self.block[2].bit_length() - 1 if name == "sr" else 0

    def terms(self, name: Name) -> int:
        """Entries of plaintexts that one coefficient's noise comes from (`parameters.noise`)."""
        rows, inputs, outputs = self.sizes.rows, self.sizes.inputs, self.sizes.outputs
        nw, fw, _ = self.block
        return {"ar": nw * inputs, "at": fw * rows, "sr": (nw + fw) * outputs}[name]

    @property
    def merges(self) -> int:
        """How often two ciphertexts become one, in packing."""
        whole, rest = divmod(self.counts[0], 1 << self.levels)
        return self.counts[2] * sum((whole << level) + min(rest, 1 << level) for level in range(self.levels))

    @property
    def cost(self) -> tuple[int, int]:
        """Transforms of both parties, and bytes on the wire."""
        up = sum(self.polynomials(name) for name in self.sizes.encrypted)
        primes = len(KEPT_BITS) + len(DROPPED_BITS)
        plain = sum(self.polynomials(name) for name in self.sizes.plain)
        transforms, bits = (up + plain) * primes, up * N * sum(KEPT_BITS + DROPPED_BITS)
        for name in self.sizes.products:
            count = self.polynomials(name)
            transforms += self.merges * MERGE
            transforms += count * (2 * primes + len(KEPT_BITS))
            bits += count * (N + math.prod(self.block_shape(name))) * sum(KEPT_BITS)
            transforms += -(-count // PUBLIC_KEYS) * primes
        return transforms, bits // 8


@lru_cache(maxsize=64)
def best_cut(sizes: Sizes, link: str = "lan") -> Cut:
    """The cheapest blocks for a link, "lan" or "wan"."""

    def widths(size: int) -> list[int]:
        return [1 << k for k in range(N.bit_length()) if 1 << k < 2 * size and 1 << k <= N]

    def levels(block: tuple[int, int, int]) -> range:
        most = block[1].bit_length() - 1 if link == "wan" and sizes.products == ("ar",) else 0
        return range(1 + most if most <= GALOIS_KEYS else 1)

    def price(cut: Cut) -> float:
        transforms, size = cut.cost
        return transforms * TRANSFORM_MS + size / 1e6 * MB_MS[link]

    blocks = itertools.product(widths(sizes.rows), widths(sizes.inputs), widths(sizes.outputs))
    cuts = [Cut(sizes, block, level) for block in blocks if math.prod(block) <= N for level in levels(block)]
    return min((cut for cut in cuts if max(cut.counts) <= MOST_TERMS), key=price)
