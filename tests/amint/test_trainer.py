"""The training loop, on a few images."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from amint_mpc.amint import PlaintextHead, Trainer, membership_figures
from amint_mpc.amint.trainer import pick_device
from amint_mpc.config import Experiment
from amint_mpc.data import SETS, LabelledImages, SplitImages, set_counts, split_images
from amint_mpc.errors import UsageError
from amint_mpc.events import EpochEvent, StepEvent
from amint_mpc.models import feature_count, init_head, seeded_normal
from tests.device import DEVICE


def settings(**training: Any) -> Experiment:
    values = {
        "sealed_epochs": 0,
        "epochs": 2,
        "warmup_epochs": 1,
        "batch": 8,
        "evaluate_every": 1,
        "distillation": 0.5,
    } | training
    return Experiment.model_validate(
        {
            "data": {"members": 20, "external": 28, "unseen": 12},
            "model": {"width": 2},
            "head": {"hidden": 8, "learning_rate": 0.1},
            "training": values,
        }
    )


def pictures(experiment: Experiment, seed: int = 0) -> SplitImages:
    generator = torch.Generator().manual_seed(seed)
    brightness = torch.rand(64, 1, 1, 1, generator=generator)  # so that pooled features differ, too
    source = (torch.rand(64, 1, 28, 28, generator=generator) * brightness * 255).to(torch.uint8)
    labels = torch.randint(3, (64,), generator=generator)
    return split_images(LabelledImages(source, labels), experiment.data, 3, experiment.seed)


class Watched(PlaintextHead):
    """Notes what the loop asks for; may keep its scores to itself, as a secure head does."""

    def __init__(self, experiment: Experiment, *, silent: bool = False) -> None:
        count = feature_count(experiment, (1, 28, 28))
        super().__init__(init_head(count, experiment.head.hidden, seeded_normal(7)), 0.1)
        self.silent = silent
        self.steps: list[tuple[tuple[int, ...], int]] = []
        self.scored: list[int] = []
        self.first = self.weights

    def step(self, features: Tensor, members: int) -> Tensor:
        assert not features.requires_grad
        assert features.dtype == torch.float32
        self.steps.append((tuple(features.shape), members))
        return super().step(features, members)

    def score(self, features: Tensor) -> Tensor | None:  # type: ignore[override]
        self.scored.append(len(features))
        return None if self.silent else super().score(features)


def run(experiment: Experiment, head: Watched | None, images: SplitImages | None = None) -> tuple[Trainer, list[Any]]:
    trainer = Trainer(experiment, images or pictures(experiment), head, DEVICE)
    return trainer, list(trainer.run())


def same(first: Trainer, second: Trainer) -> bool:
    one, two = first.backbone.weights(), second.backbone.weights()
    return all(torch.equal(one[name], two[name]) for name in one)


def test_events_and_calls_follow_the_schedule() -> None:
    experiment, head = settings(), Watched(settings())
    trainer, events = run(experiment, head)
    steps = [event for event in events if isinstance(event, StepEvent)]
    epochs = [event for event in events if isinstance(event, EpochEvent)]
    assert [(event.step, event.steps) for event in steps] == [(1, 2), (2, 2), (1, 4), (2, 4), (3, 4), (4, 4)]
    assert [event.phase for event in steps] == ["warm-up"] * 2 + ["joint"] * 4
    assert [(event.epoch, event.epochs) for event in epochs] == [(1, 3), (2, 3), (3, 3)]
    assert set(epochs[0].figures) == {"task_accuracy"}
    assert set(epochs[1].figures) == set(epochs[2].figures) == {"task_accuracy", "mint_auc", "mint_accuracy_at_half"}
    assert head.steps == [((16, feature_count(experiment, (1, 28, 28))), 8)] * 4
    assert head.scored == [16, 60], "all sets of a scoring at once"
    assert {name: len(values) for name, values in trainer.scores.items()} == set_counts(experiment.data)
    assert membership_figures(trainer.scores, 1).mint_auc.value >= 0
    accuracy = trainer.task_accuracy()
    assert 0 <= accuracy.low <= accuracy.value <= accuracy.high <= 1


def test_same_seed_same_result() -> None:
    experiment = settings()
    heads = [Watched(experiment), Watched(experiment)]
    (first, one), (again, two) = (run(experiment, head) for head in heads)
    assert same(first, again)
    assert torch.equal(heads[0].weights.w1, heads[1].weights.w1)
    assert all(torch.equal(first.scores[name], again.scores[name]) for name in SETS)
    assert [event.losses for event in one if isinstance(event, StepEvent)] == [
        event.losses for event in two if isinstance(event, StepEvent)
    ]
    other, _ = run(experiment.model_copy(update={"seed": 2}), Watched(experiment), pictures(experiment))
    assert not same(first, other)


def test_the_loop_does_not_know_which_head_it_has() -> None:
    """A head that tells no scores gives the same classifier, and no membership figure anywhere."""
    experiment = settings()
    open_trainer, _ = run(experiment, Watched(experiment))
    silent_trainer, events = run(experiment, Watched(experiment, silent=True))
    assert same(open_trainer, silent_trainer)
    assert silent_trainer.scores == {}
    figures = [set(event.figures) for event in events if isinstance(event, EpochEvent)]
    assert figures == [{"task_accuracy"}] * 3


def test_the_head_takes_no_step_in_warm_up() -> None:
    head = Watched(settings())
    trainer = Trainer(settings(), pictures(settings()), head, DEVICE)
    for event in trainer.run():
        if event.phase == "warm-up":
            assert head.weights is head.first
            assert head.steps == []
    assert head.steps


def test_the_teacher_is_frozen() -> None:
    experiment = settings()
    trainer = Trainer(experiment, pictures(experiment), Watched(experiment), DEVICE)
    kept = None
    for event in trainer.run():
        if event.phase == "joint" and kept is None:
            assert trainer.soft_labels is not None
            kept = trainer.soft_labels.clone()
    assert kept is not None
    assert trainer.soft_labels is not None
    assert torch.equal(kept, trainer.soft_labels)
    assert not kept.requires_grad
    torch.testing.assert_close(kept.sum(1).cpu(), torch.ones(28))
    warm, _ = run(settings(epochs=1, mint_weight=0), None)
    assert warm.soft_labels is not None
    assert torch.equal(warm.soft_labels, kept)  # the teacher is the warm classifier, whatever comes after


def test_without_head_and_distillation_external_images_change_nothing() -> None:
    experiment = settings(distillation=0.0)
    images = pictures(experiment)
    other = replace(images, external=255 - images.external)
    assert same(run(experiment, None, images)[0], run(experiment, None, other)[0])
    taught = settings()
    assert not same(run(taught, None, images)[0], run(taught, None, other)[0])


def test_the_head_shapes_the_classifier_only_by_its_weight() -> None:
    joint, _ = run(settings(), Watched(settings()))
    apart, _ = run(settings(mint_weight=0.0), Watched(settings()))
    alone, _ = run(settings(mint_weight=0.0), None)
    assert same(apart, alone)
    assert not same(joint, apart)


def test_the_overlap_changes_no_bit() -> None:
    experiment = settings()
    heads = [Watched(experiment), Watched(experiment)]
    trainers = [
        Trainer(experiment, pictures(experiment), head, DEVICE, overlap)
        for head, overlap in zip(heads, (False, True), strict=True)
    ]
    for trainer in trainers:
        list(trainer.run())
    assert same(*trainers)
    assert torch.equal(heads[0].weights.w1, heads[1].weights.w1)


def test_unseen_images_change_nothing() -> None:
    experiment = settings()
    images = pictures(experiment)
    other = replace(images, unseen=255 - images.unseen, unseen_labels=(images.unseen_labels + 1) % 3)
    first, second = run(experiment, Watched(experiment), images)[0], run(experiment, Watched(experiment), other)[0]
    assert same(first, second)
    assert not torch.equal(first.scores["unseen_report"], second.scores["unseen_report"])
    assert torch.equal(first.scores["members_report"], second.scores["members_report"])


def test_it_learns_to_tell_members_apart() -> None:
    experiment = settings(epochs=40, evaluate_every=0, distillation=0.0, learning_rate=3e-3)
    head = Watched(experiment)
    trainer, _ = run(experiment, head)
    means = {name: float(values.mean()) for name, values in trainer.scores.items()}
    assert means["members_report"] > 0.7
    assert means["external"] < 0.3
    assert means["external"] < means["unseen_report"] < means["members_report"]


@pytest.mark.parametrize("alone", [False, True])
def test_the_learning_rate_cools_down_over_the_last_joint_steps(alone: bool) -> None:
    """8 joint steps, the last half of them; the warm-up does not count."""
    experiment = settings(epochs=4, cooldown=0.5)
    trainer = Trainer(experiment, pictures(experiment), None if alone else Watched(experiment), DEVICE)
    rates = []
    for event in trainer.run():
        if isinstance(event, StepEvent):  # the rate that the next step will take
            rates.append(trainer._optimizer.param_groups[0]["lr"] / experiment.training.learning_rate)
    assert rates == [1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0]


def test_unknown_device_is_refused() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    for name in ("abacus", "cuda:99"):
        with pytest.raises(UsageError, match="no device"):
            pick_device(name)
