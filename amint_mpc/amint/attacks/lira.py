"""LiRA, the likelihood-ratio attack: is this confidence what a model says of a member, or of a stranger?

Source: Carlini et al., "Membership Inference Attacks From First Principles" (S&P 2022, arXiv 2112.03570).
For each image the confidences (scaled logits) of shadow models trained on it, and of those not, are taken as
normal. With few shadow models a variance for each image cannot be estimated: one for all images serves, from the
deviations of the confidences from their image's mean.
"""

from __future__ import annotations

import torch
from torch import Tensor

from amint_mpc.amint.attacks.attack_view import AttackView, mean_where


def online(seen: AttackView) -> Tensor:
    """Scores [n]: log N(x; mean inside, variance inside) - log N(x; mean outside, variance outside)."""
    inside, outside = _normal(seen, seen.shadow_inside), _normal(seen, ~seen.shadow_inside)
    return _log_density(seen.confidence, *inside) - _log_density(seen.confidence, *outside)


def offline(seen: AttackView) -> Tensor:
    """Scores [n]: log of the chance that a model which has not met the image is less confident than this one.

    The attacker needs no shadow model trained on the image. With one variance for all, the order of the images is that
    of x - mean outside.
    """
    mean, variance = _normal(seen, ~seen.shadow_inside)
    scores: Tensor = torch.special.log_ndtr((seen.confidence - mean) / variance.sqrt())
    return scores


def _normal(seen: AttackView, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Mean for each image [n], and the one variance [], of the confidences where the mask [k, n] holds."""
    values = seen.shadow_confidence
    mean = mean_where(values, mask)
    deviations = ((values - mean) * mask).square().sum()
    degrees = mask.sum() - mask.shape[1]  # one mean an image was taken from the data
    return mean, (deviations / degrees).clamp_min(1e-12)


def _log_density(x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """Of a normal distribution, without the constant."""
    return -(x - mean).square() / (2 * variance) - variance.log() / 2
