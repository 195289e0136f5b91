"""What two parties make fits bit for bit, as what a dealer deals.

Exceptions: masks by digits have one-hot vectors and high parts of r, or of r - 2^low where there is a carry into the
lowest digit, which the test computes; squares count modulo 2^(65-shift)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from amint_mpc.errors import ProtocolError, UsageError
from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.base import MaskRef
from amint_mpc.mpc.correlations.generic import AndOfParts, AndTriple, Product, Selection, SharedBit, Square
from amint_mpc.mpc.dense.descent import GradientDescent, Momentum
from amint_mpc.mpc.dense.layers import score_plan, table_plan, train_plan
from amint_mpc.mpc.dense.novograd import NovoGrad
from amint_mpc.mpc.ot.transfers import Choice
from amint_mpc.mpc.pair.maker import PairMaker, check_supported, transfers_needed
from amint_mpc.mpc.protocols import sign
from amint_mpc.mpc.protocols.divide import DivisionMasks
from amint_mpc.mpc.protocols.ranges import RangeMasks
from amint_mpc.mpc.protocols.relu import ReluMasks
from amint_mpc.mpc.protocols.truncate import TruncationMasks
from amint_mpc.mpc.rlwe.native import library
from tests.mpc.native_only import native_only
from tests.mpc.ot.trusted import TrustedTransfers
from tests.mpc.pair.makers import Made, make_both
from tests.mpc.pair.products import TrustedProducts
from tests.mpc.pair.random_plans import low_carry, random_plan, random_plans, wrong_fields, wrong_of
from tests.mpc.parties import run_both

RATE, MOMENTUM = GradientDescent(3, 7), Momentum(3, 7, (115, 7))
R = MaskRef("relu", "r")
GENERIC = (
    *(Product("mul", (3, 2), (3, 2)), Product("matmul", (3, 2), (2, 4)), Square((3,)), SharedBit((3,))),
    *(AndTriple((3,), (3,)), AndTriple((1, 3), (2, 3), torch.uint8), AndOfParts((3,)), Selection((3,))),
    DivisionMasks((3,), 49),
)


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


def test_random_plans_fit() -> None:
    plans = random_plans(100)
    assert wrong_of(plans, make_both(plans)) == []


@pytest.mark.parametrize("link", ["lan", "wan"])
@native_only
def test_random_plans_on_real_transfers_and_products_fit(link: str) -> None:
    plans = random_plans(14)
    assert wrong_of(plans, make_both(plans, real=True, link=link), real=True) == []


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(20))
def test_ten_thousand_random_plans_fit(part: int) -> None:
    """One session in five on real transfers and products, every other one of these cut for a slow link."""
    plans, real = random_plans(500, 500 * part + 1000), part % 5 == 0 and library() is not None
    made = make_both(plans, part, real, "wan" if part % 2 else "lan")
    assert wrong_of(plans, made, real) == []


def test_a_field_that_is_off_by_one_is_found() -> None:
    """The test above can fail: each field of each kind, changed in its lowest bit that counts."""
    generic = {f"{n}": each for n, each in enumerate(GENERIC)}
    plan = {**train_plan(3, 4, 2, RATE), **generic}
    made = pairs(make_both([plan]))[0]
    for name, masks in plan.items():
        for key, field in masks.fields.items():
            if field.corrected:
                share, kept = made[DEVELOPER][name][key], made[DEVELOPER][name][key].clone()
                share.reshape(-1)[-1] += 1
                assert wrong_fields(plan, made) == [f"{name}.{key}"]
                share.copy_(kept)


def test_carries_into_the_lowest_digit_do_occur() -> None:
    plan = {"relu": ReluMasks(10, 20)}
    made = pairs(make_both([plan]))[0]
    carry = low_carry((made[DEVELOPER]["relu"]["r"], made[AUDITOR]["relu"]["r"]), sign.LOW_BIT)
    assert 50 < int(carry.sum()) < 150


def test_transfers_needed_is_what_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    used = []
    choose = TrustedTransfers.choose

    def counting(self: TrustedTransfers, chooser: int, bits: Tensor | None, count: int) -> Choice:
        used.append((self.party, chooser, count))
        return choose(self, chooser, bits, count)

    monkeypatch.setattr(TrustedTransfers, "choose", counting)
    for number, plan in enumerate([random_plan(1), train_plan(5, 4, 3, MOMENTUM), score_plan(5, 4, 3)]):
        used.clear()
        make_both([plan], number)
        for party in (DEVELOPER, AUDITOR):
            totals = [
                sum(count for mine, who, count in used if (mine, who) == (party, q)) for q in (DEVELOPER, AUDITOR)
            ]
            assert tuple(totals) == transfers_needed(plan)


def test_rows_that_stand_are_linked_to_the_table_of_an_earlier_plan() -> None:
    rows = FirstRows(3)
    plans = [table_plan(5, 4), train_plan(3, 4, 2, RATE), train_plan(3, 4, 2, RATE, standing=rows)]
    made = pairs(make_both(plans))
    table = made[0][DEVELOPER]["table"]["a"]
    assert "table" in made[0][AUDITOR]
    assert made[0][AUDITOR]["table"] == {}
    both = made[2]
    at = rows(table).T @ both[AUDITOR]["linear"]["t"]
    assert torch.equal(both[DEVELOPER]["linear"]["at"] + both[AUDITOR]["linear"]["at"], at)


@dataclass(frozen=True)
class FirstRows:
    rows: int

    def __call__(self, table: Tensor) -> Tensor:
        return table[: self.rows]


def test_each_party_draws_anew_for_each_plan_and_no_number_twice() -> None:
    plan = {"dy": TruncationMasks((40,), 20)}
    first, second = pairs(make_both([plan, plan]))
    for party, key in ((DEVELOPER, "alpha"), (AUDITOR, "beta")):
        assert not torch.equal(first[party]["dy"][key], second[party]["dy"][key])

    products = TrustedProducts.both()

    def party_twice(index: int, channel: Any, _: Any) -> None:
        maker = PairMaker(channel, index, bytes(32), transfers=TrustedTransfers, products=products)
        maker.set_up()
        maker.make(3, plan)
        maker.make(3, plan)

    with pytest.raises(ProtocolError, match="used before"):
        run_both(party_twice, [])


def test_what_needs_a_dealer_is_refused_with_what_to_do() -> None:
    plan = train_plan(3, 4, 2, NovoGrad(2.0**-4, 0.9))
    check_supported(train_plan(3, 4, 2, MOMENTUM))
    with pytest.raises(UsageError, match="cannot make the masks") as refused:
        check_supported(plan)
    assert "security.correlations to dealer" in str(refused.value.hint)


def test_a_window_that_is_not_that_of_the_top_digit_is_refused() -> None:
    plan = {"relu": ReluMasks(2, 2), "in range": RangeMasks((2, 2), sign.LOW_BIT + 19, R, torch.int16)}
    with pytest.raises(ValueError, match="where its top digit"):
        make_both([plan])
