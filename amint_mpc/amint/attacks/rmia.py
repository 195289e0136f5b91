"""RMIA, the robust attack: how much likelier does the classifier make this image, compared with other images?

Source: Zarifzadeh, Liu and Shokri, "Low-Cost High-Power Membership Inference Attacks" (ICML 2024, arXiv 2312.03262).
With p(x) the probability of the right class, ratio(x) = p(x) / Pr(x), Pr(x) being what reference models give on
average. The score is the share of population images z with ratio(x) >= gamma * ratio(z).

Online, Pr is the mean over shadow models of which half were trained on x. Offline, the half that was is guessed from
the other: Pr = ((1 + a) Pr_out + (1 - a)) / 2; a is found by attacking one of the attacker's own models with the rest.
Here the population is every other image in question, and gamma is 1: the order of the images is that of their ratios
for any gamma, and a larger one lets images fall together that no z tells apart.
"""

from __future__ import annotations

import torch
from torch import Tensor

from amint_mpc.amint.attacks.attack_view import AttackView, mean_where
from amint_mpc.amint.metrics import roc_auc

GAMMA = 1.0
GRID = tuple(step / 10 for step in range(11))
"""The values of a that are tried."""


def online(seen: AttackView) -> Tensor:
    """Scores [n]."""
    probabilities, inside = seen.shadow_confidence.sigmoid(), seen.shadow_inside
    usual = (mean_where(probabilities, inside) + mean_where(probabilities, ~inside)) / 2
    return relative(seen.confidence.sigmoid() / usual)


def offline(seen: AttackView) -> Tensor:
    """Scores [n], from shadow models that were not trained on the image."""
    probabilities, outside = seen.shadow_confidence.sigmoid(), ~seen.shadow_inside
    a = best_a(probabilities, outside)
    return relative(seen.confidence.sigmoid() / _guessed(mean_where(probabilities, outside), a))


def best_a(probabilities: Tensor, outside: Tensor) -> float:
    """The a of greatest AUC in an attack on shadow model 0 with the others: it needs no member of the real target.

    Args:
        probabilities: of the right class, [k, n].
        outside: bool [k, n].
    """
    known = outside[1:].any(0)  # by a model that has not met them
    mean = mean_where(probabilities[1:, known], outside[1:, known])
    own, inside = probabilities[0, known], ~outside[0, known]

    def auc(a: float) -> float:
        ratio = own / _guessed(mean, a)
        return roc_auc(ratio[inside].numpy(), ratio[~inside].numpy())

    return max(GRID, key=auc)


def relative(ratio: Tensor, gamma: float = GAMMA) -> Tensor:
    """Share of the other images z with ratio(x) >= gamma * ratio(z), [n]."""
    below = torch.searchsorted((gamma * ratio).sort().values, ratio, right=True)
    itself = 1 if gamma <= 1 else 0
    return (below - itself).double() / (len(ratio) - 1)


def _guessed(outside: Tensor, a: float) -> Tensor:
    return ((1 + a) * outside + (1 - a)) / 2
