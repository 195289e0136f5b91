"""The plaintext head against torch's autograd, and the limits it keeps."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from amint_mpc.amint import MintHead, PlaintextHead
from amint_mpc.errors import ProtocolError
from amint_mpc.limits import HIDDEN_LIMIT, LOGIT_LIMIT, representable_rate
from amint_mpc.models import HeadWeights, init_head, seeded_normal


def features(rows: int, count: int = 6, seed: int = 1) -> torch.Tensor:
    return torch.randn(rows, count, generator=torch.Generator().manual_seed(seed)).clamp(-8, 8)


def weights(count: int = 6, hidden: int = 5, scale: float = 3.0) -> HeadWeights:
    first = init_head(count, hidden, seeded_normal(0))
    return HeadWeights(first.w1, first.b1 + 0.1, first.w2 * scale, first.b2 + 0.2)


@pytest.mark.parametrize(("rows", "members"), [(8, 4), (7, 2), (2, 1)])
def test_gradient_and_update_equal_autograd(rows: int, members: int) -> None:
    start, rate = weights(), 0.25
    x = features(rows).double().requires_grad_()
    leaves = {name: value.clone().requires_grad_() for name, value in start.tensors().items()}
    z = HeadWeights(**leaves).logits(x)
    one, zero = torch.ones_like(z[:members]), torch.zeros_like(z[members:])
    loss = F.binary_cross_entropy_with_logits(z[:members], one) + F.binary_cross_entropy_with_logits(z[members:], zero)
    loss.backward()

    head = PlaintextHead(start, rate)
    gradient = head.step(x.detach().float(), members)
    assert gradient.dtype == torch.float32
    torch.testing.assert_close(gradient, x.grad.float(), rtol=1e-5, atol=1e-7)
    assert head.loss == pytest.approx(loss.item(), rel=1e-6)
    a, k = representable_rate(rate / members)
    for name, value in head.weights.tensors().items():
        expected = start.tensors()[name] - members * a / 2**k * leaves[name].grad
        torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-7)


def test_rate_is_close_to_the_one_asked_for() -> None:
    for rate in (0.01, 0.05, 0.1, 0.3):
        a, k = representable_rate(rate / 64)
        assert 64 * a / 2**k == pytest.approx(rate, rel=1 / 4)


def test_the_callers_weights_stay_as_they_are() -> None:
    start = weights()
    before = start.clone()
    PlaintextHead(start, 0.5).step(features(8), 4)
    assert torch.equal(start.w1, before.w1)
    assert torch.equal(start.b2, before.b2)


def test_it_learns_to_tell_members_and_scores_do_not_train() -> None:
    head: MintHead = PlaintextHead(init_head(6, 8, seeded_normal(0)), 0.1)
    x = features(64)
    x[:32, 0] += 2
    for _ in range(200):
        head.step(x.clamp(-8, 8), 32)
    first = head.score(x)
    again = head.score(x)
    assert first is not None
    assert again is not None
    assert first.dtype == torch.float64
    assert torch.equal(first, again)
    assert first[:32].mean() > 0.8 > 0.2 > first[32:].mean()


def fixed(w1: float, w2: float) -> HeadWeights:
    """One feature, one hidden unit: y = w1 x, z = w2 relu(y)."""
    values = (torch.tensor([[w1]]), torch.zeros(1), torch.tensor([w2]), torch.tensor(0.0))
    return HeadWeights(*(value.double() for value in values))


@pytest.mark.parametrize(
    ("w1", "w2", "x", "complaint"),
    [
        (1.0, 1.0, 8.01, "feature lies outside"),
        (1.0, 1.0, math.nan, "feature lies outside"),
        (HIDDEN_LIMIT / 4, 0.01, 4.0, "hidden pre-activation"),
        (1.0, LOGIT_LIMIT / 4, 4.0, "logit"),
        (math.nan, 1.0, 1.0, "hidden pre-activation"),
    ],
)
def test_values_out_of_range_are_refused(w1: float, w2: float, x: float, complaint: str) -> None:
    with pytest.raises(ProtocolError, match=complaint):
        PlaintextHead(fixed(w1, w2), 0.1).step(torch.tensor([[x], [0.0]]), 1)
    with pytest.raises(ProtocolError, match=complaint):
        PlaintextHead(fixed(w1, w2), 0.1).score(torch.tensor([[x], [0.0]]))


def test_values_just_in_range_are_taken() -> None:
    gradient = PlaintextHead(fixed(2.8, 2.8), 0.1).step(torch.tensor([[8.0], [0.0]]), 1)
    assert bool(gradient.isfinite().all())


@pytest.mark.parametrize(
    ("weights", "complaint"),
    [
        (fixed(64.0, 0.1), "squares of w1 and b1"),
        (fixed(0.1, 8.0), "squares of w2"),
        (replace(fixed(0.1, 0.1), b2=torch.tensor(64.0, dtype=torch.float64)), "b2"),
        (replace(fixed(0.1, 0.1), b1=torch.full((1,), 128.0, dtype=torch.float64)), "hidden pre-activation"),
    ],
)
def test_weights_out_of_range_are_refused(weights: HeadWeights, complaint: str) -> None:
    with pytest.raises(ProtocolError, match=complaint):
        PlaintextHead(weights, 0.1).score(torch.tensor([[0.1], [0.0]]))


def test_sums_of_squares_out_of_range_are_refused() -> None:
    units = HeadWeights(
        *(t.double() for t in (torch.full((4, 4), 5.0), torch.full((4,), 30.0), torch.zeros(4), torch.tensor(0.0)))
    )
    with pytest.raises(ProtocolError, match="squares of an image's hidden values"):
        PlaintextHead(units, 0.1).score(torch.full((2, 4), 4.0))
    with pytest.raises(ProtocolError, match="squares of a unit's hidden values"):
        PlaintextHead(units, 0.1).score(torch.full((6, 4), 2.5))


def test_too_large_a_sum_for_w2_is_refused() -> None:
    rows = 128  # each external row adds p relu(y) = relu(y) / 2 and more
    features = torch.full((rows, 1), 8.0)
    with pytest.raises(ProtocolError, match="gradient with respect to w2"):
        PlaintextHead(fixed(1.0, 0.1), 0.1).step(features, 1)


def test_too_steep_a_gradient_is_refused() -> None:
    steep = fixed(5.0, 7.9)  # at x = .001: the gradient row is w1 w2 (1 - p), 19
    with pytest.raises(ProtocolError, match="gradient row"):
        PlaintextHead(steep, 0.1).step(torch.tensor([[0.001], [0.0]]), 1)
