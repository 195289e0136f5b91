"""Passive MINT and the blind control."""

from __future__ import annotations

import torch

from amint_mpc.amint import Trainer
from amint_mpc.amint.detectors import detector_figures
from amint_mpc.amint.metrics import roc_auc
from amint_mpc.amint.passive import Features, frozen_features, held_out_scores, passive_scores, untrained
from amint_mpc.config import Experiment
from amint_mpc.data import SETS
from tests.amint.small_pictures import pictures, settings
from tests.device import DEVICE


def blind_features(seed: int) -> tuple[Experiment, Features]:
    experiment = settings(seed, members=200, external=300, unseen=200, epochs=25, batch=20)
    images = pictures(experiment, seed)
    return experiment, frozen_features(experiment, untrained(experiment, images), images)


def auc(scores: Features) -> float:
    return roc_auc(scores["members_report"].numpy(), scores["unseen_report"].numpy())


def test_the_blind_control_finds_nothing() -> None:
    """AUC .5 lies within its 95 % interval: for each of these splits but at most one."""
    held = 0
    for seed in range(6):
        experiment, features = blind_features(seed)
        figure = detector_figures(held_out_scores(experiment, features), seed, probabilities=True)["mint_auc"]
        held += figure.low <= 0.5 <= figure.high
    assert held >= 5


def test_a_head_remembers_what_it_is_trained_on() -> None:
    """Why the control holds members out: on the same random features a head finds its own training images."""
    own, other = [], []
    for seed in range(6):
        experiment, features = blind_features(seed)
        own.append(auc(passive_scores(experiment, features)))
        other.append(auc(held_out_scores(experiment, features)))
    assert sum(own) / 6 > sum(other) / 6 + 0.02
    assert sum(own) / 6 > 0.53


def test_no_member_is_scored_by_a_head_that_has_met_it() -> None:
    """Other report members change the scores of calibration images, and of those alone."""
    experiment, features = blind_features(1)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(features["members_report"].shape, generator=generator)
    first, second = (held_out_scores(experiment, each) for each in (features, {**features, "members_report": noise}))
    for name in ("external", "unseen_report"):  # by the head that has met the calibration half
        assert torch.equal(first[name], second[name])
    for name in ("members_calibration", "unseen_calibration"):  # by the head that has met the report half
        assert not torch.equal(first[name], second[name])


def test_it_finds_members_where_the_classifier_knows_them() -> None:
    """Features that do differ: a mark on members, external and unseen images without."""
    experiment, features = blind_features(1)
    marked = {name: values + 0.8 * name.startswith("members") for name, values in features.items()}
    assert auc(held_out_scores(experiment, marked)) > 0.9
    assert auc(passive_scores(experiment, marked)) > 0.9


def test_features_are_standardised_over_members_and_external_images_and_the_classifier_stays() -> None:
    experiment = settings(mint_weight=0.0)
    images = pictures(experiment)
    trainer = Trainer(experiment, images, None, DEVICE)
    list(trainer.run())
    before = trainer.backbone.weights()
    features = frozen_features(experiment, trainer.backbone, images)
    assert all(torch.equal(value, before[name]) for name, value in trainer.backbone.weights().items())
    assert set(features) == set(SETS)
    assert {name: len(values) for name, values in features.items()} == {name: len(images.images(name)) for name in SETS}
    both = torch.cat([features["members_calibration"], features["members_report"], features["external"][:40]])
    varied = both.std(0) > 0.5  # a dead channel hardly varies
    assert varied.sum() > 3
    # another size of batch rounds otherwise; where convolutions use TF32, by parts of a thousand
    assert both[:, varied].mean(0).abs().max() < (1e-4 if DEVICE == "cpu" else 1e-2)
    assert (both[:, varied].std(0) - 1).abs().max() < 0.2
