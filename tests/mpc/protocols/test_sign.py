"""The element by element part of the comparison: the functions in C give bit for bit what torch gives, and both are the
sign of c - r."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from amint_mpc.mpc.protocols import sign
from amint_mpc.mpc.ring import native
from tests.mpc.cases import ring

EDGES = [0, 1, -1, 2**26 - 1, 2**26, -(2**26), 2**49, -(2**49), 2**50 - 1, 2**50, 2**63 - 1, -(2**63)]
SHAPES = [(0, 3), (1, 1), (3, 5), (40, 60)]
HAS_C = pytest.mark.skipif(not native.USED, reason="the functions in C were not built")


@pytest.fixture(params=["torch", pytest.param("C", marks=HAS_C)])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(native, "USED", request.param == "C")
    return str(request.param)


def values(shape: tuple[int, int], seed: int) -> Tensor:
    x = ring(shape, torch.Generator().manual_seed(seed)).reshape(-1)
    x[: len(EDGES)] = torch.tensor(EDGES)[: len(x)]
    return x.reshape(shape)


def all_of_it(shape: tuple[int, int]) -> list[Tensor]:
    """What each function gives for random arguments, whatever they mean."""
    r, c = values(shape, 1), values(shape, 2)
    mask, opened = c.to(torch.int16), (r >> 7).to(torch.int16)
    table, lowest = sign.tables(r)
    words = sign.mask_products(mask)
    bits, plain = sign.gate_inputs(c, table, lowest)
    return [table, lowest, words, bits, plain, sign.gate_output(opened, words)]


@HAS_C
@pytest.mark.parametrize("shape", SHAPES)
def test_c_and_torch_give_the_same(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for native_too in (True, False):
        monkeypatch.setattr(native, "USED", native_too)
        found.append(all_of_it(shape))
    for one, other in zip(*found, strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("shape", SHAPES)
def test_tables_and_gate_give_the_sign_of_the_window(shape: tuple[int, int]) -> None:
    """With whole tables in place of shares: bit 23 of the difference of the windows of c and r."""
    r, c = values(shape, 3), values(shape, 4)
    mask = ring(shape, torch.Generator().manual_seed(5)).to(torch.int16)  # more bits than count
    bits, plain = sign.gate_inputs(c, *sign.tables(r))
    negative = plain ^ sign.gate_output(bits ^ mask, sign.mask_products(mask))
    window = ((c >> sign.LOW_BIT) & 0xFFFFFF) - ((r >> sign.LOW_BIT) & 0xFFFFFF)
    assert torch.equal(negative.long(), (window >> 23) & 1)


@pytest.mark.usefixtures("path")
def test_views_that_are_parts_of_others() -> None:
    whole = values((40, 60), 6)
    for c in (whole[::2, ::3], whole.T, whole[:1].expand(7, 60)):
        table, lowest = sign.tables(c)
        again = sign.tables(c.contiguous())
        assert torch.equal(table, again[0])
        assert torch.equal(lowest, again[1])


@pytest.mark.usefixtures("path")
def test_arguments_that_do_not_fit_are_refused() -> None:
    c, mask = values((4, 5), 1), values((4, 5), 2).to(torch.int16)
    table, lowest = sign.tables(c)
    words = sign.mask_products(mask)
    for call in (
        lambda: sign.tables(c.int()),
        lambda: sign.mask_products(c),
        lambda: sign.gate_inputs(c[1:], table, lowest),
        lambda: sign.gate_inputs(c, table[1:], lowest),
        lambda: sign.gate_inputs(c, table, lowest[1:]),
        lambda: sign.gate_output(mask[1:], words),
        lambda: sign.gate_output(mask, words.long()),
        lambda: sign.gate_output(mask.to("meta"), words),
    ):
        with pytest.raises(ValueError, match="is expected here"):
            call()


@pytest.mark.parametrize("shape", SHAPES)
def test_packed_bits_come_back(shape: tuple[int, int]) -> None:
    bits = (values(shape, 7) & 1).to(torch.uint8)
    packed = sign.pack(bits)
    assert packed.shape == (-(-bits.numel() // 8),)
    assert torch.equal(sign.unpack(packed, shape), bits.bool())
