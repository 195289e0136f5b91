"""Shadow models: how the pool is shared out, and that a model meets its own half alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from amint_mpc.amint.attacks.shadows import by_set, halves, pool, shadow_experiment, train_shadow
from amint_mpc.errors import UsageError
from amint_mpc.events import StepEvent
from tests.amint.small_pictures import pictures, settings
from tests.device import DEVICE


@pytest.mark.parametrize(("count", "shadows"), [(50, 4), (51, 8)])
def test_every_image_is_inside_half_of_the_models(count: int, shadows: int) -> None:
    inside = halves(count, shadows, 1)
    assert inside.shape == (shadows, count)
    assert (inside.sum(0) == shadows // 2).all()
    assert set(inside.sum(1).tolist()) <= {count // 2, count - count // 2}
    assert torch.equal(inside, halves(count, shadows, 1))
    assert not torch.equal(inside, halves(count, shadows, 2))
    assert not torch.equal(inside[0], inside[2])


@pytest.mark.parametrize("shadows", [0, 2, 5])
def test_numbers_that_cannot_be_shared_out_are_refused(shadows: int) -> None:
    with pytest.raises(UsageError, match="shadow models"):
        halves(50, shadows, 1)


def test_the_pool_is_members_and_unseen_images_in_the_order_of_the_sets() -> None:
    images = pictures(settings())
    pixels, labels = pool(images)
    assert len(pixels) == len(labels) == 64
    parts = by_set(images, torch.arange(64))
    assert {name: len(rows) for name, rows in parts.items()} == {
        "members_calibration": 20,
        "members_report": 20,
        "unseen_calibration": 12,
        "unseen_report": 12,
    }
    for name, rows in parts.items():
        assert torch.equal(pixels[rows], images.images(name))
    assert torch.equal(labels[parts["unseen_report"]], images.unseen_label_half("unseen_report"))


def test_a_shadow_model_is_shaped_by_its_own_half_alone() -> None:
    experiment = settings()
    images = pictures(experiment)
    inside = halves(64, 4, experiment.seed)[0]
    events: list[object] = []

    def weights(**changes: torch.Tensor) -> dict[str, torch.Tensor]:
        return train_shadow(experiment, replace(images, **changes), inside, 0, DEVICE, events.append).weights()

    def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
        return all(torch.equal(one[name], two[name]) for name in one)

    first = weights()
    assert sum(isinstance(event, StepEvent) for event in events) == 3 * (32 // 8)  # all epochs, on its half
    members, unseen = images.members.clone(), images.unseen.clone()
    members[~inside[:40]] ^= 255
    unseen[~inside[40:]] ^= 255
    labels = torch.where(inside[:40], images.member_labels, (images.member_labels + 1) % 3)
    outside = {"members": members, "unseen": unseen, "member_labels": labels, "external": 255 - images.external}
    assert same(first, weights(**outside))
    met = images.unseen.clone()
    met[inside[40:]] ^= 255
    assert not same(first, weights(unseen=met))


def test_shadow_models_differ_and_carry_the_task_alone() -> None:
    variants = [shadow_experiment(settings(distillation=0.5), 32, 32, number) for number in range(4)]
    assert len({variant.seed for variant in variants}) == 4
    assert {variant.method for variant in variants} == {"task"}
    assert all(0 <= variant.seed < 2**31 for variant in variants)
    assert shadow_experiment(settings(), 5, 6, 0).training.batch == 5  # a half smaller than a batch still trains
