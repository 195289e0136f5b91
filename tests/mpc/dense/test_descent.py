"""What an optimizer remembers, when the head goes back to weights of an earlier step; and what momentum needs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from amint_mpc.errors import UsageError
from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.base import corrected
from amint_mpc.mpc.dense.descent import Momentum
from amint_mpc.mpc.dense.head import WEIGHT_BITS, SecureHead
from amint_mpc.mpc.dense.layers import train_plan
from amint_mpc.mpc.dense.step import Optimizer
from amint_mpc.mpc.ring import fixed_point as fp
from tests.mpc.cases import MOMENTUM, NOVOGRAD, RATE, head_plans, random_head, shares_of
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


def test_momentum_takes_so_much_of_each_last_step_again() -> None:
    """With a head that two runs share: what they differ in after a step is mu times the step before, but for rounding.

    Both begin to remember at the same step; the other one forgets, so that its second step is one without momentum.
    """
    weights, masks = random_head(INPUTS, HIDDEN, 1)
    x = torch.randn(ROWS, INPUTS, generator=torch.Generator().manual_seed(1)).clamp(-8, 8)
    targets = (torch.arange(ROWS) < ROWS // 2).float()

    def go(index: int, channel: Any, supply: Any, forget: bool) -> list[dict[str, Tensor]]:
        head = SecureHead(channel, index, supply, INPUTS, HIDDEN, MOMENTUM)
        head.share_weights(*((weights, masks) if index == AUDITOR else (None, None)))
        seen = [shares_of(head)]
        for number in range(2):
            if forget and number:
                head.restore(head.snapshot())
            head.train_step(x if index == DEVELOPER else None, targets)
            seen.append(shares_of(head))
        return seen

    def both(forget: bool) -> list[dict[str, Tensor]]:
        plans = head_plans(ROWS, INPUTS, HIDDEN, 2, rate=MOMENTUM)
        shares = run_both(lambda i, channel, supply: go(i, channel, supply, forget), plans)
        return [{k: fp.decode(a[k] + b[k], WEIGHT_BITS[k]) for k in a} for a, b in zip(*shares, strict=True)]

    with_it, without = both(False), both(True)
    for name, unit in (("w1", 2.0**-30), ("w2", 2.0**-14), ("b2", 2.0**-30)):
        assert torch.equal(with_it[1][name], without[1][name])
        again, step = with_it[2][name] - without[2][name], with_it[1][name] - with_it[0][name]
        assert float(step.abs().max()) > 8 * unit
        assert float((again - 115 / 128 * step).abs().max()) <= 3 * unit, name


def test_momentum_that_is_no_odd_fraction_is_refused() -> None:
    for again in ((2, 3), (8, 3), (9, 3), (0, 1), (-1, 3), (1, 17)):
        with pytest.raises(UsageError, match="odd a, 0 < a < 2\\^k and k <= 16"):
            Momentum(3, 7, again)
    with pytest.raises(UsageError, match="1 <= a <= 3"):
        Momentum(8, 7, (1, 1))


def test_what_momentum_adds_to_a_plan() -> None:
    plain, added = (
        sum(torch.Size(field.shape).numel() * field.dtype.itemsize for _, _, field in corrected(plan))
        for plan in (train_plan(ROWS, INPUTS, HIDDEN, optimizer) for optimizer in (RATE, MOMENTUM))
    )
    # two bytes for each entry that drops 16 bits or fewer, and four for the two truncations of more
    assert added - plain == 2 * INPUTS * HIDDEN + 2 * (HIDDEN + 1) + 2 * 4 * HIDDEN
