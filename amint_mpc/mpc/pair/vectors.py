"""Products of numbers x of one party with vectors v of the other one: x_i v_i modulo 2^64, as shares.

Each x is cut into digits D of `depth` bits; the products with them, each modulo what counts of it, are summed up.

Steps
    1. the chooser chooses with the inverted bits of each digit (`Transfers.choose`).
    2. the other one draws the root of a binary tree of seeds for each digit; a node's seed gives its children's. On each
       level the chooser gets the XOR of all left or of all right children, whichever the path to leaf D does not take.
       So it comes to know all 2^depth leaves but leaf D.
    3. a leaf's seed gives a vector G_x as long as v. With U = sum_x G_x and V = sum_x x G_x the other one sends
       e = v - U and keeps V. The chooser sets its own G_D to anything, computes U' and V', and has
       D (e + U') - V' = D v - V.
Leaves serve for further vectors v with further blocks of G.

Sources: vector oblivious linear evaluation from all-but-one trees, as in SoftSpokenOT (Roy 2022, section 3) and the
puncturable functions of Boyle et al. 2019 ("Efficient two-round OT extension and silent non-interactive secure
computation"); here over Z_2^64, with D as a whole number. It replaces a word for each bit of x (Gilboa 1999) by one for each digit.
Who learns what: nothing. e is uniform to the chooser, who has no G_D.
Exchanges: 2. Bytes: 172 for each entry of v with trees of depth 2, 115 with 3, 86 with 4; 32 for each bit of x; and a
transfer for each bit of x. The work grows as 2^depth / depth.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from amint_mpc.mpc.correlations.prg import SecretStream
from amint_mpc.mpc.ot.pads import BLOCK, Pads
from amint_mpc.mpc.ot.transfers import Choice, Product, Transfers
from amint_mpc.mpc.protocols.rounds import Opened, Rounds

BITS = 64
_CHUNK = 1 << 18  # bytes of vectors that are made at a time, so that they stay in the cache
Words = NDArray[Any]
"""Unsigned integers of one of four widths."""
_WIDTHS = (
    (64, torch.int64, np.uint64),
    (32, torch.int32, np.uint32),
    (16, torch.int16, np.uint16),
    (8, torch.uint8, np.uint8),
)


def transfers(count: int, depth: int) -> int:
    """In which the party with `count` numbers chooses."""
    return count * depth * -(-BITS // depth)


class Trees:
    """What the trees of one maker have in common. Not for several threads.

    Args:
        stream: of words that nobody else knows, for the roots.
        depth: of the trees, the same at both parties.
    """

    def __init__(self, stream: SecretStream, depth: int) -> None:
        self.depth = depth
        self._stream, self._drawn = stream, 0
        self._pads = Pads(b"amint-mpc leaves")

    def roots(self, count: int) -> Words:
        """[count, 1, 2] uint64, others in every call."""
        (drawn,) = self._stream.draw(self._drawn, [(torch.int64, (count, 1, 2))])
        self._drawn += 1
        words: Words = drawn.numpy().view(np.uint64)
        return words

    def children(self, nodes: Words) -> Words:
        """[trees, m, 2] uint64 seeds -> [trees, 2 m, 2]."""
        trees, m, _ = nodes.shape
        made = self._pads.make(nodes.reshape(-1, 2), 0, 0, 2)
        return np.ascontiguousarray(made).view(np.uint64).reshape(trees, 2 * m, 2)

    def sums(self, leaves: Words, number: int, words: int, word: Any, start: int) -> tuple[Words, Words]:
        """U and V of trees, [trees, words] each.

        Args:
            leaves: [trees, 2^depth, 2] uint64. number: of the first one.
            word: numpy's type. start: number of the first block of each vector.
        """
        size, (trees, width, _) = words * np.dtype(word).itemsize, leaves.shape
        total, weighted = np.empty((trees, words), dtype=word), np.empty((trees, words), dtype=word)
        blocks = -(-size // BLOCK)
        step = max(1, _CHUNK // (width * blocks * BLOCK))
        for at in range(0, trees, step):
            some = leaves[at : at + step].reshape(-1, 2)
            made = self._pads.make(some, number + width * at, start, blocks)[:, :size]
            vectors = made.view(word).reshape(-1, width, words)
            sums, result = total[at : at + step], weighted[at : at + step]
            sums[:] = vectors[:, -1]
            result[:] = vectors[:, -1]
            for x in range(width - 2, 0, -1):
                sums += vectors[:, x]
                result += sums
            sums += vectors[:, 0]
        return total, weighted


class Scalars:
    """Numbers of one party, each to be multiplied with vectors of the other one.

    Args:
        chooser: the party with the numbers.
        x: [count] int64 at the chooser; None at the other party.
        trees: of this maker.
    """

    def __init__(
        self,
        transfers: Transfers,
        rounds: Rounds,
        chooser: int,
        x: Tensor | None,
        count: int,
        trees: Trees,
    ) -> None:
        self._transfers, self._rounds, self._trees, self._chooser = transfers, rounds, trees, chooser
        depth = trees.depth
        self._count, self._depth, self._digits = count, depth, -(-BITS // depth)
        self._d: Words | None = None
        if x is not None:
            shifts = np.arange(0, BITS, depth, dtype=np.uint64)[:, None]
            self._d = ((x.numpy().view(np.uint64) >> shifts) & np.uint64(2**depth - 1)).reshape(-1)
        self._choices: list[Choice] = []
        for level in range(depth):
            bits = None if self._d is None else torch.from_numpy(1 - self._bit(level)).to(torch.uint8)
            self._choices.append(transfers.choose(chooser, bits, self._digits * count))
        self._told: list[tuple[Product, Opened]] = []
        self._leaves: Words | None = None
        self._blocks_used = 0

    def times(self, values: Tensor | None, words: int) -> VectorProduct:
        """x_i v_i for each i, after the exchange of the choices.

        Args:
            values: v, [count, words] int64 at the other party; None at the chooser.
        """
        if not self._told:
            self._plant()
        start = self._blocks_used
        self._blocks_used += -(-8 * words // BLOCK)
        sent, kept = [], []
        for first, last, dtype, word in self._groups():
            message = None
            if values is not None:
                total, weighted = self._sums(first, last, words, word, start)
                total = total.reshape(-1, self._count, words)
                np.subtract(values.numpy().astype(word)[None], total, out=total)
                message = torch.from_numpy(total.reshape(-1, words)).view(dtype)
                kept.append(weighted)
            shape = ((last - first) * self._count, words)
            sent.append(self._rounds.hand_over(1 - self._chooser, message, shape, dtype))
        return VectorProduct(lambda: self._combined(words, start, sent, kept))

    def _combined(self, words: int, start: int, sent: list[Opened], kept: list[Words]) -> Tensor:
        """The sum of the digits' shares: of what was kept, or at the chooser of what was sent."""
        total = np.zeros((self._count, words), dtype=np.uint64)
        for number, (first, last, _, word) in enumerate(self._groups()):
            if self._d is None:
                terms = kept[number]
            else:
                found, terms = self._sums(first, last, words, word, start)
                found += sent[number].value.numpy().view(word)
                found *= self._d[first * self._count : last * self._count, None].astype(word)
                np.subtract(found, terms, out=terms)
            by_digit = terms.reshape(-1, self._count, words)
            part = by_digit[-1].copy()
            for term in by_digit[-2::-1]:
                part <<= word(self._depth)
                part += term
            total += part.astype(np.uint64) << np.uint64(first * self._depth)
        return torch.from_numpy(total.view(np.int64))

    def _groups(self) -> list[tuple[int, int, torch.dtype, Any]]:
        """Digits whose products are made in the same words: (first, behind the last, dtype, numpy's type)."""
        found, first = [], 0
        for bits, dtype, word in _WIDTHS:
            last = -(-(BITS - bits // 2) // self._depth) if bits > 8 else self._digits
            if last > first:
                found.append((first, last, dtype, word))
                first = last
        return found

    def _bit(self, level: int) -> Words:
        """Which child leads to D, from the root at level 0."""
        assert self._d is not None
        bit: Words = ((self._d >> np.uint64(self._depth - 1 - level)) & np.uint64(1)).astype(np.int64)
        return bit

    # ------------------------------------------------------------ trees

    def _plant(self) -> None:
        """Step 2, what is sent of it."""
        trees, nodes = self._digits * self._count, None
        if self._d is None:
            nodes = self._trees.roots(trees)
        for choice in self._choices:
            values = masked = None
            if nodes is not None:
                nodes = self._trees.children(nodes)
                left, right = (np.bitwise_xor.reduce(nodes[:, side::2], axis=1) for side in (0, 1))
                values = torch.from_numpy((left ^ right).view(np.int64))
            product = self._transfers.multiply(choice, values, 2, torch.int64, xor=True)
            if nodes is not None:
                masked = product.share ^ torch.from_numpy(left.view(np.int64))
            self._told.append((product, self._rounds.hand_over(1 - self._chooser, masked, (trees, 2), torch.int64)))
        self._leaves = nodes

    def _known(self) -> Words:
        """The leaves; at the chooser all but one of each tree."""
        if self._leaves is None:
            assert self._d is not None
            trees = np.arange(len(self._d))
            nodes, at = np.zeros((len(self._d), 1, 2), dtype=np.uint64), np.zeros(len(self._d), dtype=np.int64)
            for level, (product, masked) in enumerate(self._told):
                nodes, bit = self._trees.children(nodes), self._bit(level)
                nodes[trees, 2 * at] = nodes[trees, 2 * at + 1] = 0  # of a parent that is not known
                side = nodes.reshape(len(trees), -1, 2, 2)[trees, :, 1 - bit]
                told = (product.share ^ masked.value).numpy().view(np.uint64)
                nodes[trees, 2 * at + 1 - bit] = told ^ np.bitwise_xor.reduce(side, axis=1)
                at = 2 * at + bit
            self._leaves = nodes
        return self._leaves

    def _sums(self, first: int, last: int, words: int, word: Any, start: int) -> tuple[Words, Words]:
        """U and V of the trees of some digits."""
        leaves, at = self._known(), first * self._count
        return self._trees.sums(leaves[at : last * self._count], at << self._depth, words, word, start)


class VectorProduct:
    """What `Scalars.times` gives: `share` [count, words] int64, at the party with the vectors at once, at the chooser
    after the next exchange."""

    def __init__(self, made: Callable[[], Tensor]) -> None:
        self._made: Callable[[], Tensor] | None = made
        self._share: Tensor | None = None

    @property
    def share(self) -> Tensor:
        if self._share is None:
            assert self._made is not None
            self._share, self._made = self._made(), None
        return self._share
