"""The whole head on masks that the two parties made: as with a dealer, against float64 on the same weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.dense.descent import GradientDescent, Momentum
from tests.mpc.cases import head_party, head_plans, random_head
from tests.mpc.dense.test_head import batch, cosine, halves, reference, weights_at
from tests.mpc.pair.makers import make_both
from tests.mpc.parties import run_both
from tests.mpc.views import Given

ROWS, INPUTS, HIDDEN, STEPS = 24, 10, 6, 4


def results_with(optimizer: GradientDescent, weights: Any, masks: Any, batches: list[Tensor], made: bool) -> Any:
    """Of steps and of one scoring, on made or on dealt masks."""
    plans = head_plans(ROWS, INPUTS, HIDDEN, len(batches), [ROWS], optimizer)
    party = head_party(weights, masks, batches, halves(ROWS), scored=[batches[0]], rate=optimizer)
    if not made:
        return run_both(party, plans)
    material = make_both(plans)
    return run_both(lambda index, channel, _: party(index, channel, Given(material[index])), [])


@pytest.mark.parametrize("optimizer", [GradientDescent(3, 7), Momentum(3, 7, (115, 7))], ids=["sgd", "momentum"])
def test_gradients_are_those_of_a_dealers_masks(optimizer: GradientDescent) -> None:
    weights, masks = random_head(INPUTS, HIDDEN, 2)
    batches = [batch(ROWS, INPUTS, step) for step in range(STEPS)]
    made, dealt = (results_with(optimizer, weights, masks, batches, it) for it in (True, False))
    size = optimizer.numerator / 2**optimizer.shift
    for step, x in enumerate(batches):
        found = []
        for results in (made, dealt):
            expected = reference(weights_at(step, results), x, halves(ROWS))
            gradient = results[DEVELOPER][0][step]
            assert cosine(gradient, expected.by_x) >= 0.999
            # the error of one index of the sigmoid, 3/128, reaches an entry times a row of w1 times w2
            reach = (weights["w1"].abs() @ weights["w2"].abs()).max()
            assert (gradient - expected.by_x).abs().max() <= 1.5 * 3 / 128 * reach
            found.append(gradient)
            if type(optimizer) is GradientDescent:
                before, after = weights_at(step, results), weights_at(step + 1, results)
                for name, by_weight in expected.by_weight.items():
                    moved = (before[name] - after[name]) / size
                    assert (moved - by_weight).abs().max() <= 0.1 * by_weight.abs().max() + 0.2
        assert cosine(*found) >= 0.999
    moved = weights_at(0, made)["w1"] - weights_at(STEPS, made)["w1"]
    assert moved.abs().max() > 0.01  # there was something to compare
    assert cosine(moved, weights_at(0, dealt)["w1"] - weights_at(STEPS, dealt)["w1"]) >= 0.995
    for results in (made, dealt):
        logits = reference(weights_at(STEPS, results), batches[0], halves(ROWS)).logits
        assert (results[AUDITOR][1][0] - logits).abs().max() < 1e-3
    assert torch.equal(made[AUDITOR][1][0].sign(), dealt[AUDITOR][1][0].sign())
