"""Sums of squares from openings under masks: of numbers close to the real ones, and exact in the ring."""

from __future__ import annotations

import pytest
import torch

from amint_mpc.limits import blocks
from amint_mpc.mpc.correlations.base import MaskRef, Plan
from amint_mpc.mpc.protocols.relu import ReluMasks, block_sums
from amint_mpc.mpc.protocols.squares import SquaresMasks, mask_squares, value_squares
from tests.mpc.cases import ring
from tests.mpc.local_dealer import local_supplies


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("shift", [0, 1, 20, 36])
def test_squares_are_of_numbers_less_than_two_units_away(shift: int, sign: int) -> None:
    generator = torch.Generator().manual_seed(shift)
    y = torch.randint(-(2**41), 2**41, (5000,), generator=generator) >> torch.randint(
        0, 40, (5000,), generator=generator
    )
    masks = [ring((5000,), generator) for _ in range(2)]
    c = y - sign * (masks[0] + masks[1])
    found = mask_squares(*masks, shift) + sum(value_squares(c, m, shift, sign, p) for p, m in enumerate(masks))
    kept = 65 - shift if shift else 64
    squares = found << (64 - kept) if kept < 64 else found
    if shift >= 20:  # the square of a rounded number fits
        root = (squares >> (64 - kept)).double().sqrt().round()
        assert torch.equal(root.long() ** 2, squares >> (64 - kept))
        assert ((root - (y.double() / 2.0**shift).abs()).abs() < 2).all()
    elif shift == 0:
        assert torch.equal(squares, y * y)


@pytest.mark.parametrize(("rows", "hidden"), [(1, 1), (5, 3), (300, 4)])
def test_what_is_dealt_are_the_sums_of_the_squares_of_the_masks(rows: int, hidden: int) -> None:
    squares = SquaresMasks(rows, hidden, MaskRef("relu", "rho"), MaskRef("relu", "r"), 4, 20)
    plan: Plan = {"relu": ReluMasks(rows, hidden, training=False), "squares": squares}
    mine, theirs = (supply.take(0, plan) for supply in local_supplies([plan]))
    dealt = {key: mine["squares"][key] + theirs["squares"][key] for key in squares.fields}
    of_y = mask_squares(mine["relu"]["r"], theirs["relu"]["r"], 20)
    assert torch.equal(dealt["w2"], mask_squares(mine["relu"]["rho"], theirs["relu"]["rho"], 4).sum()[None])
    assert torch.equal(dealt["rows"], of_y.sum(dim=1))
    assert torch.equal(dealt["units"], block_sums(of_y))
    assert dealt["units"].shape == (blocks(rows), hidden)
