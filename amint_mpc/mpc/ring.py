"""Exact products in Z_2^64 on the CPU, from float64 matrix products.

torch multiplies int64 matrices with a scalar loop; BLAS on float64 is many times faster and exact while every sum
stays below 2^53. So operands are split into limbs with signs, few enough bits each that this always holds (the
idea is CrypTen's `CUDALongTensor`; the bound on the inner dimension, which that class lacks, is kept here by
summing over blocks of it).
"""

from __future__ import annotations

import torch
from torch import Tensor

_BLOCK = 1024  # inner dimension of one exact float64 product
SMALL_LIMIT = 2**11  # |entries| up to which `small_matmul` is exact


def _signed_low(x: Tensor, bits: int) -> Tensor:
    """The low bits of x as a signed number."""
    return (x << (64 - bits)) >> (64 - bits)


def _limbs(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """x = l0 + 2^22 l1 + 2^43 l2 mod 2^64 with |l0| <= 2^21 and |l1|, |l2| <= 2^20."""
    low = _signed_low(x, 22)
    rest = (x - low) >> 22
    middle = _signed_low(rest, 21)
    high = _signed_low((rest - middle) >> 21, 21)
    return low.double(), middle.double(), high.double()


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """a @ b mod 2^64.

    Args:
        a: [n, k] int64. b: [k, m] int64.
    """
    total = torch.zeros(a.shape[0], b.shape[1], dtype=torch.int64)
    for start in range(0, a.shape[1], _BLOCK):
        a0, a1, a2 = _limbs(a[:, start : start + _BLOCK])
        b0, b1, b2 = _limbs(b[start : start + _BLOCK])
        # sums stay below 2^42 k, 2^42 k and 1.5 * 2^42 k: under 2^53 for k <= 1024
        total += (a0 @ b0).long()
        total += (a0 @ b1).addmm_(a1, b0).long() << 22
        total += (a0 @ b2).addmm_(a2, b0).addmm_(a1, b1, alpha=2).long() << 43
    return total


def small_matmul(a: Tensor, b: Tensor) -> Tensor:
    """a @ b mod 2^64 where every |entry of a| <= SMALL_LIMIT: a third of the work of `matmul`.

    Args:
        a: [n, k] float64, whole numbers. b: [k, m] int64.
    """
    total = torch.zeros(a.shape[0], b.shape[1], dtype=torch.int64)
    for start in range(0, a.shape[1], _BLOCK):
        part = b[start : start + _BLOCK]
        low = _signed_low(part, 32)
        left = a[:, start : start + _BLOCK]
        total += (left @ low.double()).long()
        total += (left @ ((part - low) >> 32).double()).long() << 32
    return total


def logical_shift(x: Tensor, bits: int) -> Tensor:
    """x >> bits with zeros shifted in (torch's >> copies the sign), 0 < bits < 64."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)
