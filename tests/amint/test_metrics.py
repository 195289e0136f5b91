"""Figures against cases done by hand, and against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, roc_auc_score, roc_curve

from amint_mpc.amint import membership_figures
from amint_mpc.amint.metrics import (
    accuracy_figure,
    balanced_accuracy,
    best_threshold,
    bootstrap,
    calibration_figures,
    roc_auc,
    tpr_at_1_fpr,
)
from amint_mpc.data import SETS


def scores(seed: int = 0, shift: float = 1.0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    sizes = dict(zip(SETS, (300, 301, 500, 200, 203), strict=True))
    return {
        name: (torch.randn(count, generator=generator) + shift * name.startswith("members")).sigmoid().double()
        for name, count in sizes.items()
    }


def test_by_hand() -> None:
    members, unseen = np.array([0.9, 0.8, 0.4]), np.array([0.1, 0.5, 0.4, 0.2])
    assert roc_auc(members, unseen) == pytest.approx((4 + 4 + 2.5) / 12)
    assert balanced_accuracy(members, unseen, 0.5) == pytest.approx((2 / 3 + 3 / 4) / 2)
    assert tpr_at_1_fpr(members, unseen) == pytest.approx(2 / 3)
    # Best: members are .8 and above, unseen .5 and below; the threshold lies between.
    assert best_threshold(torch.tensor(members), torch.tensor(unseen)) == pytest.approx(0.65)


@pytest.mark.parametrize("digits", [1, 9])
def test_equal_to_scikit_learn(digits: int) -> None:
    made = scores(3)
    members, unseen = (np.round(made[name].numpy(), digits) for name in ("members_report", "unseen_report"))
    truth = np.r_[np.ones(len(members)), np.zeros(len(unseen))]
    both = np.r_[members, unseen]
    assert roc_auc(members, unseen) == pytest.approx(roc_auc_score(truth, both))
    assert balanced_accuracy(members, unseen, 0.6) == pytest.approx(balanced_accuracy_score(truth, both >= 0.6))
    false, true, _ = roc_curve(truth, both, drop_intermediate=False)
    assert tpr_at_1_fpr(members, unseen) == pytest.approx(true[false <= 0.01].max())


def test_threshold_is_the_best_there_is() -> None:
    made = scores(1)
    members, unseen = made["members_calibration"], made["unseen_calibration"]
    found = balanced_accuracy(members.numpy(), unseen.numpy(), best_threshold(members, unseen))
    every = torch.cat([members, unseen])
    assert found == max(balanced_accuracy(members.numpy(), unseen.numpy(), float(value)) for value in every)


def test_threshold_of_equal_scores() -> None:
    assert best_threshold(torch.full((3,), 0.5), torch.full((3,), 0.5)) in (0.5, 1.0)
    assert best_threshold(torch.tensor([0.25]), torch.tensor([0.75])) in (0.25, 1.0)


def test_threshold_comes_from_calibration_figures_from_report() -> None:
    made = scores(0)
    figures = membership_figures(made, seed=1)
    swapped = made | {"members_report": made["members_report"].flip(0) * 0.5}
    assert membership_figures(swapped, seed=1).threshold == figures.threshold
    assert membership_figures(swapped, seed=1).mint_auc.value < figures.mint_auc.value
    other = made | {"members_calibration": made["members_calibration"] * 0.5}
    assert membership_figures(other, seed=1).mint_auc == figures.mint_auc
    assert membership_figures(other, seed=1).threshold != figures.threshold


def test_sets_are_shown_apart() -> None:
    figures = membership_figures(scores(0), seed=1)
    assert figures.mean_score_members.value == pytest.approx(float(scores(0)["members_report"].mean()))
    assert figures.mean_score_external.value == pytest.approx(float(scores(0)["external"].mean()))
    assert figures.mean_score_unseen.value == pytest.approx(float(scores(0)["unseen_report"].mean()))


def test_intervals_hold_their_value_and_follow_the_seed() -> None:
    first, again, other = (membership_figures(scores(0), seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.mint_auc != other.mint_auc
    for figure in first.figures.values():
        assert figure.low <= figure.value <= figure.high
        assert figure.low < figure.high


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Mean of 60 coin tosses with p = .8: about 95 of 100 intervals hold .8 (at least 88, at most 99)."""
    random = np.random.default_rng(5)
    held = 0
    for seed in range(100):
        figure = accuracy_figure(torch.from_numpy((random.random(60) < 0.8).astype(float)), seed)
        held += figure.low <= 0.8 <= figure.high
    assert 88 <= held <= 99


def test_interval_narrows_with_more_images() -> None:
    few, many = (accuracy_figure(torch.tensor([1.0, 1.0, 1.0, 0.0]).repeat(times), 1) for times in (10, 1000))
    assert few.value == many.value == 0.75
    assert many.high - many.low == pytest.approx(2 * 1.96 * math.sqrt(0.75 * 0.25 / 4000), rel=0.15)
    assert few.high - few.low > 5 * (many.high - many.low)


def test_sets_are_resampled_apart() -> None:
    sizes: set[tuple[int, ...]] = set()
    bootstrap(lambda sets: sizes.add(tuple(len(one) for one in sets)) or 0.0, (np.zeros(3), np.ones(5)), 1)
    assert sizes == {(3, 5)}


def test_chance_level_is_within_its_interval() -> None:
    figures = membership_figures(scores(0, shift=0.0), seed=1)
    assert figures.mint_auc.low < 0.5 < figures.mint_auc.high


def test_watching_reads_calibration_halves_alone() -> None:
    made = scores(0)
    short = {name: made[name] for name in ("members_calibration", "unseen_calibration")}
    assert calibration_figures(short) == calibration_figures(made)
