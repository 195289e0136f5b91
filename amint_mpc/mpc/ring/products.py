"""Exact products in Z_2^64 on the CPU: by a kernel in C where it was built, else from float64 matrix products.

torch multiplies int64 matrices with a scalar loop; BLAS on float64 is many times faster and exact while every sum
stays below 2^53. So operands are split into limbs with signs, few enough bits each that this always holds (the
idea is CrypTen's `CUDALongTensor`; the bound on the inner dimension, which that class lacks, is kept here by
summing over blocks of it).
"""

from __future__ import annotations

import torch
from torch import Tensor

from amint_mpc.mpc.ring import native

_BLOCK = 1024  # inner dimension of one exact float64 product
SMALL_LIMIT = 2**11  # |entries| up to which `small_matmul` is exact


def _check(a: Tensor, b: Tensor, onto: Tensor | None) -> None:
    """The kernel reads memory as it is told: nothing else may reach it."""
    if not (a.dtype == b.dtype == torch.int64 and a.is_cpu and b.is_cpu):
        raise ValueError(f"ring products take int64 on the CPU, not {a.dtype} on {a.device}, {b.dtype} on {b.device}")
    if a.dim() != 2 or b.dim() != 2 or a.shape[1] != b.shape[0]:
        raise ValueError(f"there is no matrix product of {tuple(a.shape)} and {tuple(b.shape)}")
    if onto is not None and not (
        onto.dtype == torch.int64 and onto.is_cpu and onto.is_contiguous() and onto.shape == (a.shape[0], b.shape[1])
    ):
        raise ValueError(f"no product of {tuple(a.shape)} and {tuple(b.shape)} is added to {tuple(onto.shape)}")


def _limbs(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """x = l0 + 2^22 l1 + 2^43 l2 mod 2^64 with |l0| <= 2^21 and |l1|, |l2| <= 2^20.

    x + 2^21 + 2^42 mod 2^64 has the digits l0 + 2^21 in [0, 2^22), l1 + 2^20 in [0, 2^21) and, being the top 21 bits
    with their sign, l2 in [-2^20, 2^20).
    """
    y = x + ((1 << 21) + (1 << 42))
    low = (y & ((1 << 22) - 1)).double().sub_(1 << 21)
    middle = ((y >> 22) & ((1 << 21) - 1)).double().sub_(1 << 20)
    return low, middle, (y >> 43).double()


def matmul(a: Tensor, b: Tensor, onto: Tensor | None = None) -> Tensor:
    """a @ b mod 2^64.

    Args:
        a: [n, k] int64. b: [k, m] int64. Views, such as a transposed matrix, cost nothing.
        onto: [n, m] int64, contiguous: the product is added to it in place, and it is returned.

    Raises:
        ValueError: operands of another type, or of shapes that do not fit.
    """
    _check(a, b, onto)
    if native.USED:
        return native.matmul(a, b, onto)
    total = torch.zeros(a.shape[0], b.shape[1], dtype=torch.int64) if onto is None else onto
    for start in range(0, a.shape[1], _BLOCK):
        a0, a1, a2 = _limbs(a[:, start : start + _BLOCK])
        b0, b1, b2 = _limbs(b[start : start + _BLOCK])
        # sums stay below 2^42 k, 2^42 k and 1.5 * 2^42 k: under 2^53 for k <= 1024
        total += (a0 @ b0).long()
        total += (a0 @ b1).addmm_(a1, b0).long() << 22
        total += (a0 @ b2).addmm_(a2, b0).addmm_(a1, b1, alpha=2).long() << 43
    return total


def small_matmul(a: Tensor, b: Tensor, onto: Tensor | None = None) -> Tensor:
    """a @ b mod 2^64 where every |entry of a| <= SMALL_LIMIT: without the kernel, a third of the work of `matmul`.

    Args, Raises: see `matmul`.
    """
    _check(a, b, onto)
    if native.USED:
        return native.matmul(a, b, onto)
    total = torch.zeros(a.shape[0], b.shape[1], dtype=torch.int64) if onto is None else onto
    for start in range(0, a.shape[1], _BLOCK):
        left = a[:, start : start + _BLOCK].double()
        # b + 2^31 has the digits low + 2^31 in [0, 2^32) and high in [-2^31, 2^31); sums stay below 2^42 k
        y = b[start : start + _BLOCK] + (1 << 31)
        total += (left @ (y & ((1 << 32) - 1)).double().sub_(1 << 31)).long()
        total += (left @ (y >> 32).double()).long() << 32
    return total


def logical_shift(x: Tensor, bits: int) -> Tensor:
    """x >> bits with zeros shifted in (torch's >> copies the sign), 0 < bits < 64."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)
