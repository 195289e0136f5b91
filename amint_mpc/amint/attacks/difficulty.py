"""Difficulty calibration: a member's loss is low for an image as hard as it is.

Source: Watson et al., "On the Importance of Difficulty Calibration in Membership Inference Attacks" (ICLR 2022, arXiv
2111.08440): the loss score minus its mean over reference models that were not trained on the image.
"""

from __future__ import annotations

from torch import Tensor

from amint_mpc.amint.attacks.attack_view import AttackView, loss, mean_where


def calibrated_loss(seen: AttackView) -> Tensor:
    """Scores [n]: mean loss of the shadow models that have not met the image, minus the classifier's loss."""
    return mean_where(loss(seen.shadow_confidence), ~seen.shadow_inside) - loss(seen.confidence)
