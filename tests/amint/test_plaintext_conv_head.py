"""The twin with convolutions: one step against torch, its limits, and the training loop, which does not know it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from amint_mpc.amint import PlaintextConvHead, Trainer
from amint_mpc.config import Experiment, Head
from amint_mpc.errors import ProtocolError
from amint_mpc.limits import representable_rate
from amint_mpc.models import init_conv_head, seeded_normal
from amint_mpc.models.conv_head_weights import ConvWeights, TapShapes
from amint_mpc.roles.heads import head_kind
from tests.amint.test_trainer import pictures
from tests.device import DEVICE

TAPS: TapShapes = ((2, 4, 4), (3, 2, 2))


def weights() -> ConvWeights:
    first = init_conv_head(TAPS, 2, 4, seeded_normal(0))
    return ConvWeights(TAPS, {name: value + 0.05 for name, value in first.values.items()})


def features(rows: int) -> Tensor:
    return torch.randn(rows, 44, generator=torch.Generator().manual_seed(1)).clamp(-8, 8)


@pytest.mark.parametrize(("rows", "members"), [(8, 4), (7, 2)])
def test_gradient_and_update_are_those_of_gradient_descent(rows: int, members: int) -> None:
    start, x = weights(), features(rows).double().requires_grad_()
    leaves = {name: value.clone().requires_grad_() for name, value in start.values.items()}
    z = ConvWeights(TAPS, leaves).logits(x)
    one, zero = torch.ones_like(z[:members]), torch.zeros_like(z[members:])
    loss = F.binary_cross_entropy_with_logits(z[:members], one) + F.binary_cross_entropy_with_logits(z[members:], zero)
    loss.backward()
    head = PlaintextConvHead(start, 0.25)
    gradient = head.step(features(rows), members)
    assert gradient.dtype == torch.float32
    torch.testing.assert_close(gradient, x.grad.float())
    assert head.loss == pytest.approx(float(loss.detach()))
    a, k = representable_rate(0.25 / members)
    for name, value in head.weights.values.items():
        torch.testing.assert_close(value, start.values[name] - members * a / 2**k * leaves[name].grad)
    assert all(torch.equal(start.values[name], weights().values[name]) for name in start.values)


def test_it_works_where_nothing_records_gradients() -> None:
    head = PlaintextConvHead(weights(), 0.25)
    with torch.no_grad():
        assert head.step(features(8), 4).abs().sum() > 0
    scores = head.score(features(8))
    assert not scores.requires_grad
    assert bool(((scores > 0) & (scores < 1)).all())


@pytest.mark.parametrize(
    ("layer", "shift", "message"),
    [
        ("first.weight", 0.0, "convolution"),
        ("hidden.weight", 0.0, "hidden"),
        ("output.weight", 0.0, "logit"),
        ("", 9.0, "feature"),
        ("", float("nan"), "not finite"),
    ],
)
def test_what_the_secure_head_could_not_compute_is_refused(layer: str, shift: float, message: str) -> None:
    values = {name: value * (1e4 if name == layer else 1) for name, value in weights().values.items()}
    if layer == "first.weight":
        values["hidden.weight"] = values["hidden.weight"] * 1e-4
    head = PlaintextConvHead(ConvWeights(TAPS, values), 0.25)
    for call in (lambda x: head.step(x, 4), head.score):
        with pytest.raises(ProtocolError, match=message):
            call(features(8) + shift)


def test_the_loop_trains_with_it_as_with_any_head() -> None:
    experiment = Experiment.model_validate(
        {
            "data": {"members": 20, "external": 28, "unseen": 12},
            "model": {"width": 2},
            "head": {"input": "conv", "filters": 2, "hidden": 4, "learning_rate": 0.1},
            "training": {"epochs": 2, "sealed_epochs": 0, "warmup_epochs": 0, "batch": 8, "evaluate_every": 1},
        }
    )
    kind = head_kind(experiment)
    heads = [kind.plaintext(kind.first_weights(seeded_normal(1)), Head(learning_rate=0.1)) for _ in range(2)]
    first = heads[0].weights
    trainers = [
        Trainer(experiment, pictures(experiment), head, DEVICE, overlap)
        for head, overlap in zip(heads, (True, False), strict=True)
    ]
    for trainer in trainers:
        list(trainer.run())
        assert len(trainer.scores) == 5
    one, two = (head.weights.values for head in heads)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["first.weight"], first.values["first.weight"])
