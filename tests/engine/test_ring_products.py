"""Products in Z_2^64 are exact, compared with Python's integers."""

from __future__ import annotations

import pytest
import torch
from cases import ring
from torch import Tensor

from amint_mpc.mpc.ring import SMALL_LIMIT, logical_shift, matmul, small_matmul

LOWEST, HIGHEST = -(2**63), 2**63 - 1
SHAPES = [(1, 1, 1), (3, 5, 7), (1, 1023, 2), (2, 1024, 3), (3, 1025, 1), (2, 2049, 2), (17, 33, 9), (2, 0, 3)]
EXTREMES = [LOWEST, HIGHEST, LOWEST + 1, -1, 0, 1, 2**21 - 1, 2**21, -(2**21), 2**22, 2**42, 2**43 - 1, 2**62, -(2**31)]


def exact(a: Tensor, b: Tensor) -> Tensor:
    """a @ b by Python's integers, mod 2^64, as signed numbers."""
    left, right = a.tolist(), b.T.tolist()
    sums = [[sum(x * y for x, y in zip(row, column, strict=True)) for column in right] for row in left]
    return torch.tensor([[wrapped(value) for value in row] for row in sums], dtype=torch.int64).reshape(
        a.shape[0], b.shape[1]
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_matmul_of_uniform_entries(shape: tuple[int, int, int]) -> None:
    n, k, m = shape
    generator = torch.Generator().manual_seed(k)
    a, b = ring((n, k), generator), ring((k, m), generator)
    assert torch.equal(matmul(a, b), exact(a, b))
    assert torch.equal(matmul(a, b.T.contiguous().T), exact(a, b))  # strided operands too


@pytest.mark.parametrize("left", EXTREMES)
@pytest.mark.parametrize("inner", [1, 1024, 1500])
def test_matmul_of_extreme_entries(left: int, inner: int) -> None:
    a = torch.full((2, inner), left)
    for right in EXTREMES:
        b = torch.full((inner, 1), right)
        assert matmul(a, b)[0, 0] == wrapped(left * right * inner)


def wrapped(value: int) -> int:
    return (value + 2**63) % 2**64 - 2**63


LOW_LIMBS = wrapped(-(2**21) - (2**20 << 22) - (2**20 << 43))
HIGH_LIMBS = (2**21 - 1) + ((2**20 - 1) << 22) + ((2**20 - 1) << 43)


@pytest.mark.parametrize("left", [LOW_LIMBS, HIGH_LIMBS])
@pytest.mark.parametrize("right", [LOW_LIMBS, HIGH_LIMBS])
def test_matmul_where_every_limb_is_at_its_limit(left: int, right: int) -> None:
    """These give the largest sums that the float64 products have to hold."""
    a, b = torch.full((3, 2048), left), torch.full((2048, 2), right)
    assert torch.equal(matmul(a, b), exact(a, b))


@pytest.mark.parametrize("shape", SHAPES)
def test_small_matmul(shape: tuple[int, int, int]) -> None:
    n, k, m = shape
    generator = torch.Generator().manual_seed(k)
    a = torch.randint(-SMALL_LIMIT, SMALL_LIMIT + 1, (n, k), generator=generator)
    b = ring((k, m), generator)
    assert torch.equal(small_matmul(a.double(), b), exact(a, b))


@pytest.mark.parametrize("right", EXTREMES)
@pytest.mark.parametrize("left", [SMALL_LIMIT, -SMALL_LIMIT])
def test_small_matmul_where_all_entries_are_at_the_limit(left: int, right: int) -> None:
    a, b = torch.full((2, 3000), left), torch.full((3000, 2), right)
    assert torch.equal(small_matmul(a.double(), b), exact(a, b))


def test_small_matmul_beyond_its_limit_is_not_exact() -> None:
    """The limit is there for a reason: this test fails when it could be raised."""
    generator = torch.Generator().manual_seed(0)
    a = torch.randint(2**14, 2**15, (20, 1024), generator=generator)
    b = torch.randint(2**30, 2**31, (1024, 20), generator=generator)
    assert not torch.equal(small_matmul(a.double(), b), exact(a, b))


@pytest.mark.parametrize("bits", [1, 7, 32, 62, 63])
def test_logical_shift(bits: int) -> None:
    x = torch.cat([torch.tensor(EXTREMES), ring((100,), torch.Generator().manual_seed(bits))])
    assert logical_shift(x, bits).tolist() == [(value % 2**64) >> bits for value in x.tolist()]
