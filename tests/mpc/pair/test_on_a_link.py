"""The makers on real transfers, and as the supply calls them."""

from __future__ import annotations

from typing import Any

from amint_mpc.mpc.correlations.base import Plan
from amint_mpc.mpc.pair.maker import PairMaker
from amint_mpc.mpc.protocols.relu import ReluMasks
from amint_mpc.mpc.protocols.sigmoid import SigmoidTables
from amint_mpc.mpc.protocols.truncate import TruncationMasks
from tests.mpc.pair.makers import Made
from tests.mpc.pair.products import TrustedProducts
from tests.mpc.pair.random_plans import wrong_fields
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
        assert wrong_fields(PLAN, made, real=True) == []
