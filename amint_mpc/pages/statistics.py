"""Rates and curves from scores. The threshold comes from calibration halves, what is reported from report halves.

A score at or above the threshold means "member". Members and unseen images count as much as each other, whatever
their numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
_Z = 1.959964  # of a 95 % interval
EDGE = 9.21  # logit of .9999: how far the axis of scores reaches


@dataclass(frozen=True)
class Scores:
    """Membership probabilities of each set [count], and the threshold that was chosen on the calibration halves."""

    threshold: float
    members_calibration: Array
    members_report: Array
    external: Array
    unseen_calibration: Array
    unseen_report: Array


@dataclass(frozen=True)
class ErrorRate:
    """`hits` of `count` images, with the 95 % score interval (Wilson 1927), which also holds near 0 and 1."""

    hits: int
    count: int

    @property
    def value(self) -> float:
        return self.hits / self.count

    @property
    def low(self) -> float:
        return self._end(-1)

    @property
    def high(self) -> float:
        return self._end(1)

    @property
    def interval(self) -> tuple[float, float]:
        return self.low, self.high

    def _end(self, sign: int) -> float:
        n, share, z2 = self.count, self.value, _Z**2
        half = _Z * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
        return min(1.0, max(0.0, (share + z2 / (2 * n) + sign * half) / (1 + z2 / n)))


def called_members(scores: Array, threshold: float) -> ErrorRate:
    """How many are called members."""
    return ErrorRate(int((scores >= threshold).sum()), len(scores))


def right_answers(found: float, false: float, asked: float) -> float | None:
    """Of the images called members, the share that are (Bayes): None when none is called so.

    Args:
        found: true-positive rate. false: false-positive rate.
        asked: the share of members among all images that the question is put for.
    """
    called = found * asked + false * (1 - asked)
    return found * asked / called if called > 0 else None


def balanced_accuracy(members: Array, unseen: Array, threshold: float) -> float:
    """Mean of the shares of members at or above the threshold and of unseen images below it."""
    return float(((members >= threshold).mean() + (unseen < threshold).mean()) / 2)


def roc(members: Array, unseen: Array) -> tuple[Array, Array]:
    """False- and true-positive rates of every threshold [k], rising."""
    from sklearn.metrics import roc_curve

    truth = np.concatenate([np.ones(len(members)), np.zeros(len(unseen))])
    false, true, _ = roc_curve(truth, np.concatenate([members, unseen]))
    return false, true


def found_at(members: Array, unseen: Array, limit: float) -> float | None:
    """Largest true-positive rate with at most `limit` false positives (Carlini et al. 2022, arXiv 2112.03570).

    None where the unseen images are too few to tell: one false alarm alone is more than `limit`.
    """
    if len(unseen) * limit < 1 - 1e-9:
        return None
    false, true = roc(members, unseen)
    return float(true[false <= limit + 1e-12].max())


def logit(scores: Array) -> Array:
    """On the axis of scores; what lies beyond its ends is put to them."""
    with np.errstate(divide="ignore"):
        on_axis: Array = np.clip(np.log(scores) - np.log1p(-scores), -EDGE, EDGE)
    return on_axis


def accuracy_by_threshold(scores: Scores, points: int = 240) -> tuple[Array, Array]:
    """Balanced accuracy on the calibration halves over thresholds spread evenly in logit [points]."""
    at = np.linspace(-EDGE, EDGE, points)
    accuracy = [
        balanced_accuracy(scores.members_calibration, scores.unseen_calibration, threshold)
        for threshold in 1 / (1 + np.exp(-at))
    ]
    return at, np.array(accuracy)


@dataclass(frozen=True)
class Bin:
    """Of a reliability curve: mean score, share of members, and share of all images; both kinds weigh the same."""

    score: float
    members: float
    weight: float


def reliability(scores: Scores, bins: int = 10) -> list[Bin]:
    """Report halves in equal steps of the score (Niculescu-Mizil and Caruana 2005). Empty bins are left out."""
    members, unseen = scores.members_report, scores.unseen_report
    values = np.concatenate([members, unseen])
    weights = np.concatenate([np.full(len(s), 0.5 / len(s)) for s in (members, unseen)])
    truth = np.concatenate([np.ones(len(members)), np.zeros(len(unseen))])
    place = np.minimum((values * bins).astype(int), bins - 1)
    found = []
    for number in range(bins):
        inside = place == number
        if weight := float(weights[inside].sum()):
            mean, share = (float((weights * kind)[inside].sum()) / weight for kind in (values, truth))
            found.append(Bin(mean, share, weight))
    return found
