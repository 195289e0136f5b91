"""The joint objective: through the seam it is the same as in one graph."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from amint_mpc.amint import PlaintextHead
from amint_mpc.amint.mint_loss import HeadSteps
from amint_mpc.amint.objective import MINT_START, JointObjective
from amint_mpc.config import Experiment
from amint_mpc.models import build_classifier, init_head, seeded_normal

M, E, CLASSES = 6, 6, 4


def test_gradient_through_the_seam_equals_one_graph() -> None:
    settings = Experiment.model_validate({"model": {"width": 4}})
    torch.manual_seed(0)
    images, labels = torch.rand(M + E, 1, 28, 28), torch.randint(CLASSES, (M,))
    soft = torch.rand(E, CLASSES).softmax(1)
    classifier = build_classifier(settings, (1, 28, 28), CLASSES).double()
    start = init_head(classifier.features.count, 5, seeded_normal(0))
    weight, distillation, first = 0.7, 0.3, 2.5

    logits, features = classifier(images.double())
    z = start.logits(features)
    mint = F.softplus(-z[:M]).mean() + F.softplus(z[M:]).mean()
    task = F.cross_entropy(logits[:M], labels)
    taught = -(soft * logits[M:].log_softmax(1)).sum(1).mean()
    (task / first + weight * mint / (2 * math.log(2)) + distillation * taught).backward()
    expected = [parameter.grad.clone() for parameter in classifier.parameters()]
    classifier.zero_grad()

    objective = JointObjective(distillation)
    objective.first_task = first
    logits, features = classifier(images.double())
    total, values = objective.plaintext_part(logits, labels, soft.double())
    mint_loss = (
        HeadSteps(PlaintextHead(start, 0.1), weight / MINT_START, overlap=False).begin(features, M).loss(features)
    )
    assert float(mint_loss.detach()) == 0
    (total + mint_loss).backward()

    assert {name: float(value) for name, value in values.items()} == {
        "task": float(task.detach()),
        "distillation": float(taught.detach()),
    }
    for parameter, wanted in zip(classifier.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, wanted, rtol=1e-5, atol=1e-7)


def test_task_part_starts_at_one_and_keeps_its_divisor() -> None:
    objective = JointObjective(0.0)
    logits, labels = torch.randn(5, 3), torch.tensor([0, 1, 2])
    first, values = objective.plaintext_part(logits, labels)
    assert float(first) == 1.0
    assert set(values) == {"task"}
    second, later = objective.plaintext_part(logits * 3, labels)
    torch.testing.assert_close(float(second), float(later["task"] / values["task"]))


def test_mint_divisor_is_its_start() -> None:
    z = torch.zeros(4)
    assert math.isclose(float(F.softplus(-z).mean() + F.softplus(z).mean()), MINT_START, rel_tol=1e-6)


def test_external_logits_are_no_part_of_the_task() -> None:
    objective = JointObjective(0.0)
    logits = torch.randn(5, 3, requires_grad=True)
    total, _ = objective.plaintext_part(logits, torch.tensor([0, 1, 2]))
    total.backward()
    assert logits.grad is not None
    assert torch.equal(logits.grad[3:], torch.zeros(2, 3))
    assert bool((logits.grad[:3] != 0).any())


def test_without_weight_the_head_shapes_nothing() -> None:
    head = PlaintextHead(init_head(3, 5, seeded_normal(0)), 0.1)
    features = torch.rand(4, 3, requires_grad=True)
    HeadSteps(head, 0.0, overlap=False).begin(features, 2).loss(features).backward()
    assert torch.equal(features.grad, torch.zeros(4, 3))
