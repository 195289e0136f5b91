"""Both makers in one process, on trusted transfers, with the products of matrices made by a dealer in the test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.base import Memory, Plan
from amint_mpc.mpc.pair.kinds import KINDS, Kind
from amint_mpc.mpc.pair.maker import PairMaker
from amint_mpc.mpc.pair.making import Making
from amint_mpc.mpc.protocols.linear import LinearMasks
from amint_mpc.mpc.protocols.rounds import InRounds
from tests.mpc.ot.trusted import TrustedTransfers
from tests.mpc.pair.products import TrustedProducts
from tests.mpc.parties import run_both

Made = dict[str, dict[str, Tensor]]


def linear(making: Making, name: str, masks: LinearMasks) -> InRounds[None]:
    """Insecure: the auditor sends all that it draws, and the developer computes its corrections as a dealer would."""
    m = making.material[name]
    fields = {key: field for key, field in masks.fields.items() if AUDITOR in field.holders}
    for key, field in fields.items():
        if field.corrected and making.party == AUDITOR:
            m[key] = torch.randint(-(2**62), 2**62, field.shape).to(field.dtype)
    told = {
        key: making.rounds.hand_over(AUDITOR, m.get(key) if making.party == AUDITOR else None, field.shape, field.dtype)
        for key, field in fields.items()
    }
    yield
    if making.party == DEVELOPER:
        own = dict(m)
        if masks.standing is not None:
            own["a"] = making.memory[DEVELOPER, "table", "a"]
        made = masks.corrections(own, {key: value.value for key, value in told.items()})
        m |= {key: masks.fields[key].cut(value) for key, value in made.items()}


TEST_KINDS = {**KINDS, LinearMasks: Kind(linear, lambda *_: (0, 0))}


def make_both(plans: Sequence[Plan], seed: int = 0) -> list[list[Made]]:
    """The material of both parties, for each plan."""

    products = TrustedProducts.both()

    def party(index: int, channel: Any, _: Any) -> list[Made]:
        secret = bytes([index, seed % 256, seed // 256]) + bytes(29)
        maker = PairMaker(
            channel, index, secret, Memory(), "lan", TEST_KINDS, lambda r: TrustedTransfers(r, seed), products
        )
        maker.set_up()
        return [maker.make(number, plan) for number, plan in enumerate(plans)]

    return list(run_both(party, []))
