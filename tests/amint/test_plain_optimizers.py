"""The updates of the plaintext head against torch's optimizer and against NovoGrad as the paper writes it."""

from __future__ import annotations

import math

import pytest
import torch

from amint_mpc.amint.optimizers import Descent, Momentum, NovoGrad, plaintext_optimizer
from amint_mpc.amint.plaintext_head import PlaintextHead
from amint_mpc.config import Head
from amint_mpc.errors import ProtocolError
from amint_mpc.limits import (
    CLIP,
    MAX_OCTAVES,
    SEARCH,
    SEARCH_BETA,
    START_OCTAVES,
    representable_momentum,
    representable_rate,
)
from amint_mpc.models.head_weights import HeadWeights, init_head, seeded_normal

MEMBERS = 16


def gradients(step: int, scale: float = 1.0) -> HeadWeights:
    drawn = init_head(6, 5, seeded_normal(step + 1)).tensors()
    return HeadWeights(**{name: (value + 0.01) * scale for name, value in drawn.items()})


def test_momentum_is_torchs() -> None:
    """A constant rate makes the heavy ball and torch's velocity the same."""
    weights, lr = init_head(6, 5, seeded_normal(0)), 0.03
    a, k = representable_rate(lr / MEMBERS)
    leaves = {name: value.clone().requires_grad_() for name, value in weights.tensors().items()}
    reference = torch.optim.SGD(leaves.values(), lr=MEMBERS * a / 2**k, momentum=115 / 128)
    ours = Momentum(lr, 0.9)
    for step in range(30):
        weights = ours.step(weights, gradients(step), MEMBERS)
        for name, value in gradients(step).tensors().items():
            leaves[name].grad = value
        reference.step()
    for name, value in weights.tensors().items():
        torch.testing.assert_close(value, leaves[name].detach())


@pytest.mark.parametrize("momentum", [1 / 128, 0.5, 0.9, 0.95, 127 / 128])
def test_momentum_is_close_to_the_one_asked_for(momentum: float) -> None:
    a, k = representable_momentum(momentum)
    assert abs(a / 2**k - momentum) <= 1 / 256
    assert a % 2 == 1
    assert k <= 7


def test_novograd_is_the_papers_with_the_second_moment_of_the_step_before() -> None:
    """v(t) = beta v(t-1) + (1 - beta) |g(t)|^2 for each layer; the step is lr g / sqrt(v) with v of the step before."""
    weights, lr, beta2 = init_head(6, 5, seeded_normal(0)), 0.03, 0.9
    ours, expected = NovoGrad(lr, beta2), weights
    v = [lr**2 * 2**START_OCTAVES] * 2
    for step in range(40):
        g = gradients(step % 2, 1 + step % 3)
        expected_g = {name: MEMBERS * value for name, value in g.tensors().items()}
        rates = [lr / math.sqrt(each) for each in v]
        moved = {"w1": rates[0], "b1": rates[0], "w2": rates[1], "b2": rates[1]}
        old = expected.tensors()
        expected = HeadWeights(**{name: old[name] - moved[name] * expected_g[name] for name in old})
        squares = [float(expected_g[n].square().sum()) for n in ("w1", "b1", "w2")]
        beta = SEARCH_BETA if step + 1 <= SEARCH else beta2
        v = [beta * a + (1 - beta) * b for a, b in zip(v, (squares[0] + squares[1], squares[2]), strict=True)]
        weights = ours.step(weights, g, MEMBERS)
    for name, value in weights.tensors().items():
        torch.testing.assert_close(value, expected.tensors()[name])
    assert math.sqrt(ours._lengths[0]) == pytest.approx(lr, rel=0.7)  # a step is about as long as the learning rate


def test_a_longer_step_counts_as_one_of_four_learning_rates() -> None:
    ours, weights = NovoGrad(0.03, 0.95), init_head(6, 5, seeded_normal(0))
    for _ in range(20):
        ours.step(weights, gradients(1), MEMBERS)
    settled = ours.octaves[0]
    assert 2 ** (-settled / 2) * MEMBERS * gradients(1).w1.norm() == pytest.approx(0.03, rel=0.2)
    ours.step(weights, gradients(1, 40), MEMBERS)
    ours.step(weights, gradients(1), MEMBERS)
    assert ours.octaves[0] - settled == pytest.approx(math.log2(0.95 + 0.05 * CLIP), abs=0.01)


def test_rates_stay_between_their_limits() -> None:
    ours, weights = NovoGrad(0.03, 0.5), init_head(6, 5, seeded_normal(0))
    for _ in range(60):
        ours.step(weights, gradients(1, 1e-9), MEMBERS)
    assert ours.octaves == [0.0, 0.0]  # the rate is 1: no gradient, however small, is blown up further
    big = NovoGrad(0.03, 0.5)
    big.octaves[0] = 39.5
    for _ in range(3):
        big.step(weights, gradients(1, 5e3), MEMBERS)
    assert big.octaves[0] == MAX_OCTAVES


@pytest.mark.parametrize("scale", [1e4, math.nan])
def test_a_step_beyond_the_secure_heads_range_is_refused(scale: float) -> None:
    with pytest.raises(ProtocolError, match="too long for the secure NovoGrad"):
        NovoGrad(0.03, 0.95).step(init_head(6, 5, seeded_normal(0)), gradients(1, scale), MEMBERS)


def test_the_settings_choose_the_optimizer() -> None:
    assert type(plaintext_optimizer(Head())) is Descent
    assert type(plaintext_optimizer(Head(optimizer="momentum", momentum=0.5))) is Momentum
    assert type(plaintext_optimizer(Head(optimizer="novograd"))) is NovoGrad


@pytest.mark.parametrize("head", [Head(optimizer="momentum", learning_rate=0.05), Head(optimizer="novograd")], ids=str)
def test_it_learns_to_tell_members(head: Head) -> None:
    twin = PlaintextHead(init_head(6, 8, seeded_normal(0)), plaintext_optimizer(head))
    x = torch.randn(64, 6, generator=torch.Generator().manual_seed(1))
    x[:32, 0] += 2
    for _ in range(100):
        twin.step(x.clamp(-8, 8), 32)
    scores = twin.score(x.clamp(-8, 8))
    assert scores[:32].mean() > 0.8 > 0.2 > scores[32:].mean()
