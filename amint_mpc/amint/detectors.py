"""Figures of anything that gives members higher scores than unseen images: a head, or an attack from outside.

The same statistics as those of the active head (`amint_mpc.amint.metrics`), on the same report halves, with a threshold
from the same calibration halves. Scores may lie anywhere on the real line; accuracy at 0.5 exists for probabilities
alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from torch import Tensor

from amint_mpc.amint.metrics import (
    Array,
    array,
    balanced_accuracy,
    best_threshold,
    bootstrap,
    resampled,
    roc_auc,
    tpr_at_1_fpr,
)
from amint_mpc.results import Difference, Figure

Scores = Mapping[str, Tensor]
"""Set name -> scores [count]; larger means member. External images are not needed."""


def detector_figures(scores: Scores, seed: int, *, probabilities: bool) -> dict[str, Figure]:
    """AUC, calibrated accuracy and the rate of members found at 1 % false positives, by their names in summaries.

    Args:
        seed: of the bootstrap.
        probabilities: add the accuracy at threshold 0.5.
    """
    threshold = best_threshold(scores["members_calibration"], scores["unseen_calibration"])
    sets = array(scores["members_report"]), array(scores["unseen_report"])

    def figure(statistic: Callable[[Array, Array], float]) -> Figure:
        return bootstrap(lambda drawn: statistic(drawn[0], drawn[1]), sets, seed)

    found = {
        "mint_auc": figure(roc_auc),
        "mint_accuracy_calibrated": figure(lambda members, unseen: balanced_accuracy(members, unseen, threshold)),
        "tpr_at_1pct_fpr": figure(tpr_at_1_fpr),
    }
    if probabilities:
        found["mint_accuracy_at_half"] = figure(lambda members, unseen: balanced_accuracy(members, unseen, 0.5))
    return found


def auc_difference(first: Scores, second: Scores, seed: int) -> Difference:
    """AUC of the first minus AUC of the second detector on the same images.

    The bootstrap is paired: each resample takes the same images for both, so that what makes an image hard for both
    does not widen the interval.
    """
    members, unseen = (
        np.stack([array(first[name]), array(second[name])], 1) for name in ("members_report", "unseen_report")
    )

    def difference(drawn: tuple[Array, ...]) -> float:
        return roc_auc(drawn[0][:, 0], drawn[1][:, 0]) - roc_auc(drawn[0][:, 1], drawn[1][:, 1])

    low, high = resampled(difference, (members, unseen), seed)
    return Difference(value=difference((members, unseen)), low=low, high=high)
