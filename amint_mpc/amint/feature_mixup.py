"""Features of a sealed step: the frozen classifier tells members from external images too well for a fresh head.

A head that is trained beside the classifier learns while the two sets still lie close together. A fresh one meets them
far apart; any boundary between does for it, and where it lies says little about unseen images. So each external image's
features are moved towards those of a member of the same batch, by a share that is drawn anew each time:

    x' = x + s u (x_member - x)        u uniform in [0, 1), s = `training.sealed_mixing`

with the label of the external image as before. That draws the boundary close around the members. (Mixup, Zhang et al.
2018, arXiv 1710.09412, moves inputs and labels.) The developer does it alone, before the features are shared. What it
brings is in docs/method.md.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from amint_mpc.config import Experiment


class FeatureMixup:
    """Mixes batch after batch; the experiment's seed fixes every draw."""

    def __init__(self, experiment: Experiment) -> None:
        self._strength = experiment.training.sealed_mixing
        # the split draws from the seed, the batches from the word 1
        self._random = np.random.Generator(np.random.PCG64([experiment.seed, 2]))

    def __call__(self, features: Tensor, members: int) -> Tensor:
        """Args: features: [m + e, F], the members' first. Returns: the same, with other external rows."""
        if not self._strength:
            return features
        inside, outside = features[:members], features[members:]
        partners = torch.from_numpy(self._random.integers(0, members, len(outside)))
        shares = torch.from_numpy(self._random.random((len(outside), 1))).to(features) * self._strength
        return torch.cat([inside, torch.lerp(outside, inside[partners.to(features.device)], shares)])
