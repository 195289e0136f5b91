"""Images of noise, which only measurements have."""

import pytest
import torch

from amint_mpc.bench.noise import noise_images, on_noise
from amint_mpc.config import load_experiment
from amint_mpc.data import DATASETS, set_counts
from amint_mpc.errors import UsageError


def test_noise_has_the_shape_that_was_asked_for_and_comes_from_the_seed() -> None:
    smoke = load_experiment("smoke")
    experiment = on_noise(smoke, 32)
    images = noise_images(experiment)
    assert {name: len(images.images(name)) for name in set_counts(smoke.data)} == set_counts(smoke.data)
    assert images.members.shape[1:] == (3, 32, 32)
    assert 100 < float(images.members.float().mean()) < 155
    assert set(images.member_labels.tolist()) <= set(range(images.classes))
    assert torch.equal(images.members, noise_images(experiment).members)
    assert not torch.equal(images.members, noise_images(experiment.model_copy(update={"seed": 2})).members)


def test_noise_goes_by_its_name_and_is_no_dataset() -> None:
    smoke = load_experiment("smoke")
    assert on_noise(smoke, 32).name == "noise"
    assert on_noise(smoke, 32).training == smoke.training
    assert "noise" not in DATASETS
    with pytest.raises(UsageError, match="pixels"):
        on_noise(smoke, 4)
