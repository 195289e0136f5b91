"""Modified prediction entropy: sure of the right class scores best, sure of a wrong one worst.

Source: Song and Mittal, "Systematic Evaluation of Privacy Risks of Machine Learning Models" (USENIX Security 2021,
arXiv 2003.10595): Mentr = -(1 - p_y) log p_y - sum over i != y of p_i log(1 - p_i). Their thresholds for each class
are not used here: one threshold serves all, as for everybody.
"""

from __future__ import annotations

import torch
from torch import Tensor

from amint_mpc.amint.attacks.attack_view import AttackView, loss

_ALMOST_ONE = 1 - 2.0**-53


def negative_modified_entropy(seen: AttackView) -> Tensor:
    """Scores [n]."""
    confidence, posteriors = seen.confidence, seen.logits.softmax(1)
    right = (-confidence).sigmoid() * loss(confidence)  # (1 - p_y) * -log p_y
    wrong = -posteriors * torch.log1p(-posteriors.clamp(max=_ALMOST_ONE))
    return -(right + wrong.scatter(1, seen.labels[:, None], 0).sum(1))
