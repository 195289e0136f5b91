"""Mixed precision: the classifier's layers alone, both losses' gradients with respect to the same factor."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from amint_mpc.amint import Trainer
from amint_mpc.config import Experiment
from tests.amint.test_trainer import Watched, pictures, run, same, settings
from tests.device import DEVICE

HALVES = ["bfloat16", "float16"]


def first_gradients(experiment: Experiment) -> list[Tensor]:
    """What the optimizer is given in the first joint step, the scaler's factor taken out."""
    trainer = Trainer(experiment, pictures(experiment), Watched(experiment), DEVICE)
    if trainer._scaler.is_enabled():
        trainer._scaler = torch.amp.GradScaler(DEVICE, init_scale=2.0**8)  # the usual start overflows on a few images
    found: list[Tensor] = []
    step = trainer._step

    def noted() -> None:
        found.extend(p.grad / trainer._scaler.get_scale() for p in trainer.backbone.parameters() if p.grad is not None)
        step()

    trainer._step = noted  # type: ignore[method-assign]
    next(trainer.run())
    return found


@pytest.mark.parametrize("precision", HALVES)
@pytest.mark.parametrize("mint_weight", [0.0, 10.0])
def test_both_parts_of_the_gradient_are_those_of_float32(precision: str, mint_weight: float) -> None:
    """With weight 0 the task's part alone, with ten nearly the head's alone: neither may lose its scale."""
    plain = settings(warmup_epochs=0, distillation=0.0, mint_weight=mint_weight)
    exact = first_gradients(plain)
    rounded = first_gradients(settings(warmup_epochs=0, distillation=0.0, mint_weight=mint_weight, precision=precision))
    assert len(exact) == len(rounded) > 0
    one, two = (torch.cat([g.flatten() for g in gradients]) for gradients in (exact, rounded))
    assert F.cosine_similarity(one, two, dim=0) > 0.98
    assert float(two.norm() / one.norm()) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("precision", HALVES)
def test_the_head_and_the_optimizer_see_float32(precision: str) -> None:
    experiment = settings(precision=precision)
    trainer, events = run(experiment, Watched(experiment))  # Watched refuses features of another type
    assert all(value.dtype in (torch.float32, torch.int64) for value in trainer.backbone.weights().values())
    assert trainer.soft_labels is not None
    assert trainer.soft_labels.dtype == torch.float32
    assert len(events) == 9


def test_precision_changes_the_result_and_its_digest() -> None:
    plain, rounded = settings(), settings(precision="bfloat16")
    assert plain.digest() != rounded.digest()
    assert not same(run(plain, Watched(plain))[0], run(rounded, Watched(rounded))[0])


def test_the_overlap_changes_no_bit_here_either() -> None:
    experiment = settings(precision="bfloat16")
    trainers = [
        Trainer(experiment, pictures(experiment), Watched(experiment), DEVICE, overlap) for overlap in (False, True)
    ]
    for trainer in trainers:
        list(trainer.run())
    assert same(*trainers)


def test_an_overflow_leaves_out_the_classifiers_step_alone() -> None:
    experiment = settings(warmup_epochs=0, distillation=0.0, precision="float16")
    head = Watched(experiment)
    trainer = Trainer(experiment, pictures(experiment), head, DEVICE)
    trainer._scaler = torch.amp.GradScaler(DEVICE, init_scale=2.0**100)
    before = [parameter.detach().clone() for parameter in trainer.backbone.parameters()]
    next(trainer.run())
    assert all(torch.equal(one, two) for one, two in zip(before, trainer.backbone.parameters(), strict=True))
    assert trainer._scaler.get_scale() == 2.0**99
    assert head.weights is not head.first
