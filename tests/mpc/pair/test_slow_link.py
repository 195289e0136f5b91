"""The linear layer's masks where answers are packed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from amint_mpc.mpc import DEVELOPER
from amint_mpc.mpc.correlations.base import Plan
from amint_mpc.mpc.dense.layers import table_plan
from amint_mpc.mpc.pair.linear import cuts_of
from amint_mpc.mpc.pair.maker import PairMaker
from amint_mpc.mpc.protocols.linear import TABLE, LinearMasks
from amint_mpc.mpc.rlwe.native import library
from amint_mpc.mpc.rlwe.products import answer_words, request_words
from tests.mpc.pair.makers import Made
from tests.mpc.parties import run_both


@dataclass(frozen=True)
class FirstRows:
    rows: int

    def __call__(self, table: Tensor) -> Tensor:
        return table[: self.rows]


@pytest.mark.skipif(library() is None, reason="the functions in C were not built")
def test_products_of_matrices_on_a_slow_link_are_those_of_a_fast_one() -> None:
    """Packed, from the first to the last message, and exact."""
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
            off = (made[DEVELOPER][key] - masks.fields[key].cut(share)).abs()
            assert int(off.max()) <= (key == "sr"), (name, key)  # which has the auditor's number below one unit
    standing = {**second["linear"], "a": first[TABLE.name]["a"]}
    for key, share in later["linear"].corrections(standing, other["linear"]).items():
        assert torch.equal(second["linear"][key], share), key


@pytest.mark.parametrize(("features", "hidden", "most"), [(192, 64, 4), (768, 128, 16)])
def test_they_have_few_bytes(features: int, hidden: int, most: float) -> None:
    """A step of 128 rows, in MB, both directions."""
    masks, size = LinearMasks(128, features + 1, hidden, constants=1), {}
    for link in ("lan", "wan"):
        cuts = cuts_of(masks, link).values()
        size[link] = 4 * sum(request_words(cut) + answer_words(cut) for cut in cuts) / 1e6
    assert size["wan"] < min(most, 0.2 * size["lan"])
