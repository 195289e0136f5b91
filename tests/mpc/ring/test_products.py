"""Products in Z_2^64 are exact, compared with Python's integers, on every path that this machine has."""

from __future__ import annotations

import os
import shutil
from typing import Any

import pytest
import torch
from torch import Tensor

from amint_mpc.mpc.ring import native
from amint_mpc.mpc.ring.products import SMALL_LIMIT, logical_shift, matmul, small_matmul
from tests.mpc.cases import ring

LOWEST, HIGHEST = -(2**63), 2**63 - 1
SHAPES = [(1, 1, 1), (3, 5, 7), (1, 1023, 2), (2, 1024, 3), (3, 1025, 1), (2, 2049, 2), (17, 33, 9), (65, 127, 129)]
EMPTY = [(2, 0, 3), (0, 4, 3), (2, 4, 0), (0, 0, 0)]
EXTREMES = [LOWEST, HIGHEST, LOWEST + 1, -1, 0, 1, 2**21 - 1, 2**21, -(2**21), 2**22, 2**42, 2**43 - 1, 2**62, -(2**31)]


PATHS: list[Any] = ["float64", *(kernel for kernel in native.KERNELS if native.runs(kernel))]
if not native.USED:
    PATHS.append(pytest.param("native", marks=pytest.mark.skip(reason="the C kernel was not built")))


def use(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Products go through float64, or one kernel of `native.KERNELS`."""
    monkeypatch.setattr(native, "USED", path != "float64")
    if path != "float64":
        monkeypatch.setattr(native, "KERNEL", native.KERNELS.index(path))


@pytest.fixture(params=PATHS)
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    use(request.param, monkeypatch)


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler here")
@pytest.mark.skipif("AMINT_MPC_NO_NATIVE" in os.environ, reason="AMINT_MPC_NO_NATIVE is set")
def test_the_kernel_is_there_where_a_compiler_is() -> None:
    """Should this fail: the package was installed before the compiler was, `pip install` it again."""
    assert native.USED


def test_the_kernel_can_be_left_unused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMINT_MPC_NO_NATIVE", "1")
    assert native.load() is None


def exact(a: Tensor, b: Tensor) -> Tensor:
    """a @ b by Python's integers, mod 2^64, as signed numbers."""
    left, right = a.tolist(), b.T.tolist()
    sums = [[sum(x * y for x, y in zip(row, column, strict=True)) for column in right] for row in left]
    return torch.tensor([[wrapped(value) for value in row] for row in sums], dtype=torch.int64).reshape(
        a.shape[0], b.shape[1]
    )


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("shape", SHAPES + EMPTY)
def test_matmul_of_uniform_entries(shape: tuple[int, int, int]) -> None:
    n, k, m = shape
    generator = torch.Generator().manual_seed(k)
    a, b = ring((n, k), generator), ring((k, m), generator)
    expected = exact(a, b)
    assert torch.equal(matmul(a, b), expected)
    turned_a, turned_b = a.T.contiguous().T, b.T.contiguous().T
    assert torch.equal(matmul(a, turned_b), expected)
    assert torch.equal(matmul(turned_a, b), expected)
    assert torch.equal(matmul(turned_a, turned_b), expected)


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("n", [1, 3, 7, 127])
@pytest.mark.parametrize("k", [1, 5, 129, 1025])
@pytest.mark.parametrize("m", [1, 7, 129])
def test_matmul_of_odd_sizes(n: int, k: int, m: int) -> None:
    """Against torch's own product of int64, which is slow and wraps."""
    generator = torch.Generator().manual_seed(n + k + m)
    a, b = ring((n, k), generator), ring((k, m), generator)
    assert torch.equal(matmul(a, b), a @ b)
    assert torch.equal(matmul(b.T, a.T), (a @ b).T)


@pytest.mark.usefixtures("path")
def test_matmul_of_views_that_are_parts_of_others() -> None:
    whole = ring((40, 60), torch.Generator().manual_seed(1))
    a, b = whole[3:30:2, 5:35:3], whole[7:37:3, 11:].T[:30:2, :].T
    assert torch.equal(matmul(a, b), exact(a, b))
    repeated = whole[:1, :1].expand(30, 9)  # strides of 0
    assert torch.equal(matmul(whole[:, :30], repeated), exact(whole[:, :30], repeated))
    assert torch.equal(matmul(repeated.T, whole[:30]), exact(repeated.T, whole[:30]))


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("shape", SHAPES + EMPTY)
def test_a_product_is_added_in_place(shape: tuple[int, int, int]) -> None:
    n, k, m = shape
    generator = torch.Generator().manual_seed(k)
    a, b, onto = (ring(size, generator) for size in ((n, k), (k, m), (n, m)))
    small = torch.randint(-SMALL_LIMIT, SMALL_LIMIT + 1, (n, k), generator=generator)
    expected = onto + exact(a, b)
    assert matmul(a, b, onto) is onto
    assert torch.equal(onto, expected)
    expected += exact(small, b)
    assert small_matmul(small, b, onto) is onto
    assert torch.equal(onto, expected)


@pytest.mark.usefixtures("path")
def test_products_are_added_to_nothing_that_does_not_fit() -> None:
    a, b, onto = (torch.ones(size, dtype=torch.int64) for size in ((2, 3), (3, 4), (2, 4)))
    for product in (matmul, small_matmul):
        for wrong in (onto.int(), onto[:1], onto[0], torch.ones(4, 2, dtype=torch.int64).T, onto.to("meta")):
            with pytest.raises(ValueError, match="is added to"):
                product(a, b, wrong)


@pytest.mark.usefixtures("path")
def test_operands_that_do_not_fit_are_refused() -> None:
    a, b = torch.ones(2, 3, dtype=torch.int64), torch.ones(3, 4, dtype=torch.int64)
    for product in (matmul, small_matmul):
        for left, right in [(a, b.int()), (a.double(), b), (a, a), (a, b[0]), (a[None], b), (a.to("meta"), b)]:
            with pytest.raises(ValueError, match="product"):
                product(left, right)


@pytest.mark.usefixtures("path")
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


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("left", [LOW_LIMBS, HIGH_LIMBS])
@pytest.mark.parametrize("right", [LOW_LIMBS, HIGH_LIMBS])
def test_matmul_where_every_limb_is_at_its_limit(left: int, right: int) -> None:
    """These give the largest sums that the float64 products have to hold."""
    a, b = torch.full((3, 2048), left), torch.full((2048, 2), right)
    assert torch.equal(matmul(a, b), exact(a, b))


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("shape", SHAPES + EMPTY)
def test_small_matmul(shape: tuple[int, int, int]) -> None:
    n, k, m = shape
    generator = torch.Generator().manual_seed(k)
    a = torch.randint(-SMALL_LIMIT, SMALL_LIMIT + 1, (n, k), generator=generator)
    b = ring((k, m), generator)
    assert torch.equal(small_matmul(a, b), exact(a, b))


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("right", EXTREMES)
@pytest.mark.parametrize("left", [SMALL_LIMIT, -SMALL_LIMIT])
def test_small_matmul_where_all_entries_are_at_the_limit(left: int, right: int) -> None:
    a, b = torch.full((2, 3000), left), torch.full((3000, 2), right)
    assert torch.equal(small_matmul(a, b), exact(a, b))


def test_small_matmul_beyond_its_limit_is_not_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is there for a reason: this test fails when it could be raised."""
    use("float64", monkeypatch)
    generator = torch.Generator().manual_seed(0)
    a = torch.randint(2**14, 2**15, (20, 1024), generator=generator)
    b = torch.randint(2**30, 2**31, (1024, 20), generator=generator)
    assert not torch.equal(small_matmul(a, b), exact(a, b))


@pytest.mark.parametrize("bits", [1, 7, 32, 62, 63])
def test_logical_shift(bits: int) -> None:
    x = torch.cat([torch.tensor(EXTREMES), ring((100,), torch.Generator().manual_seed(bits))])
    assert logical_shift(x, bits).tolist() == [(value % 2**64) >> bits for value in x.tolist()]
