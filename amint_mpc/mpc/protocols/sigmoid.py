"""Sigmoid of shared logits by one-time tables, saturating over the whole stated range.

Input: z [n], additively shared, 54 fractional bits, |z| < 496. Output: shares of p with 14 fractional bits.
Source: one-time truth tables (Ishai et al. 2013, "On the power of correlated randomness", section 3), looked up at a
masked index; the random rounding of the index makes the result unbiased between the grid points.

Steps
    1. open t = z + 16 + r. The low index (t >> 50) mod 512 has steps of 1/16 and covers [-16, 16); the high index
       t >> 57 has steps of 8 and covers the ring. Because r is uniform below each cut, the secret index is z rounded
       up or down with the right probabilities.
    2. each party looks its XOR share of the value (14 bits) and of two class bits (middle, high) up at the public
       index, in tables that the dealer rotated by r. Open those 16 bits under one-time bits.
       p = high + middle * value, a polynomial in opened bits whose mask products were dealt.
Who learns what: t and the 16 masked bits, all uniform.
Error: mean over the rounding: |E p - sigmoid(z)| <= 2^-11 (table 2^-15, interpolation 2^-14, saturation 2^-11.5);
one draw: at most 1/64 more. Saturates to 0 and 1 beyond |z| = 16; between 8 and 16 it may already have.
Rounds: 2. Bytes, each party: 10 n; dealer 1,392 n.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from amint_mpc.mpc import DEVELOPER
from amint_mpc.mpc.correlations.base import Field, Material
from amint_mpc.mpc.protocols.rounds import Rounds
from amint_mpc.mpc.ring.products import logical_shift

INPUT_BITS = 54
VALUE_BITS = 14
_LOW_SHIFT, _LOW_SIZE = INPUT_BITS - 4, 512
_HIGH_SHIFT, _HIGH_SIZE = INPUT_BITS + 3, 128
_CENTRE = 16 << INPUT_BITS
_MIDDLE, _HIGH = VALUE_BITS, VALUE_BITS + 1  # bit numbers of the classes behind those of the value
_BITS = VALUE_BITS + 2  # as many as an int16 has


def _value_table() -> Tensor:
    grid = (torch.arange(_LOW_SIZE, dtype=torch.float64) - _LOW_SIZE // 2) / 16
    return torch.round(torch.sigmoid(grid) * 2**VALUE_BITS).clamp(max=2**VALUE_BITS - 1).to(torch.int16)


def _class_table() -> Tensor:
    """Bits middle and high by high index: with random rounding up, [-8, 8) always falls into the middle class,
    and what is outside [-16, 16) never does."""
    table = torch.zeros(_HIGH_SIZE, dtype=torch.uint8)
    table[1:4] = 1
    table[4 : _HIGH_SIZE // 2 + 2] = 2
    return table


def _rotations(table: Tensor) -> Tensor:
    """Row k is the table moved k places to the right."""
    return torch.stack([table.roll(k) for k in range(len(table))])


_VALUES, _CLASSES = _rotations(_value_table()), _rotations(_class_table())


@dataclass(frozen=True)
class SigmoidTables:
    """Rotated tables and the bits that mask what is looked up in them."""

    rows: int

    @property
    def fields(self) -> Mapping[str, Field]:
        n = self.rows
        return {
            "r": Field((n,)),
            "values": Field((n, _LOW_SIZE), torch.int16, corrected=True),
            "classes": Field((n, _HIGH_SIZE), torch.uint8, corrected=True),
            "flip": Field((n,), torch.int16),
            "bits": Field((n, _BITS), corrected=True),
            "products": Field((n, VALUE_BITS), corrected=True),
        }

    def corrections(self, developer: Material, auditor: Material) -> dict[str, Tensor]:
        r = developer["r"] + auditor["r"]
        values = _VALUES[logical_shift(r, _LOW_SHIFT) % _LOW_SIZE]
        classes = _CLASSES[logical_shift(r, _HIGH_SHIFT)]
        bits = _unpack(developer["flip"] ^ auditor["flip"])
        return {
            "values": values.bitwise_xor_(auditor["values"]),
            "classes": classes.bitwise_xor_(auditor["classes"]),
            "bits": bits - auditor["bits"],
            "products": bits[:, :VALUE_BITS] * bits[:, _MIDDLE, None] - auditor["products"],
        }


def _unpack(words: Tensor) -> Tensor:
    """[n] int16 -> [n, 16] int64 of zeros and ones."""
    return (words[:, None].long() >> torch.arange(_BITS)) & 1


class Sigmoid:
    """One step of the protocol, at one party."""

    def __init__(self, rounds: Rounds, material: Material) -> None:
        self._rounds, self._m = rounds, material

    def post(self, z: Tensor) -> None:
        """Step 1. z: share, [n], INPUT_BITS fractional bits."""
        centre = _CENTRE if self._rounds.party == DEVELOPER else 0
        self._t = self._rounds.open(z + centre + self._m["r"])

    def post_bits(self) -> None:
        """Step 2."""
        t, rows = self._t.value, torch.arange(self._t.value.shape[0])
        value = self._m["values"][rows, logical_shift(t, _LOW_SHIFT) % _LOW_SIZE] & (2**VALUE_BITS - 1)
        kind = self._m["classes"][rows, logical_shift(t, _HIGH_SHIFT)] & 3
        looked_up = value | (kind.to(torch.int16) << _MIDDLE)
        self._opened = self._rounds.open_bits(looked_up ^ self._m["flip"])

    def value(self) -> Tensor:
        """Share of sigmoid(z), [n], VALUE_BITS fractional bits."""
        v = _unpack(self._opened.value)
        bits, products = self._m["bits"], self._m["products"]
        public = 1 if self._rounds.party == DEVELOPER else 0
        sign = 1 - 2 * v
        vb, vm = v[:, :VALUE_BITS], v[:, _MIDDLE, None]
        sb, sm = sign[:, :VALUE_BITS], sign[:, _MIDDLE, None]
        both = (  # bit * middle with bit = vb + sb * beta, middle = vm + sm * mu
            public * vb * vm + vb * sm * bits[:, _MIDDLE, None] + sb * vm * bits[:, :VALUE_BITS] + sb * sm * products
        )
        high = public * v[:, _HIGH] + sign[:, _HIGH] * bits[:, _HIGH]
        return (high << VALUE_BITS) + (both << torch.arange(VALUE_BITS)).sum(dim=1)
