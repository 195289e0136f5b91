"""What scores of queried images say, against the calibration images whose part in the training is known.

An image is called member-like where its score is at or above the threshold that was calibrated in the run. The p-value
is that of the hypothesis that the image is like an unseen one: (r + 1) / (n + 1), with r of the n unseen calibration
images scoring at least as high (North, Curtis, Sham, American Journal of Human Genetics 71, 2002). Many images are
tried at once, so beside it stands q, by the method of Benjamini and Hochberg (Journal of the Royal Statistical Society
B 57, 1995): of the images at or below some q, a share of at most q is expected to be false finds, where the tests are
independent or positively dependent.

Edge cases
    No verdict says that an image was not used. External images shape the classifier and score lowest of all.
    p is never below 1 / (n + 1): few calibration images, and nothing can be told with confidence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import false_discovery_control
from torch import Tensor

from amint_mpc.amint.metrics import best_threshold
from amint_mpc.errors import DataError

NOTE = "No verdict says that an image was not used: external images shape the classifier and score lowest of all."
"""Stands beside every verdict that is shown."""


@dataclass(frozen=True)
class Calibrated:
    """What the calibration and report images of a run say.

    Args:
        threshold: of the score. false_positives: share of the unseen report images at or above it.
        found: share of the members' report images at or above it. unseen: calibration scores, sorted, float64 [n].
    """

    threshold: float
    false_positives: float
    found: float
    unseen: NDArray[Any]

    @classmethod
    def of(cls, scores: Mapping[str, Tensor]) -> Calibrated:
        """Args: scores: of the five sets of a run, as in scores.safetensors.

        Raises:
            DataError: one is no number between 0 and 1.
        """
        for name, values in scores.items():
            check_scores(values, f"the {name}")
        threshold = best_threshold(scores["members_calibration"], scores["unseen_calibration"])
        shares = [float((scores[name] >= threshold).double().mean()) for name in ("unseen_report", "members_report")]
        return cls(threshold, shares[0], shares[1], np.sort(scores["unseen_calibration"].double().numpy()))


@dataclass(frozen=True)
class Verdict:
    """Of one image. p, q: see the module."""

    score: float
    member_like: bool
    p: float
    q: float


def check_scores(scores: Tensor, of: str) -> None:
    """Scores are membership probabilities; NaN would be neither above nor below a threshold, and have the lowest p.

    Raises:
        DataError: one is no number between 0 and 1.
    """
    if not bool(((scores >= 0) & (scores <= 1)).all()):
        raise DataError(
            f"a score of {of} is no number between 0 and 1", "A file of the run was changed, or the run went wrong"
        )


def verdicts(scores: Tensor, calibrated: Calibrated) -> list[Verdict]:
    """Of all images of one query. Args: scores: float64 [n].

    Raises:
        DataError: one is no number between 0 and 1.
    """
    check_scores(scores, "an image")
    values = scores.double().numpy()
    as_high = len(calibrated.unseen) - np.searchsorted(calibrated.unseen, values, side="left")
    p = (as_high + 1) / (len(calibrated.unseen) + 1)
    q = false_discovery_control(p, method="bh") if len(p) else p
    return [
        Verdict(float(score), bool(score >= calibrated.threshold), float(one), float(adjusted))
        for score, one, adjusted in zip(values, p, q, strict=True)
    ]
