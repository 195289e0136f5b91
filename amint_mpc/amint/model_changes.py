"""What may happen to a classifier between its training and an audit. Each gives a changed copy."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from amint_mpc.config import Experiment
from amint_mpc.data.split import SplitImages
from amint_mpc.models.classifier import Classifier, to_unit_range


def fine_tuned(experiment: Experiment, classifier: Classifier, images: SplitImages) -> Classifier:
    """Trained on for one epoch of the task, on the unseen images' calibration half: fresh data, not in the figures.

    Same optimizer, rate and batch as in training. The features' running statistics stay, as the head knows them.
    """
    changed = copy.deepcopy(classifier).train()
    device = next(changed.parameters()).device
    pixels, labels = images.images("unseen_calibration"), images.unseen_label_half("unseen_calibration")
    optimizer = torch.optim.Adam(changed.parameters(), lr=experiment.training.learning_rate)
    order = torch.from_numpy(np.random.Generator(np.random.PCG64([experiment.seed, 4])).permutation(len(pixels)))
    for rows in torch.split(order, experiment.training.batch):
        if len(rows) < 2:  # a batch norm needs two
            continue
        optimizer.zero_grad()
        value = F.cross_entropy(changed.logits(to_unit_range(pixels[rows].to(device))), labels[rows].to(device))
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return changed.eval()


def int8_weights(classifier: Classifier) -> Classifier:
    """Weights of convolutions and linear layers on 255 levels, symmetric, a scale for each output channel."""

    def quantised(weight: Tensor) -> Tensor:
        scale = weight.abs().flatten(1).amax(1).clamp_min(1e-12).view(-1, *[1] * (weight.dim() - 1)) / 127
        return (weight / scale).round() * scale

    return _with_weights(classifier, quantised)


def bfloat16_weights(classifier: Classifier) -> Classifier:
    """The same weights rounded to bfloat16: 8 bits of precision."""
    return _with_weights(classifier, lambda weight: weight.to(torch.bfloat16).to(weight.dtype))


def _with_weights(classifier: Classifier, change: Callable[[Tensor], Tensor]) -> Classifier:
    changed = copy.deepcopy(classifier)
    with torch.no_grad():
        for parameter in changed.parameters():
            if parameter.dim() >= 2:  # biases and batch norms stay
                parameter.copy_(change(parameter))
    return changed.eval()


MODEL_CHANGES: dict[str, tuple[str, Callable[[Experiment, Classifier, SplitImages], Classifier]]] = {
    "fine-tuned": ("Fine-tuned for an epoch", fine_tuned),
    "int8": ("Weights in int8", lambda experiment, classifier, images: int8_weights(classifier)),
    "bfloat16": ("Weights in bfloat16", lambda experiment, classifier, images: bfloat16_weights(classifier)),
}
"""Name -> title, change."""
