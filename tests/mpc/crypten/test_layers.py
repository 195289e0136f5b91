"""Any crypten.nn head runs on our channel and dealer: forward, backward and an SGD step against torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.crypten.tracing import trace
from amint_mpc.mpc.crypten_compat import crypten
from tests.mpc.crypten.crypten_parties import Parties

RATE = 0.5
TOLERANCE = 2e-3  # values below 2 at 16 fractional bits; CrypTen's sigmoid is good to 1e-3


def mlp() -> tuple[torch.nn.Module, Callable[[], Any]]:
    def head() -> Any:
        return crypten.nn.Sequential(crypten.nn.Linear(12, 8), crypten.nn.ReLU(), crypten.nn.Linear(8, 1))

    return torch.nn.Sequential(torch.nn.Linear(12, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1)), head


def convolutional() -> tuple[torch.nn.Module, Callable[[], Any]]:
    def head() -> Any:
        n = crypten.nn
        return n.Sequential(n.Conv2d(2, 3, 3, stride=2), n.ReLU(), n.Flatten(), n.Linear(12, 1))

    n = torch.nn
    return n.Sequential(n.Conv2d(2, 3, 3, stride=2), n.ReLU(), n.Flatten(), n.Linear(12, 1)), head


def encrypted(make: Callable[[], Any], weights: list[Tensor]) -> Any:
    """The auditor's head, shared."""
    head = make()
    for parameter, value in zip(head.parameters(), weights, strict=True):
        parameter.data.copy_(value)
    return head.encrypt(src=AUDITOR)


def secure_step(make: Callable[[], Any], weights: list[Tensor], features: Tensor, labels: Tensor, loss: bool) -> Any:
    """Logits, gradient with respect to the features and weights after one step; opened, for the comparison."""
    head = encrypted(make, weights)
    x = crypten.cryptensor(features, src=DEVELOPER, requires_grad=True)
    optimizer = crypten.optim.SGD(head.parameters(), lr=RATE)
    logits = head(x)
    if loss:
        y = crypten.cryptensor(labels, src=DEVELOPER)
        crypten.nn.BCEWithLogitsLoss(skip_forward=True)(logits, y).backward()
    else:
        with crypten.no_grad():
            gradient = (logits.sigmoid() - labels).div(len(labels))
        logits.backward(gradient)
    optimizer.step()
    opened = [logits, x.grad, *head.parameters()]
    return [value.get_plain_text() for value in opened]


def plain_step(model: torch.nn.Module, features: Tensor, labels: Tensor) -> list[Tensor]:
    x = features.clone().requires_grad_()
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    logits = model(x)
    torch.nn.functional.binary_cross_entropy_with_logits(logits, labels).backward()
    optimizer.step()
    assert x.grad is not None
    return [logits.detach(), x.grad, *(p.detach() for p in model.parameters())]


@pytest.mark.parametrize("loss", [True, False], ids=["loss", "direct"])
@pytest.mark.parametrize(("build", "shape"), [(mlp, (10, 12)), (convolutional, (6, 2, 6, 6))])
def test_a_step_matches_torch(parties: Parties, build: Any, shape: tuple[int, ...], loss: bool) -> None:
    torch.manual_seed(3)
    model, make = build()
    features = torch.randn(shape)
    labels = (torch.arange(shape[0]) < shape[0] // 2).float().unsqueeze(1)
    weights = [parameter.detach().clone() for parameter in model.parameters()]
    expected = plain_step(model, features, labels)

    def real() -> Any:
        return secure_step(make, weights, features, labels, loss)

    results = parties.step(real)
    for mine, theirs, plain in zip(*results, expected, strict=True):
        assert torch.equal(mine, theirs)
        assert (mine - plain).abs().max() < TOLERANCE
    moved = max((after - before).abs().max().item() for after, before in zip(expected[2:], weights, strict=True))
    assert moved > 10 * TOLERANCE  # the step is large enough to be seen


def test_the_plan_is_the_same_for_every_party_and_for_zeros() -> None:
    model, make = mlp()
    weights = [parameter.detach() for parameter in model.parameters()]
    zeros = [torch.zeros_like(weight) for weight in weights]
    labels = torch.ones(10, 1)
    real = trace(lambda: secure_step(make, weights, torch.randn(10, 12), labels, True), DEVELOPER)
    for party in (DEVELOPER, AUDITOR):
        dry = trace(lambda: secure_step(make, zeros, torch.zeros(10, 12), 0 * labels, True), party)
        assert list(dry.items()) == list(real.items())
