"""What scores of queried images say."""

import numpy as np
import pytest
import torch

from amint_mpc.amint.verdicts import Calibrated, verdicts
from amint_mpc.errors import DataError


def calibrated(unseen: list[float]) -> Calibrated:
    return Calibrated(0.5, 0.1, 0.9, np.sort(np.array(unseen)))


def test_p_counts_the_unseen_images_that_score_at_least_as_high() -> None:
    found = verdicts(
        torch.tensor([0.05, 0.2, 0.3, 0.85, 0.95], dtype=torch.float64),
        calibrated([0.1, 0.2, 0.3, 0.3, 0.8, 0.8, 0.8, 0.8, 0.9]),
    )
    assert [each.p for each in found] == [1.0, 0.9, 0.8, 0.2, 0.1]
    assert [each.member_like for each in found] == [False, False, False, True, True]


def test_q_is_that_of_benjamini_and_hochberg() -> None:
    found = verdicts(torch.tensor([0.95, 0.85, 0.3, 0.05]), calibrated([0.1, 0.2, 0.3, 0.3, 0.8, 0.8, 0.8, 0.8, 0.9]))
    p = [each.p for each in found]
    by_hand = np.minimum.accumulate([p[i] * 4 / (i + 1) for i in (3, 2, 1, 0)])[::-1]  # p is in rising order
    assert [each.q for each in found] == pytest.approx(list(by_hand))


def test_a_score_at_the_threshold_is_member_like() -> None:
    assert verdicts(torch.tensor([0.5]), calibrated([0.1]))[0].member_like


def test_under_no_difference_p_is_about_uniform() -> None:
    random = np.random.Generator(np.random.PCG64(1))
    found = verdicts(torch.from_numpy(random.random(4000)), calibrated(list(random.random(999))))
    assert np.mean([each.p <= 0.1 for each in found]) == pytest.approx(0.1, abs=0.03)
    assert min(each.p for each in found) >= 1 / 1000


def test_the_threshold_is_the_runs_own() -> None:
    scores = {
        "members_calibration": torch.tensor([0.9, 0.8, 0.7]),
        "unseen_calibration": torch.tensor([0.1, 0.2, 0.3]),
        "members_report": torch.tensor([0.9, 0.4]),
        "unseen_report": torch.tensor([0.1, 0.6, 0.2, 0.3]),
        "external": torch.tensor([0.0]),
    }
    found = Calibrated.of(scores)
    assert (found.threshold, found.false_positives, found.found) == (0.5, 0.25, 0.5)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -0.1, 1.1])
def test_what_is_no_score_gets_no_verdict(wrong: float) -> None:
    """NaN would be below every threshold and have the lowest p of all."""
    with pytest.raises(DataError, match="a score of an image is no number between 0 and 1"):
        verdicts(torch.tensor([0.3, wrong]), calibrated([0.1]))
    sets = ("members_calibration", "unseen_calibration", "members_report", "unseen_report", "external")
    for name in sets:
        scores = {each: torch.tensor([0.9, 0.1]) for each in sets}
        scores[name] = torch.tensor([0.5, wrong])
        with pytest.raises(DataError, match=f"a score of the {name} is no number between 0 and 1"):
            Calibrated.of(scores)
