"""What a finished classifier says of images: its class logits, and the features of its taps."""

from __future__ import annotations

import torch
from torch import Tensor

from amint_mpc.amint.schedule import SCORE_BATCH
from amint_mpc.models.classifier import Classifier, to_unit_range


@torch.no_grad()
def outputs(classifier: Classifier, images: Tensor) -> tuple[Tensor, Tensor]:
    """One pass in evaluation mode; the classifier's mode and running statistics stay as they are.

    Args:
        images: uint8 [n, C, H, W].

    Returns:
        class logits float64 [n, classes] and features float32 [n, F], both on the CPU.
    """
    device = next(classifier.parameters()).device
    modes = [(module, module.training) for module in classifier.modules()]
    classifier.eval()
    try:
        passes = [classifier(to_unit_range(batch.to(device))) for batch in torch.split(images, SCORE_BATCH)]
    finally:
        for module, training in modes:
            module.training = training
    logits, features = (torch.cat(parts) for parts in zip(*passes, strict=True))
    return logits.cpu().double(), features.cpu().float()
