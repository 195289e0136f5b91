"""Does the audit survive what happens to images and classifier between training and audit?

Head and threshold stay: the threshold comes from calibration images and a classifier that nothing has touched.

- An image changes: a member's copy is audited. `members_found` is the share of changed members at or above the
  threshold, `false_positives` that of untouched unseen images, `mint_auc` sets changed members against untouched unseen
  images. Where the change itself moves scores, the same against unseen images that were changed alike:
  `false_positives_changed`, `mint_auc_changed`.
- The classifier changes: members and unseen images are untouched, and all scores come from the changed classifier.

All on the report halves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor

from amint_mpc.amint.image_changes import IMAGE_CHANGES
from amint_mpc.amint.metrics import Array, array, best_threshold, bootstrap, roc_auc
from amint_mpc.amint.model_changes import MODEL_CHANGES
from amint_mpc.amint.outputs import outputs
from amint_mpc.config import Experiment
from amint_mpc.data.split import SplitImages
from amint_mpc.models.classifier import Classifier
from amint_mpc.models.head_weights import HeadWeights
from amint_mpc.results import Figure


@dataclass(frozen=True)
class Robustness:
    """The figures of one change, by name."""

    name: str
    title: str
    figures: dict[str, Figure]


def membership_scores(classifier: Classifier, head: HeadWeights, pixels: Tensor) -> Tensor:
    """Membership probabilities of images, uint8 [n, C, H, W] -> float64 [n]."""
    return head.logits(outputs(classifier, pixels)[1]).sigmoid()


def robustness(
    experiment: Experiment, classifier: Classifier, head: HeadWeights, images: SplitImages
) -> Iterator[Robustness]:
    """One entry a change, the first without any; each comes when it is ready."""
    seed = experiment.seed

    def scores(name: str, by: Classifier = classifier, change: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        pixels = images.images(name)
        return membership_scores(by, head, pixels if change is None else change(pixels))

    threshold = best_threshold(scores("members_calibration"), scores("unseen_calibration"))
    untouched = scores("unseen_report")
    yield Robustness("none", "Untouched", _figures(scores("members_report"), untouched, threshold, seed))
    for change in IMAGE_CHANGES:
        members = scores("members_report", change=change.apply)
        alike = _figures(members, scores("unseen_report", change=change.apply), threshold, seed)
        figures = _figures(members, untouched, threshold, seed)
        figures |= {f"{name}_changed": alike[name] for name in ("false_positives", "mint_auc")}
        yield Robustness(change.name, change.title, figures)
    for name, (title, made) in MODEL_CHANGES.items():
        other = made(experiment, classifier, images)
        found = _figures(scores("members_report", other), scores("unseen_report", other), threshold, seed)
        yield Robustness(name, title, found)


def _figures(members: Tensor, unseen: Tensor, threshold: float, seed: int) -> dict[str, Figure]:
    def share(scores: Array) -> Figure:
        return bootstrap(lambda drawn: float((drawn[0] >= threshold).mean()), (scores,), seed)

    inside, outside = array(members), array(unseen)
    return {
        "members_found": share(inside),
        "false_positives": share(outside),
        "mint_auc": bootstrap(lambda drawn: roc_auc(drawn[0], drawn[1]), (inside, outside), seed),
    }
