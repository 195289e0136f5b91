"""Sigmoid of shared logits by one-time tables, saturating over the whole stated range.

Input: z [n], additively shared, Z_BITS fractional bits, |z| < fixed_point.Z_LIMIT. Output: shares of p with
VALUE_BITS fractional bits.
Source: one-time truth tables (Ishai et al. 2013, "On the power of correlated randomness", section 3), looked up at a
masked index; the random rounding of the index makes the result unbiased between the grid points.

Steps
    1. open c = z + r. t = 4 c + 2^58 is z + 16, at INPUT_BITS, under the mask 4 r. A low index, bits of t from
       LOW_SHIFT on, has steps of 1/16 and covers [-16, 16); a high one, the bits from HIGH_SHIFT on, has steps of 4
       and covers the ring. The index of the mask is the sum of those of its two shares, each cut for itself, so that
       each party knows its part. The secret index, t's less the mask's, is then z in steps, plus two uniform numbers
       of [0, 1), rounded down: on average half a step more than z, and less than one and a half steps from that.
    2. each party looks its XOR share of the value (VALUE_BITS) and of two class bits (middle, high) up at the public
       index, in tables that are rotated by the index of the mask. Open those bits under one-time bits.
       p = high + middle * value, a polynomial in opened bits whose mask products were dealt.
Who learns what: c and the masked bits, all uniform.
Error: mean over the rounding: |E p - sigmoid(z)| <= 2^-11 (table 2^-15, interpolation 2^-14, saturation 2^-11.5);
one draw: at most 3/128 more, for one and a half steps of the table. Saturates to 0 and 1 beyond |z| = 16; between 8 and
16 it may already have.
Rounds: 2. Bytes, each party: 10 n; dealer 1,520 n.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from amint_mpc.mpc import DEVELOPER
from amint_mpc.mpc.correlations.base import Field, Material
from amint_mpc.mpc.protocols.rounds import InRounds, Rounds
from amint_mpc.mpc.ring import fixed_point as fp
from amint_mpc.mpc.ring.products import logical_shift

INPUT_BITS = fp.Z_BITS + 2
_SPARE = INPUT_BITS - fp.Z_BITS
VALUE_BITS = fp.G_BITS
LOW_SHIFT, LOW_SIZE = INPUT_BITS - 4, 512
HIGH_SHIFT, HIGH_SIZE = INPUT_BITS + 2, 256
_CENTRE = 16 << INPUT_BITS
_MIDDLE, _HIGH = VALUE_BITS, VALUE_BITS + 1  # bit numbers of the classes behind those of the value
_BITS = VALUE_BITS + 2  # as many as an int16 has


def _value_table() -> Tensor:
    """An entry is the value half a step below its index, for the index is half a step too high on average."""
    grid = (torch.arange(LOW_SIZE, dtype=torch.float64) - LOW_SIZE // 2 - 0.5) / 16
    return torch.round(torch.sigmoid(grid) * 2**VALUE_BITS).clamp(max=2**VALUE_BITS - 1).to(torch.int16)


def _class_table() -> Tensor:
    """Bits middle and high by high index, the middle being those of [-8, 16): an index may be two too high, so that
    [-8, 8) always falls into it, and what is outside [-16, 16) never does."""
    table = torch.zeros(HIGH_SIZE, dtype=torch.uint8)
    table[2:8] = 1
    table[8 : HIGH_SIZE // 2 + 2] = 2
    return table


def _rotations(table: Tensor) -> Tensor:
    """Row k is the table moved k places to the right."""
    return torch.stack([table.roll(k) for k in range(len(table))])


VALUES, CLASSES = _value_table(), _class_table()
_ROTATED = _rotations(VALUES), _rotations(CLASSES)


@dataclass(frozen=True)
class SigmoidTables:
    """Rotated tables and the bits that mask what is looked up in them."""

    rows: int

    @property
    def fields(self) -> Mapping[str, Field]:
        n = self.rows
        return {
            "r": Field((n,)),
            "values": Field((n, LOW_SIZE), torch.int16, corrected=True),
            "classes": Field((n, HIGH_SIZE), torch.uint8, corrected=True),
            "flip": Field((n,), torch.int16),
            "bits": Field((n, _BITS), corrected=True),
            "products": Field((n, VALUE_BITS), corrected=True),
        }

    def corrections(self, developer: Material, auditor: Material) -> dict[str, Tensor]:
        values, classes = (
            table[sum(mask_index(m["r"], shift, len(table)) for m in (developer, auditor)) % len(table)]
            for table, shift in zip(_ROTATED, (LOW_SHIFT, HIGH_SHIFT), strict=True)
        )
        bits = unpack(developer["flip"] ^ auditor["flip"])
        return {
            "values": values.bitwise_xor_(auditor["values"]),
            "classes": classes.bitwise_xor_(auditor["classes"]),
            "bits": bits - auditor["bits"],
            "products": bits[:, :VALUE_BITS] * bits[:, _MIDDLE, None] - auditor["products"],
        }


def mask_index(r: Tensor, shift: int, size: int) -> Tensor:
    """The index of one party's share of the mask. shift, size: of the table."""
    return logical_shift(r << _SPARE, shift) % size


def unpack(words: Tensor) -> Tensor:
    """[n] int16 -> [n, 16] int64 of zeros and ones."""
    return (words[:, None].long() >> torch.arange(_BITS)) & 1


def sigmoid(rounds: Rounds, material: Material, z: Tensor) -> InRounds[Tensor]:
    """Both steps.

    Args:
        z: share, [n], Z_BITS.

    Returns:
        share of sigmoid(z), [n], VALUE_BITS.
    """
    public, row = (1 if rounds.party == DEVELOPER else 0), torch.arange(len(z))
    # step 1
    opened = rounds.open(z + material["r"])
    yield
    # step 2
    t = (opened.value << _SPARE) + _CENTRE
    value = material["values"][row, logical_shift(t, LOW_SHIFT) % LOW_SIZE] & (2**VALUE_BITS - 1)
    kind = material["classes"][row, logical_shift(t, HIGH_SHIFT)] & 3
    opened_bits = rounds.open_bits((value | (kind.to(torch.int16) << _MIDDLE)) ^ material["flip"])
    yield
    v = unpack(opened_bits.value)
    bits, products, flips = material["bits"], material["products"], 1 - 2 * v
    vb, vm = v[:, :VALUE_BITS], v[:, _MIDDLE, None]
    sb, sm = flips[:, :VALUE_BITS], flips[:, _MIDDLE, None]
    both = (  # bit * middle with bit = vb + sb * beta, middle = vm + sm * mu
        public * vb * vm + vb * sm * bits[:, _MIDDLE, None] + sb * vm * bits[:, :VALUE_BITS] + sb * sm * products
    )
    high = public * v[:, _HIGH] + flips[:, _HIGH] * bits[:, _HIGH]
    return (high << VALUE_BITS) + (both << torch.arange(VALUE_BITS)).sum(dim=1)
