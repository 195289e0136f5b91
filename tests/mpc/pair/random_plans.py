"""Plans of small correlations of all kinds, some about masks of others, in any order; and what of them does not fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.base import Correlation, MaskRef, Memory, Plan, keep
from amint_mpc.mpc.correlations.generic import AndOfParts, AndTriple, Product, Selection, SharedBit, Square
from amint_mpc.mpc.protocols import sign
from amint_mpc.mpc.protocols.divide import DivisionMasks
from amint_mpc.mpc.protocols.linear import TABLE, LinearMasks, TableMasks
from amint_mpc.mpc.protocols.ranges import RangeMasks
from amint_mpc.mpc.protocols.relu import ReluMasks
from amint_mpc.mpc.protocols.sigmoid import SigmoidTables
from amint_mpc.mpc.protocols.squares import SquaresMasks
from amint_mpc.mpc.protocols.truncate import TruncationMasks
from tests.mpc.pair.makers import Made

TABLE_ROWS, TABLE_INPUTS = 7, 5
Both = tuple[Made, Made]


@dataclass(frozen=True)
class Mixed:
    """Combinations of a table's rows, by whole numbers."""

    factors: tuple[tuple[int, ...], ...]

    @property
    def rows(self) -> int:
        return len(self.factors)

    def __call__(self, table: Tensor) -> Tensor:
        return torch.tensor(self.factors) @ table


def random_plan(seed: int, table: bool = False) -> Plan:
    """Args: table: an earlier plan is `of_table`."""
    generator = torch.Generator().manual_seed(seed)

    def pick(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    plan: dict[str, Correlation] = {}
    for number in range(12):
        n, h, kind = pick(1, 9), pick(1, 9), pick(0, 6)
        name = f"{number}"
        if kind == 0:
            plan[name] = ReluMasks(n, h, training=bool(pick(0, 1)))
            r, rho = MaskRef(name, "r"), MaskRef(name, "rho")
            tests = {
                f"{number} in range": RangeMasks((n, h), sign.LOW_BIT + 20, r, torch.int16),
                f"{number} squared": SquaresMasks(n, h, rho, r, pick(0, 63), pick(1, 63)),
            }
            plan = {**tests, **plan} if pick(0, 1) else {**plan, **tests}
        elif kind == 1:
            plan[name] = SigmoidTables(n)
        elif kind == 2:
            plan[name] = TruncationMasks((n, h), pick(1, 62))
        elif kind == 3 and pick(0, 1):
            plan[name] = RangeMasks((n, h), pick(20, 62), None, torch.int16 if pick(0, 1) else torch.int32)
        elif kind == 3:
            plan[name] = RangeMasks((n + h,), ((n, pick(20, 62)), (h, pick(20, 62))))
        elif kind == 4:
            plan[name] = of_entries(n, h, pick)
        elif kind == 5 and not any(isinstance(each, Product) and each.operation != "mul" for each in plan.values()):
            plan[name] = of_matrices(n, h, pick)
        elif table and pick(0, 1):
            rows = Mixed(tuple(tuple(pick(-8, 8) for _ in range(TABLE_ROWS)) for _ in range(n)))
            plan[name] = LinearMasks(n, TABLE_INPUTS, h, constants=1, standing=rows)
        elif not any(isinstance(each, LinearMasks) for each in plan.values()):  # a product costs as much as all else
            constants = pick(0, 2)
            plan[name] = LinearMasks(n, constants + pick(1, 40), h, bool(pick(0, 2)), constants, None, 16 << pick(0, 1))
    return plan


def of_entries(n: int, h: int, pick: Callable[[int, int], int]) -> Correlation:
    """What CrypTen's protocols ask for, entry by entry."""
    both, dtype = ((n, h), (n, 1) if pick(0, 1) else (n, h)), (torch.int64, torch.uint8)[pick(0, 1)]
    return (
        Product("mul", *both),
        AndTriple(*both, dtype),
        AndTriple((1, n, h), (pick(1, 9), n, h), dtype),
        Square((n, h)),
        AndOfParts((n, h)),
        SharedBit((n, h)),
        Selection((n, h)),
        DivisionMasks((n, h), pick(3, 2**32)),
    )[pick(0, 7)]


def of_matrices(n: int, h: int, pick: Callable[[int, int], int]) -> Correlation:
    """The same for products of matrices and convolutions."""
    step, wide = (("stride", (pick(1, 2), 1)),), pick(1, 3)
    return (
        Product("matmul", (n, h), (h, wide)),
        Product("matmul", (2, n, h), (h, wide)),
        Product("conv2d", (n, wide, 5, 4), (h, wide, 3, 2), step),
        Product("conv_transpose2d", (n, wide, 3, 4), (wide, h, 3, 2), step),
        Product("conv1d", (n, 2 * wide, 5), (2 * h, wide, 3), (("groups", 2),)),
    )[pick(0, 4)]


def of_table() -> Plan:
    return {TABLE.name: TableMasks(TABLE_ROWS, TABLE_INPUTS, constants=1)}


def random_plans(count: int, first: int = 0) -> list[Plan]:
    """Of a session: now and then a table, which later plans link to."""
    found: list[Plan] = []
    for seed in range(first, first + count):
        found.append(of_table() if seed % 20 == 10 else random_plan(seed, seed % 20 > 10))
    return found


# ------------------------------------------------------------------------------------------------ what does not fit


def low_carry(shares: tuple[Tensor, Tensor], low: int | Tensor) -> Tensor:
    """1 where the bits of both shares below `low` make a carry."""
    ones = (torch.ones_like(shares[0]) << low) - 1
    return ((shares[0] & ones) + (shares[1] & ones)) >> low


def expected(name: str, masks: Correlation, made: Both, memory: Memory) -> dict[str, Tensor]:
    """The developer's share of each corrected field, from what both parties drew and the auditor's shares.

    Args:
        memory: masks of earlier plans.
    """
    both = [dict(material[name]) for material in made]
    for key, at in masks.links.items() if hasattr(masks, "links") else ():
        for party, own in enumerate(both):
            if not at.kept:
                own[key] = made[party][at.name][at.key]
            elif (party, at.name, at.key) in memory:
                own[key] = memory[party, at.name, at.key]
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


def wrong_fields(plan: Plan, made: Both, memory: Memory | None = None, real: bool = False) -> list[str]:
    """The names of corrected fields that are not what a dealer would have sent.

    Args:
        memory: see `expected`; the masks that this plan keeps are put there.
        real: on real products the auditor adds to sr what is below one unit (pair/linear.py).
    """
    memory, wrong = Memory() if memory is None else memory, []
    for party in (DEVELOPER, AUDITOR):
        keep(plan, party, made[party], memory)
    for name, masks in plan.items():
        wanted = expected(name, masks, made, memory)
        for party, material in enumerate(made):
            held = {key: field for key, field in masks.fields.items() if party in field.holders}
            assert list(held) == list(material[name])
            for key, field in held.items():
                dtype = (field.sent or field.dtype) if party == DEVELOPER and field.corrected else field.dtype
                share = material[name][key]
                assert (share.dtype, tuple(share.shape)) == (dtype, field.shape), (name, key)
        for key, field in masks.fields.items():
            if field.corrected:
                off = made[DEVELOPER][name][key] - field.cut(wanted[key])
                if isinstance(masks, SquaresMasks):
                    off = off << ((masks.w2_shift if key == "w2" else masks.y_shift) - 1)
                if bool((off.abs() > (key == "sr" and real)).any()):
                    wrong.append(f"{name}.{key}")
    return wrong


def wrong_of(plans: list[Plan], made: list[list[Made]], real: bool = False) -> list[str]:
    """The same of a session, with the number of each plan."""
    memory, wrong = Memory(), []
    for number, (plan, *both) in enumerate(zip(plans, *made, strict=True)):
        wrong += [f"{number} {name}" for name in wrong_fields(plan, (both[0], both[1]), memory, real)]
    return wrong
