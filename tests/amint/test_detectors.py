"""Figures of any detector: the active head's statistics, and a difference whose bootstrap is paired."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from amint_mpc.amint import membership_figures, metrics
from amint_mpc.amint.detectors import auc_difference, detector_figures
from amint_mpc.amint.metrics import roc_auc

SIZES = {
    "members_calibration": 300,
    "members_report": 301,
    "external": 400,
    "unseen_calibration": 200,
    "unseen_report": 203,
}


def scores(shift: float, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(count, generator=generator, dtype=torch.float64) + shift * name.startswith("members")
        for name, count in SIZES.items()
    }


def test_the_same_figures_as_for_the_active_head() -> None:
    made = {name: values.sigmoid() for name, values in scores(1.0).items()}
    expected, found = membership_figures(made, 3), detector_figures(made, 3, probabilities=True)
    assert found == {
        name: expected.figures[name]
        for name in ("mint_auc", "mint_accuracy_calibrated", "tpr_at_1pct_fpr", "mint_accuracy_at_half")
    }


def test_scores_need_no_scale_and_no_external_images() -> None:
    made = {name: values for name, values in scores(1.0).items() if name != "external"}
    found = detector_figures(made, 1, probabilities=False)
    assert set(found) == {"mint_auc", "mint_accuracy_calibrated", "tpr_at_1pct_fpr"}
    stretched = detector_figures({name: values.exp() * 1000 for name, values in made.items()}, 1, probabilities=False)
    assert stretched["mint_auc"] == found["mint_auc"]
    assert stretched["tpr_at_1pct_fpr"] == found["tpr_at_1pct_fpr"]
    assert stretched["mint_accuracy_calibrated"].value == pytest.approx(
        found["mint_accuracy_calibrated"].value, abs=0.01
    )


def test_difference_is_that_of_the_values() -> None:
    better, worse = scores(2.0, 1), scores(0.5, 2)
    found = auc_difference(better, worse, 1)
    aucs = [roc_auc(each["members_report"].numpy(), each["unseen_report"].numpy()) for each in (better, worse)]
    assert found.value == pytest.approx(aucs[0] - aucs[1])
    assert 0 < found.low < found.value < found.high
    assert auc_difference(worse, better, 1).value == -found.value


def test_the_bootstrap_of_a_difference_is_paired() -> None:
    """Two detectors that agree but for a little noise: the interval is far narrower than of two that know nothing."""
    one, other = scores(1.0, 1), scores(1.0, 2)
    alike = {name: values + 0.05 * scores(0.0, 3)[name] for name, values in one.items()}
    paired, apart = auc_difference(alike, one, 1), auc_difference(other, one, 1)
    assert paired.high - paired.low < (apart.high - apart.low) / 5
    same = auc_difference(one, one, 1)
    assert same.value == same.low == same.high == 0


def test_a_difference_of_nothing_is_within_its_interval_as_often_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "RESAMPLES", 200)
    held = 0
    for seed in range(40):
        found = auc_difference(scores(1.0, 100 + seed), scores(1.0, 200 + seed), seed)
        held += found.low <= 0 <= found.high
    assert 34 <= held <= 40
