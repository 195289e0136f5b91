"""What two parties make fits bit for bit, as what a dealer deals.

Exceptions: masks by digits have one-hot vectors and high parts of r, or of r - 2^low where there is a carry into the
lowest digit, which the test computes; squares count modulo 2^(65-shift)."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from amint_mpc.errors import ProtocolError, UsageError
from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.base import Correlation, MaskRef, Material, Plan
from amint_mpc.mpc.dense.descent import GradientDescent, Momentum
from amint_mpc.mpc.dense.layers import score_plan, table_plan, train_plan
from amint_mpc.mpc.dense.novograd import NovoGrad
from amint_mpc.mpc.pair.maker import check_supported, supported, transfers_needed
from amint_mpc.mpc.protocols import sign
from amint_mpc.mpc.protocols.ranges import RangeMasks
from amint_mpc.mpc.protocols.relu import ReluMasks
from amint_mpc.mpc.protocols.sigmoid import SigmoidTables
from amint_mpc.mpc.protocols.squares import SquaresMasks
from amint_mpc.mpc.protocols.truncate import TruncationMasks
from tests.mpc.pair.makers import TEST_KINDS, Made, make_both

RATE, MOMENTUM = GradientDescent(3, 7), Momentum(3, 7, (115, 7))
R = MaskRef("relu", "r")


def low_carry(shares: tuple[Tensor, Tensor], low: int | Tensor) -> Tensor:
    """1 where the bits of both shares below `low` make a carry."""
    ones = (torch.ones_like(shares[0]) << low) - 1
    return ((shares[0] & ones) + (shares[1] & ones)) >> low


def expected(name: str, masks: Correlation, made: tuple[Made, Made]) -> dict[str, Tensor]:
    """The developer's share of each corrected field, from what both parties drew and the auditor's shares."""
    both = [dict(material[name]) for material in made]
    for key, at in masks.links.items() if hasattr(masks, "links") else ():
        for own, material in zip(both, made, strict=True):
            own[key] = material[at.name][at.key]
    developer, auditor = both
    found = masks.corrections(developer, auditor)
    if isinstance(masks, ReluMasks):
        carry = low_carry((developer["r"], auditor["r"]), sign.LOW_BIT)
        table, lowest = sign.tables(developer["r"] + auditor["r"] - (carry << sign.LOW_BIT))
        found |= {"table": table ^ auditor["table"], "lowest": lowest ^ auditor["lowest"]}
    if isinstance(masks, RangeMasks):
        windows = masks.window if isinstance(masks.window, int) else spread(masks.window)
        low = windows - 20
        carry = low_carry((developer["r"], auditor["r"]), low)
        less = {**developer, "r": developer["r"] - (carry << low)}
        found |= masks.corrections(less, auditor)
    return found


def spread(windows: tuple[tuple[int, int], ...]) -> Tensor:
    return torch.tensor([window for count, window in windows for _ in range(count)])


def wrong_fields(plan: Plan, made: tuple[Made, Made]) -> list[str]:
    wrong = []
    for name, masks in plan.items():
        wanted = expected(name, masks, made)
        for party, material in enumerate(made):
            held = {key: field for key, field in masks.fields.items() if party in field.holders}
            assert list(held) == list(material[name])
            for key, field in held.items():
                dtype = (field.sent or field.dtype) if party == DEVELOPER and field.corrected else field.dtype
                assert (material[name][key].dtype, tuple(material[name][key].shape)) == (dtype, field.shape), (name, key)
        for key, field in masks.fields.items():
            if field.corrected:
                off = made[DEVELOPER][name][key] - field.cut(wanted[key])
                if isinstance(masks, SquaresMasks):
                    off = off << ((masks.w2_shift if key == "w2" else masks.y_shift) - 1)
                if bool(off.any()):
                    wrong.append(f"{name}.{key}")
    return wrong


def pairs(made: list[list[Made]]) -> list[tuple[Made, Made]]:
    return list(zip(made[DEVELOPER], made[AUDITOR], strict=True))


@pytest.mark.parametrize(("rows", "hidden"), [(1, 1), (1, 5), (3, 1), (5, 3), (8, 8), (13, 7), (130, 2)])
@pytest.mark.parametrize("optimizer", [RATE, MOMENTUM], ids=["sgd", "momentum"])
def test_every_field_of_a_training_step_fits(rows: int, hidden: int, optimizer: GradientDescent) -> None:
    plans = [train_plan(rows, 4, hidden, optimizer, number) for number in range(2)]
    for plan, made in zip(plans, pairs(make_both(plans, rows)), strict=True):
        assert wrong_fields(plan, made) == []


@pytest.mark.parametrize(("rows", "hidden"), [(1, 1), (7, 3), (40, 60)])
def test_every_field_of_a_scoring_fits(rows: int, hidden: int) -> None:
    plans = [score_plan(rows, 4, hidden)]
    assert wrong_fields(plans[0], pairs(make_both(plans))[0]) == []
