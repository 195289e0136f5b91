"""Rates and curves, against other implementations."""

import numpy as np
import pytest
import torch
from scipy.integrate import trapezoid
from scipy.stats import binomtest

from amint_mpc.amint import metrics
from amint_mpc.pages import statistics
from amint_mpc.pages.statistics import EDGE, ErrorRate, Scores, found_at, logit, reliability, right_answers, roc
from tests.pages.made_runs import SMOKE, scores


def some(apart: float = 1.0) -> Scores:
    found = {name: values.numpy() for name, values in scores(SMOKE, apart).items()}
    return Scores(threshold=0.6, **found)


@pytest.mark.parametrize(("hits", "count"), [(0, 1), (0, 500), (36, 500), (250, 500), (500, 500)])
def test_a_rate_has_wilsons_interval(hits: int, count: int) -> None:
    theirs = binomtest(hits, count).proportion_ci(0.95, "wilson")
    assert (ErrorRate(hits, count).low, ErrorRate(hits, count).high) == pytest.approx(
        (theirs.low, theirs.high), abs=1e-6
    )


def test_the_same_accuracy_and_rates_as_in_the_summary() -> None:
    found = some()
    members, unseen = found.members_report, found.unseen_report
    for threshold in (0.0, 0.3, 0.6, 1.0):
        assert statistics.balanced_accuracy(members, unseen, threshold) == metrics.balanced_accuracy(
            members, unseen, threshold
        )
    many = np.tile(unseen, 4)  # enough for 1 %
    assert found_at(members, many, 0.01) == pytest.approx(metrics.tpr_at_1_fpr(members, many))
    false, true = roc(members, unseen)
    assert trapezoid(true, false) == pytest.approx(metrics.roc_auc(members, unseen))


def test_too_few_unseen_images_tell_nothing_about_a_low_rate() -> None:
    members = np.linspace(0, 1, 50)
    assert found_at(members, np.linspace(0, 1, 99), 0.01) is None
    assert found_at(members, np.linspace(0, 1, 100), 0.01) is not None
    assert found_at(members, np.linspace(0, 1, 999), 0.001) is None
    assert found_at(members, np.linspace(0, 1, 1000), 0.001) is not None


def test_what_an_answer_is_worth_is_bayes() -> None:
    assert right_answers(0.9, 0.1, 0.5) == pytest.approx(0.9)
    assert right_answers(0.9, 0.1, 0.01) == pytest.approx(0.009 / (0.009 + 0.099))
    assert right_answers(0.0, 0.0, 0.5) is None


def test_reliability_weighs_members_and_unseen_images_the_same() -> None:
    few, many = np.full(10, 0.55), np.full(1000, 0.55)
    (only,) = reliability(Scores(0.5, few, few, few, many, many))
    assert (only.score, only.members, only.weight) == pytest.approx((0.55, 0.5, 1.0))
    bins = reliability(some())
    assert sum(each.weight for each in bins) == pytest.approx(1)
    assert [each.score for each in bins] == sorted(each.score for each in bins)


def test_the_axis_of_scores_has_ends() -> None:
    at = logit(np.array([0.0, 0.5, 1.0]))
    assert at.tolist() == [-EDGE, 0, EDGE]


def test_the_chosen_threshold_is_the_best_of_the_curve() -> None:
    drawn = scores(SMOKE)
    best = metrics.best_threshold(drawn["members_calibration"], drawn["unseen_calibration"])
    found = Scores(best, **{name: values.numpy() for name, values in drawn.items()})
    _, accuracy = statistics.accuracy_by_threshold(found)
    chosen = statistics.balanced_accuracy(found.members_calibration, found.unseen_calibration, best)
    assert torch.tensor(accuracy).max() <= chosen
