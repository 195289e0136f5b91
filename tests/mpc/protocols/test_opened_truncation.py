"""Truncation by opening under a mask: exact up to one unit, unbiased, and never wrong by more."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.protocols.opened_truncation import OpenedTruncationMasks, finish, mask
from tests.mpc.local_dealer import local_supplies

BITS = [1, 12, 16, 17, 32, 40, 62]


def share(x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    mine = torch.randint(-(2**63), 2**63 - 1, x.shape, generator=generator)
    return mine, x - mine


def truncate(x: Tensor, bits: int, seed: int = 0) -> Tensor:
    plan = {"t": OpenedTruncationMasks(tuple(x.shape), bits)}
    supplies = local_supplies([plan], seed)
    material = [supply.take(0, plan)["t"] for supply in supplies]
    shares = share(x, torch.Generator().manual_seed(seed))
    opened = mask(shares[0], material[0], DEVELOPER) + mask(shares[1], material[1], AUDITOR)
    return sum(finish(opened, material[party], bits, party) for party in (DEVELOPER, AUDITOR))  # type: ignore[return-value]


def values(count: int, seed: int) -> Tensor:
    """All magnitudes below 2^62, both signs, and the extremes."""
    generator = torch.Generator().manual_seed(seed)
    wide = torch.randint(-(2**62), 2**62, (count,), generator=generator)
    x = wide >> torch.randint(0, 62, (count,), generator=generator)
    edges = torch.tensor([0, 1, -1, 2**62 - 1, -(2**62), 2**61, -(2**61), 2**16, -(2**16), 2**16 - 1])
    x[: len(edges)] = edges
    return x


@pytest.mark.parametrize("bits", BITS)
def test_exact_up_to_one_unit(bits: int) -> None:
    x = values(20_000, bits)
    error = truncate(x, bits, bits) - (x >> bits)
    assert set(error.unique().tolist()) <= {0, 1}
    whole = x & ((1 << bits) - 1) == 0
    assert (error[whole] == 0).all()  # nothing dropped, nothing rounded


def test_unbiased() -> None:
    for fraction in (0.1, 0.5, 0.9):
        x = torch.full((200_000,), int((7 + fraction) * 2**16))
        mean = (truncate(x, 16) - 7).double().mean()
        assert abs(mean - fraction) < 5 * 0.5 / 200_000**0.5


def test_opened_value_is_uniform_and_masks_are_fresh() -> None:
    plan = {"t": OpenedTruncationMasks((100_000,), 16)}
    supplies = local_supplies([plan, plan])
    opened = []
    for step in range(2):
        developer, auditor = (supply.take(step, plan)["t"] for supply in supplies)
        zero = torch.zeros(100_000, dtype=torch.int64)
        opened.append(mask(zero, developer, DEVELOPER) + mask(zero, auditor, AUDITOR))
    assert (opened[0] != opened[1]).all()
    bits = (opened[0].unsqueeze(0) >> torch.arange(64).unsqueeze(1)) & 1
    assert ((bits.double().mean(dim=1) - 0.5).abs() < 5 * 0.5 / 100_000**0.5).all()


@pytest.mark.parametrize("bits", [0, 63])
def test_refuses_other_shifts(bits: int) -> None:
    with pytest.raises(ValueError, match="1 to 62"):
        OpenedTruncationMasks((1,), bits)
