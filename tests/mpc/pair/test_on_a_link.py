"""The makers on real transfers, and as the supply calls them."""

from __future__ import annotations

from typing import Any

import torch

from amint_mpc.mpc import DEVELOPER
from amint_mpc.mpc.correlations.base import Plan
from amint_mpc.mpc.dense.layers import table_plan
from amint_mpc.mpc.pair.maker import PairMaker
from amint_mpc.mpc.protocols.linear import TABLE, LinearMasks
from amint_mpc.mpc.protocols.relu import ReluMasks
from amint_mpc.mpc.protocols.sigmoid import SigmoidTables
from amint_mpc.mpc.protocols.truncate import TruncationMasks
from tests.mpc.native_only import native_only
from tests.mpc.pair.makers import Made
from tests.mpc.pair.products import TrustedProducts
from tests.mpc.pair.random_plans import wrong_fields
from tests.mpc.pair.test_exact import FirstRows
from tests.mpc.parties import run_both

PLAN: Plan = {"relu": ReluMasks(6, 5), "sigmoid": SigmoidTables(6), "dy": TruncationMasks((6, 5), 20)}


def test_masks_on_real_transfers_fit() -> None:
    products = TrustedProducts.both()

    def party(index: int, channel: Any, _: Any) -> list[Made]:
        maker = PairMaker(channel, index, bytes([index]) * 32, products=products)
        maker.set_up()
        return [maker.make(number, PLAN) for number in (0, 2)]

    developer, auditor = run_both(party, [])
    for made in zip(developer, auditor, strict=True):
        assert wrong_fields(PLAN, made) == []


@native_only
def test_products_of_matrices_on_a_slow_link_are_those_of_a_fast_one() -> None:
    """Packed, from the first to the last message; of sr, whose lower bits are rough, the last bit opened may differ."""
    plan: Plan = {
        **table_plan(40, 21),
        "linear": LinearMasks(24, 21, 6, constants=1),
        "scores": LinearMasks(9, 21, 6, training=False, constants=1),
    }
    later: Plan = {"linear": LinearMasks(24, 21, 6, constants=1, standing=FirstRows(24))}

    def party(index: int, channel: Any, _: Any) -> list[Made]:
        maker = PairMaker(channel, index, bytes([index]) * 32, link="wan")
        maker.set_up()
        return [maker.make(0, plan), maker.make(1, later)]

    (first, second), (one, other) = run_both(party, [])
    for name, masks in plan.items():
        made = first[name], one[name]
        for key, share in masks.corrections(*made).items():
            off = made[DEVELOPER][key].long() - masks.fields[key].cut(share).long()
            assert int(off.abs().max()) <= (1 if key == "sr" else 0), (name, key)
    standing = {**second["linear"], "a": first[TABLE.name]["a"]}
    for key, share in later["linear"].corrections(standing, other["linear"]).items():
        assert torch.equal(second["linear"][key], share), key
