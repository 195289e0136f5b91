"""Confidence threshold: a member is an image of whose class, right or wrong, the classifier is sure.

Source: Salem et al., "ML-Leaks" (NDSS 2019, arXiv 1806.01246), adversary 3: the largest posterior, no shadow model, no
label.
"""

from __future__ import annotations

from torch import Tensor

from amint_mpc.amint.attacks.attack_view import AttackView, scaled_logit


def largest_posterior(seen: AttackView) -> Tensor:
    """Scores [n]: a monotone function of the largest posterior that does not saturate at 1."""
    return scaled_logit(seen.logits, seen.logits.argmax(1))
