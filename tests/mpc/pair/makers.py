"""Both makers in one process: on transfers and products that the test is trusted with, or on those of the product."""

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


def make_both(plans: Sequence[Plan], seed: int = 0, real: bool = False, link: str = "lan") -> list[list[Made]]:
    """The material of both parties, for each plan.

    Args:
        real: on the product's own transfers and products of matrices. link: for which they are cut.
    """
    table = TrustedProducts.both()

    def party(index: int, channel: Any, _: Any) -> list[Made]:
        secret = bytes([index, *seed.to_bytes(4, "little")]) + bytes(27)
        trusted = {} if real else {"transfers": lambda r: TrustedTransfers(r, seed), "products": table}
        maker = PairMaker(channel, index, secret, Memory(), link, KINDS, **trusted)
        maker.set_up()
        return [maker.make(number, plan) for number, plan in enumerate(plans)]

    return list(run_both(party, []))
