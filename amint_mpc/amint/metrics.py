"""Figures of membership and of the task, each with a 95 % bootstrap interval over images.

The positive class is "member"; a score is a membership probability. Members and unseen images count as much as each
other whatever their numbers (balanced accuracy). Thresholds come from calibration halves, figures from report halves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from amint_mpc.results import MEMBERSHIP, Figure

RESAMPLES = 1000
_FALSE_POSITIVES = 0.01
Array = npt.NDArray[np.float64]
Statistic = Callable[[tuple[Array, ...]], float]


@dataclass(frozen=True)
class MembershipFigures:
    """How well members are told from unseen images, on the report halves. For the names see `amint_mpc.results`.

    Args:
        threshold: the best on the calibration halves.
        mint_accuracy_calibrated: its interval does not count the choice of the threshold.
        tpr_at_1pct_fpr: largest true-positive rate at no more than 1 % false positives (Carlini et al. 2022,
            arXiv 2112.03570); with few unseen images this rests on a handful of them.
        mean_score_members, mean_score_unseen: of the report halves. mean_score_external: of all.
    """

    threshold: float
    mint_accuracy_calibrated: Figure
    mint_accuracy_at_half: Figure
    mint_auc: Figure
    tpr_at_1pct_fpr: Figure
    mean_score_members: Figure
    mean_score_external: Figure
    mean_score_unseen: Figure

    @property
    def figures(self) -> dict[str, Figure]:
        """By name."""
        return {name: getattr(self, name) for name in MEMBERSHIP}


def membership_figures(scores: Mapping[str, Tensor], seed: int) -> MembershipFigures:
    """All figures from the scores of the five sets (`amint_mpc.data.SETS`).

    Args:
        scores: set name -> membership probabilities [count].
        seed: of the bootstrap.
    """
    threshold = best_threshold(scores["members_calibration"], scores["unseen_calibration"])
    members, unseen, external = (array(scores[name]) for name in ("members_report", "unseen_report", "external"))

    def pair(statistic: Callable[[Array, Array], float]) -> Figure:
        return bootstrap(lambda sets: statistic(sets[0], sets[1]), (members, unseen), seed)

    def mean(values: Array) -> Figure:
        return bootstrap(lambda sets: float(sets[0].mean()), (values,), seed)

    return MembershipFigures(
        threshold=threshold,
        mint_accuracy_calibrated=pair(lambda m, u: balanced_accuracy(m, u, threshold)),
        mint_accuracy_at_half=pair(lambda m, u: balanced_accuracy(m, u, 0.5)),
        mint_auc=pair(roc_auc),
        tpr_at_1pct_fpr=pair(tpr_at_1_fpr),
        mean_score_members=mean(members),
        mean_score_external=mean(external),
        mean_score_unseen=mean(unseen),
    )


def calibration_figures(scores: Mapping[str, Tensor]) -> dict[str, float]:
    """AUC and balanced accuracy at 0.5 on the calibration halves alone, for watching a run."""
    members, unseen = array(scores["members_calibration"]), array(scores["unseen_calibration"])
    return {"mint_auc": roc_auc(members, unseen), "mint_accuracy_at_half": balanced_accuracy(members, unseen, 0.5)}


def calibrated_accuracy(scores: Mapping[str, Tensor]) -> float:
    """Balanced accuracy on the calibration halves at their own best threshold: for choosing, never for reporting."""
    members, unseen = scores["members_calibration"], scores["unseen_calibration"]
    return balanced_accuracy(array(members), array(unseen), best_threshold(members, unseen))


def accuracy_figure(correct: Tensor, seed: int) -> Figure:
    """Share of right answers, from one truth value an image [count]."""
    return bootstrap(lambda sets: float(sets[0].mean()), (array(correct),), seed)


def best_threshold(members: Tensor, unseen: Tensor) -> float:
    """The threshold of greatest balanced accuracy; a score at or above it means "member".

    It lies midway between two neighbouring scores; of equally good ones, the middle one is taken.
    """
    from sklearn.metrics import roc_curve  # here: importing it takes a third of a party's start

    inside, outside = array(members), array(unseen)
    scores = np.concatenate([inside, outside])
    truth = np.concatenate([np.ones(len(inside)), np.zeros(len(outside))])
    false, true, thresholds = roc_curve(truth, scores, drop_intermediate=False)
    gain = true - false
    best = np.flatnonzero(gain == gain.max())
    at = best[len(best) // 2]
    if at == 0:  # nothing is called a member
        return 1.0
    above = float(thresholds[at])
    below = scores[scores < above]
    return (above + float(below.max())) / 2 if len(below) else above


def roc_auc(members: Array, unseen: Array) -> float:
    """Area under the ROC curve: the chance that a member scores above an unseen image, ties half.

    Mann and Whitney's count, by binary search: a thousand resamples must not take longer than an epoch.
    """
    ordered = np.sort(unseen)
    below, not_above = np.searchsorted(ordered, members, "left"), np.searchsorted(ordered, members, "right")
    return float((below + not_above).sum() / (2 * len(members) * len(unseen)))


def tpr_at_1_fpr(members: Array, unseen: Array) -> float:
    """Largest true-positive rate among thresholds with at most 1 % false positives."""
    allowed = int(_FALSE_POSITIVES * len(unseen))
    return float((members > np.sort(unseen)[-1 - allowed]).mean())


def balanced_accuracy(members: Array, unseen: Array, threshold: float) -> float:
    """Mean of the shares of members at or above the threshold and of unseen images below it."""
    return float(((members >= threshold).mean() + (unseen < threshold).mean()) / 2)


def bootstrap(statistic: Statistic, sets: tuple[Array, ...], seed: int) -> Figure:
    """The statistic with its 95 % percentile interval; every set is resampled by itself, keeping its size."""
    low, high = resampled(statistic, sets, seed)
    return Figure(value=statistic(sets), low=low, high=high)


def resampled(statistic: Statistic, sets: tuple[Array, ...], seed: int) -> tuple[float, float]:
    """The ends of that interval."""
    generator = np.random.default_rng(seed)
    values = [
        statistic(tuple(values[generator.integers(len(values), size=len(values))] for values in sets))
        for _ in range(RESAMPLES)
    ]
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def array(values: Tensor) -> Array:
    """As NumPy numbers, float64."""
    return values.detach().cpu().numpy().astype(np.float64)
