"""Both makers in one process, on trusted transfers, with the products of matrices made by a dealer in the test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from amint_mpc.mpc.correlations.base import Memory, Plan
from amint_mpc.mpc.pair.kinds import KINDS
from amint_mpc.mpc.pair.maker import PairMaker
from tests.mpc.ot.trusted import TrustedTransfers
from tests.mpc.pair.products import TrustedProducts
from tests.mpc.parties import run_both

Made = dict[str, dict[str, Tensor]]


def make_both(plans: Sequence[Plan], seed: int = 0) -> list[list[Made]]:
    """The material of both parties, for each plan."""

    products = TrustedProducts.both()

    def party(index: int, channel: Any, _: Any) -> list[Made]:
        secret = bytes([index, seed % 256, seed // 256]) + bytes(29)
        maker = PairMaker(channel, index, secret, Memory(), "lan", KINDS, lambda r: TrustedTransfers(r, seed), products)
        maker.set_up()
        return [maker.make(number, plan) for number, plan in enumerate(plans)]

    return list(run_both(party, []))
