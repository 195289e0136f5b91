"""Loss threshold: a member is an image that the classifier gets right with little loss.

Source: Yeom et al., "Privacy Risk in Machine Learning" (CSF 2018, arXiv 1709.01604). They
put the threshold at the mean training loss; here it comes from the calibration halves, as everybody's does. The order
of the images is that of a threshold on the right class's probability.
"""

from __future__ import annotations

from torch import Tensor

from amint_mpc.amint.attacks.attack_view import AttackView, loss


def negative_loss(seen: AttackView) -> Tensor:
    """Scores [n]: minus the cross-entropy of the right label."""
    return -loss(seen.confidence)
