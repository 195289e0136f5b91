"""What an optimizer remembers, when the head goes back to weights of an earlier step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.dense.head import WEIGHT_BITS, SecureHead
from amint_mpc.mpc.dense.step import Optimizer
from amint_mpc.mpc.ring import fixed_point as fp
from tests.mpc.cases import MOMENTUM, NOVOGRAD, head_plans, random_head, shares_of
from tests.mpc.parties import run_both

ROWS, INPUTS, HIDDEN = 8, 4, 3


@pytest.mark.parametrize("optimizer", [MOMENTUM, NOVOGRAD], ids=["momentum", "novograd"])
def test_after_the_way_back_it_begins_anew(optimizer: Optimizer) -> None:
    """The step after `restore` is a first step from the restored weights: nothing of the steps between gets into it."""
    weights, masks = random_head(INPUTS, HIDDEN, 1)
    x = [torch.randn(ROWS, INPUTS, generator=torch.Generator().manual_seed(seed)).clamp(-8, 8) for seed in range(4)]
    targets = (torch.arange(ROWS) < ROWS // 2).float()

    def go(index: int, channel: Any, supply: Any, order: list[int]) -> list[dict[str, Tensor]]:
        head = SecureHead(channel, index, supply, INPUTS, HIDDEN, optimizer)
        head.share_weights(*((weights, masks) if index == AUDITOR else (None, None)))
        kept, seen = head.snapshot(), []
        for number in order:
            if number == 0:
                head.restore(kept)
            head.train_step(x[number] if index == DEVELOPER else None, targets)
            seen.append(shares_of(head))
        return seen

    def last(order: list[int]) -> dict[str, Tensor]:
        mine, theirs = run_both(
            lambda i, channel, supply: go(i, channel, supply, order),
            head_plans(ROWS, INPUTS, HIDDEN, len(order), rate=optimizer),
        )
        return {name: fp.decode(mine[-1][name] + theirs[-1][name], bits) for name, bits in WEIGHT_BITS.items()}

    straight, back = last([0]), last([1, 2, 3, 0])
    apart = {name: float((straight[name] - back[name]).abs().max()) for name in straight}
    assert max(apart.values()) < 2e-3, apart  # rounding differs with the masks
    assert float((last([1, 2, 3])["w1"] - straight["w1"]).abs().max()) > 5 * apart["w1"]
