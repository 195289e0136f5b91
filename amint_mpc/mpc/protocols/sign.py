"""The sign of a masked number from dealt tables, element by element: in C (`_sign.c`) if it was built, else in torch.

A window of 24 bits, LOW_BIT to LOW_BIT + 23, is read in six chunks of four bits. For y = c - r, "negative" is

    plain ^ E (lt4 ^ eq4 (lt3 ^ eq3 (lt2 ^ eq2 (lt1 ^ eq1 lt0))))

with plain the top bit of the top chunk of c - r, E whether a borrow changes it, and lt, eq whether the chunks of c
below are less than those of r, or equal. The wide gate evaluates the formula in its normal form: with x = d ^ m, the
product of x over a term T is the sum over S in T of (d over T - S) times (m over S). `relu` says who knows what of
this.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import torch
from torch import Tensor

from amint_mpc.mpc.ring import native
from amint_mpc.mpc.ring.fixed_point import Y_BITS

LOW_BIT = Y_BITS - 12
UPPER = 5  # chunks above the lowest
INPUTS = 10
"""Of the gate, by bit: E 0, lt4 1, eq4 2, lt3 3, eq3 4, lt2 5, eq2 6, lt1 7, eq1 8, lt0 9."""
WORDS = 3  # of 32 bits, one for each product of masks
_TERMS = (0b11, 0b1101, 0b110101, 0b11010101, 0b1101010101)
_SHIFTS = torch.tensor([4 * k for k in range(UPPER + 1)], dtype=torch.int32)[:, None, None]


def _chunk_tables() -> tuple[Tensor, Tensor, Tensor]:
    """For each value r of a dealt chunk, a table over the public chunk c: bits 16 + c and c of a 32-bit word.

    Chunks between: [c < r] and [c = r]. Top chunk: bit 3 of c - r, and whether a borrow changes it. The lowest chunk
    needs [c < r] alone: bit c of a 16-bit word.
    """
    between, top, lowest = [], [], []
    for r in range(16):
        less = sum((c < r) << c for c in range(16))
        lowest.append(less)
        between.append(less << 16 | 1 << r)
        plain = [((c - r) & 15) >> 3 for c in range(16)]
        borrowed = [((c - r - 1) & 15) >> 3 for c in range(16)]
        top.append(sum(plain[c] << (16 + c) | (plain[c] ^ borrowed[c]) << c for c in range(16)))
    words = torch.from_numpy(np.array([between, top], dtype=np.uint32).view(np.int32))
    return words[0], words[1], torch.from_numpy(np.array(lowest, dtype=np.uint16).view(np.int16))


def _gate_tables() -> tuple[Tensor, Tensor]:
    """For each value of the ten bits: which products of masks count, and which are one. [1024, WORDS] each."""
    products = sorted({s for term in _TERMS for s in range(2**INPUTS) if s & ~term == 0})
    assert len(products) <= 32 * WORDS
    values = np.arange(2**INPUTS)
    counts = np.zeros((2**INPUTS, 32 * WORDS), dtype=np.uint8)
    ones = np.zeros((2**INPUTS, 32 * WORDS), dtype=np.uint8)
    for k, s in enumerate(products):
        ones[:, k] = (values & s) == s
        for term in _TERMS:
            if s & ~term == 0:
                counts[:, k] ^= (values & (term & ~s)) == (term & ~s)
    words = [torch.from_numpy(np.packbits(t, axis=1).view(np.int32).copy()) for t in (counts, ones)]
    return words[0], words[1]


BETWEEN, TOP, LOWEST = _chunk_tables()
_COUNTS, _ONES = _gate_tables()


def tables(r: Tensor) -> tuple[Tensor, Tensor]:
    """The dealer's tables for masks r [n, h]: [UPPER, n, h] int32, the top chunk's last; the lowest's, [n, h] int16."""
    _check(r, r.shape, torch.int64)
    if native.USED:
        table = torch.empty(UPPER, *r.shape, dtype=torch.int32)
        lowest = torch.empty(r.shape, dtype=torch.int16)
        native.call("sign_tables", r, r.numel(), LOW_BIT, BETWEEN, TOP, LOWEST, table, lowest)
        return table, lowest
    chunks = _chunks(r).long()
    return torch.cat([BETWEEN[chunks[1:-1]], TOP[chunks[-1:]]]), LOWEST[chunks[0]]


def mask_products(mask: Tensor) -> Tensor:
    """The dealer's products of the masks of the gate's inputs, [n, h, WORDS] int32. mask: [n, h] int16."""
    _check(mask, mask.shape, torch.int16)
    if native.USED:
        words = torch.empty(*mask.shape, WORDS, dtype=torch.int32)
        native.call("sign_words", mask, mask.numel(), _ONES, words)
        return words
    return _ONES[_ten_bits(mask)]


def gate_inputs(c: Tensor, table: Tensor, lowest: Tensor) -> tuple[Tensor, Tensor]:
    """Shares of the ten inputs of the gate [n, h] int16, and of plain [n, h] uint8, at the public c [n, h]."""
    _check(c, c.shape, torch.int64)
    _check(table, (UPPER, *c.shape), torch.int32)
    _check(lowest, c.shape, torch.int16)
    if native.USED:
        bits, plain = torch.empty(c.shape, dtype=torch.int16), torch.empty(c.shape, dtype=torch.uint8)
        native.call("sign_inputs", c, c.numel(), LOW_BIT, table, lowest, bits, plain)
        return bits, plain
    chunks = _chunks(c)
    found = (table >> chunks[1:]) & 0x00010001
    bits = found[-1] & 1
    for position, chunk in ((1, 3), (3, 2), (5, 1), (7, 0)):
        both = (found[chunk] >> 16) | (found[chunk] << 1)  # lt, then eq; the spare bit 17 is cut off below
        bits |= (both & 3) << position
    bits |= ((lowest.int() >> chunks[0]) & 1) << (INPUTS - 1)
    return bits.to(torch.int16), (found[-1] >> 16).to(torch.uint8)


def gate_output(opened: Tensor, words: Tensor) -> Tensor:
    """Share of the gate, [n, h] uint8. opened: [n, h] int16, ten bits of which count. words: of `mask_products`."""
    _check(opened, opened.shape, torch.int16)
    _check(words, (*opened.shape, WORDS), torch.int32)
    if native.USED:
        share = torch.empty(opened.shape, dtype=torch.uint8)
        native.call("sign_gate", opened, opened.numel(), _COUNTS, words, share)
        return share
    counted = _COUNTS[_ten_bits(opened)] & words
    x = counted[..., 0] ^ counted[..., 1] ^ counted[..., 2]
    for shift in (16, 8, 4, 2, 1):
        x = x ^ (x >> shift)
    return (x & 1).to(torch.uint8)


def pack(bits: Tensor) -> Tensor:
    """Bits, uint8 of any shape, eight to a byte, the first one highest."""
    return torch.from_numpy(np.packbits(bits.numpy(), axis=None))


def unpack(packed: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The bits of `pack`, as bool."""
    bits: Tensor = torch.from_numpy(np.unpackbits(packed.numpy(), count=prod(shape)))
    return bits.bool().reshape(shape)


def _check(x: Tensor, shape: Sequence[int], dtype: torch.dtype) -> None:
    """The functions in C read memory as they are told: nothing else may reach them."""
    if (tuple(x.shape), x.dtype, x.device.type) != (tuple(shape), dtype, "cpu"):
        raise ValueError(f"{dtype} {tuple(shape)} on the CPU is expected here, not {x.dtype} {tuple(x.shape)}")


def _chunks(x: Tensor) -> Tensor:
    """[n, h] -> [UPPER + 1, n, h] int32, the lowest first."""
    return (((x >> LOW_BIT) & 0xFFFFFF).to(torch.int32) >> _SHIFTS) & 15


def _ten_bits(words: Tensor) -> Tensor:
    return words.long().bitwise_and_(2**INPUTS - 1)
