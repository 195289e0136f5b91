"""What an outsider without a head has to work with, and the signals that attacks take from it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class AttackView:
    """Answers of the attacked classifier and of the attacker's own shadow models, on n labelled images.

    Args:
        logits: of the attacked classifier, float64 [n, classes].
        labels: the right classes, int64 [n].
        shadow_logits: of k shadow models, float64 [k, n, classes].
        shadow_inside: whether shadow model j was trained on image i, bool [k, n]; every image is inside some and
            outside some of them.
    """

    logits: Tensor
    labels: Tensor
    shadow_logits: Tensor
    shadow_inside: Tensor

    @property
    def confidence(self) -> Tensor:
        """`scaled_logit` of the right class, [n]."""
        return scaled_logit(self.logits, self.labels)

    @property
    def shadow_confidence(self) -> Tensor:
        """The same for each shadow model, [k, n]."""
        return torch.stack([scaled_logit(logits, self.labels) for logits in self.shadow_logits])


def scaled_logit(logits: Tensor, classes: Tensor) -> Tensor:
    """log(p / (1 - p)) of the probability p of one class an image, [n]; computed without p, which would round to 1.

    Source: Carlini et al. 2022 (arXiv 2112.03570). The probability is its sigmoid, the cross-entropy loss
    its `loss`.
    """
    own = logits.gather(1, classes[:, None]).squeeze(1)
    others = logits.scatter(1, classes[:, None], float("-inf"))
    return own - others.logsumexp(1)


def loss(confidence: Tensor) -> Tensor:
    """Cross-entropy from `scaled_logit` values: -log p = log(1 + exp(-x)), exact where p is close to 1."""
    return F.softplus(-confidence)


def mean_where(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the first dimension of the values [k, n] where the mask [k, n] holds, [n]."""
    return (values * mask).sum(0) / mask.sum(0)
