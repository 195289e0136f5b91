"""The whole step against float64 autograd on the same weights, which the test opens by adding the two shares."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from amint_mpc.errors import ProtocolError
from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.dense.descent import GradientDescent
from amint_mpc.mpc.dense.head import OPENED_BITS, WEIGHT_BITS
from amint_mpc.mpc.ring import fixed_point as fp
from tests.mpc.cases import head_party, head_plans, random_head
from tests.mpc.views import record

SHAPES = [(2, 1, 1), (2, 300, 64), (3, 7, 5), (16, 32, 8), (64, 100, 1), (128, 192, 64)]


class Reference(NamedTuple):
    logits: Tensor
    by_x: Tensor
    by_weight: dict[str, Tensor]


def reference(weights: dict[str, Tensor], x: Tensor, targets: Tensor) -> Reference:
    """float64 autograd of the sum of the binary cross-entropies. weights: w1 with b1 below, w2, b2."""
    weights = {name: value.clone().requires_grad_() for name, value in weights.items()}
    x = fp.decode(fp.encode(x, fp.X_BITS), fp.X_BITS).requires_grad_()
    z = torch.relu(torch.cat([x, torch.ones(len(x), 1)], dim=1) @ weights["w1"]) @ weights["w2"] + weights["b2"]
    F.binary_cross_entropy_with_logits(z, targets.double(), reduction="sum").backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    return Reference(
        z.detach(), x.grad, {name: value.grad for name, value in weights.items() if value.grad is not None}
    )


def weights_at(step: int, results: Any) -> dict[str, Tensor]:
    """The weights before a step: the sum of both parties' shares."""
    mine, theirs = results[DEVELOPER][3][step], results[AUDITOR][3][step]
    return {name: fp.decode(mine[name] + theirs[name], WEIGHT_BITS[name]) for name in mine}


def batch(rows: int, inputs: int, seed: int) -> Tensor:
    return torch.randn(rows, inputs, generator=torch.Generator().manual_seed(seed)).clamp(-8, 8)


def halves(rows: int) -> Tensor:
    return (torch.arange(rows) < (rows + 1) // 2).float()


def cosine(a: Tensor, b: Tensor) -> float:
    return float(F.cosine_similarity(a.flatten(), b.flatten(), dim=0))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_step_agrees_with_float64(shape: tuple[int, int, int]) -> None:
    rows, inputs, hidden = shape
    x, targets, rate = batch(rows, inputs, 1), halves(rows), GradientDescent(3, 7)
    weights, masks = random_head(inputs, hidden, 2)
    results, _ = record(
        head_party(weights, masks, [x], targets, rate=rate), head_plans(rows, inputs, hidden, 1, rate=rate)
    )
    expected = reference(weights_at(0, results), x, targets)
    assert cosine(results[DEVELOPER][0][0], expected.by_x) >= 0.999
    before, after = weights_at(0, results), weights_at(1, results)
    size = rate.numerator / 2**rate.shift
    rounding = (size * rows * (2 * 2.0**-6 * 3) + 1.0) * 2.0**-10  # of the index of the sigmoid, and of w2
    for name, gradient in expected.by_weight.items():
        if gradient.abs().max() * size > 16 * rounding:
            assert cosine(before[name] - after[name], gradient) >= 0.99
        assert ((before[name] - after[name]) / size - gradient).abs().max() <= 0.1 * gradient.abs().max() + 0.2


def test_many_steps_stay_with_float64_on_the_same_weights() -> None:
    rows, inputs, hidden, steps, rate = 32, 40, 16, 100, GradientDescent(3, 7)
    targets = halves(rows)
    mean = torch.randn(inputs, generator=torch.Generator().manual_seed(5)) * 0.6
    batches = [(batch(rows, inputs, step) + targets[:, None] * mean).clamp(-8, 8) for step in range(steps)]
    weights, masks = random_head(inputs, hidden, 2)
    plans = head_plans(rows, inputs, hidden, steps, [rows], rate)
    party = head_party(weights, masks, batches, targets, scored=[batches[0]], opened=True, rate=rate)
    results, _ = record(party, plans)
    losses = []
    for step in range(steps):
        expected = reference(weights_at(step, results), batches[step], targets)
        assert cosine(results[DEVELOPER][0][step], expected.by_x) >= (0.999 if step in (0, 9, 99) else 0.997)
        losses.append(float(F.binary_cross_entropy_with_logits(expected.logits, targets.double())))
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])  # it learns
    final = weights_at(steps, results)
    expected = reference(final, batches[0], targets)
    assert (results[AUDITOR][1][0] - expected.logits).abs().max() < 2.0**-19 + 1e-3  # s is arbitrary below 2^-16
    opened = results[AUDITOR][2]
    assert results[DEVELOPER][2] is None
    unit = 2.0**-OPENED_BITS
    assert (torch.cat([opened["w1"], opened["b1"][None]]) - final["w1"]).abs().max() <= 2 * unit
    assert torch.equal(opened["w2"], final["w2"])
    assert (opened["b2"] - final["b2"]).abs() <= 2 * unit
    assert results[DEVELOPER][1] == [None]
    assert results[AUDITOR][0] == [None] * steps


def test_logits_are_exact_to_their_last_bit() -> None:
    rows, inputs, hidden = 20, 6, 5
    weights, masks = random_head(inputs, hidden, 2)
    x = batch(rows, inputs, 1)
    party = head_party(weights, masks, [], halves(rows), scored=[x, x[:3]])
    results, _ = record(party, head_plans(rows, inputs, hidden, 0, [rows, 3]))
    expected = reference(weights_at(0, results), x, halves(rows)).logits
    for scores in results[AUDITOR][1]:
        assert ((expected[: len(scores)] - scores) * 2.0**20).min() > -0.01  # rounded down, one unit more at most
        assert ((expected[: len(scores)] - scores) * 2.0**20).max() < 2.01


def test_two_runs_of_the_same_seeds_are_identical() -> None:
    rows, inputs, hidden, steps = 8, 6, 5, 3
    weights, masks = random_head(inputs, hidden, 2)
    x = [batch(rows, inputs, step) for step in range(steps)]
    party = head_party(weights, masks, x, halves(rows), scored=[x[0]], opened=True)
    plans = head_plans(rows, inputs, hidden, steps, [rows])
    runs = [record(party, plans, seed) for seed in (4, 4, 5)]
    sent = [[t for view in views for t in view.incoming] for _, views in runs]
    assert all(torch.equal(a, b) for a, b in zip(sent[0], sent[1], strict=True))
    for a, b in zip(runs[0][0][DEVELOPER][0], runs[1][0][DEVELOPER][0], strict=True):
        assert torch.equal(a, b)
    assert torch.equal(runs[0][0][AUDITOR][1][0], runs[1][0][AUDITOR][1][0])
    after = list(zip(sent[0][6:], sent[2][6:], strict=True))  # after the first sharing
    fresh = [torch.equal(a, b) for a, b in after if a.any()]  # the first step has no dw2 of a step before to test
    assert len(fresh) >= len(after) - 4
    assert not any(fresh)


def test_ten_rounds_a_training_step_and_six_a_score() -> None:
    rows, inputs, hidden = 4, 3, 2
    weights, masks = random_head(inputs, hidden, 2)
    x = batch(rows, inputs, 1)
    party = head_party(weights, masks, [x, x], halves(rows), scored=[x])
    counted = []

    def run(index: int, channel: Any, supply: Any) -> None:
        party(index, channel, supply)
        counted.append(channel.stats.rounds)

    _, views = record(run, head_plans(rows, inputs, hidden, 2, [rows]))
    for step, expected in ((0, 10), (1, 10), (2, 5)):
        assert len([m for m in views[AUDITOR].sent if m.step == step and m.tag.startswith("round")]) == expected
    assert not [m for m in views[DEVELOPER].sent if m.tag == "round-9"]
    assert len([m for m in views[DEVELOPER].sent if m.step == 2 and m.tag.startswith("round")]) == 6
    assert max(counted) == 10 + 10 + 6


def test_a_step_without_masks_left_is_an_error() -> None:
    weights, masks = random_head(3, 2, 2)
    x = batch(4, 3, 1)
    with pytest.raises(ProtocolError, match="no block for step 1"):
        record(head_party(weights, masks, [x, x], halves(4)), head_plans(4, 3, 2, 1))
