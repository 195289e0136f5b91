"""The order of the images, which every party makes by itself."""

from __future__ import annotations

from itertools import islice

import numpy as np

from amint_mpc.config import Experiment
from amint_mpc.data.order import epoch_orders


def experiment(external: int = 28, seed: int = 1) -> Experiment:
    values = {
        "seed": seed,
        "data": {"members": 20, "external": external, "unseen": 8},
        "training": {"batch": 4, "epochs": 3, "warmup_epochs": 1, "sealed_epochs": 0},
    }
    return Experiment.model_validate(values)


def test_every_epoch_has_a_fresh_order_that_repeats_no_image() -> None:
    first, second = islice(epoch_orders(experiment()), 2)
    for one, two, count in zip(first, second, (20, 28), strict=True):
        assert one.shape == (5, 4)
        assert len(np.unique(one)) == 20
        assert one.max() < count
        assert not np.array_equal(one, two)


def test_fewer_external_images_than_members_start_over() -> None:
    _, external = next(epoch_orders(experiment(external=9)))
    values, times = np.unique(external, return_counts=True)
    assert len(values) == 9
    assert set(times) == {2, 3}


def test_it_follows_from_the_experiment_alone() -> None:
    one, same, other = (list(epoch_orders(experiment(seed=seed))) for seed in (1, 1, 2))
    assert len(one) == 4
    assert all(np.array_equal(a, b) for x, y in zip(one, same, strict=True) for a, b in zip(x, y, strict=True))
    assert not np.array_equal(one[0][0], other[0][0])


def test_a_known_order() -> None:
    """Other parties and later versions must find the same one."""
    members, external = next(epoch_orders(experiment()))
    assert members[0].tolist() == [7, 6, 19, 16]
    assert external[-1].tolist() == [26, 24, 10, 27]
