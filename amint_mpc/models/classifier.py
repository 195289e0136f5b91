"""The developer's model: a backbone by name, and the features of its taps."""

from __future__ import annotations

import threading

import torch
from torch import Tensor, nn

from amint_mpc.config import Experiment
from amint_mpc.models.backbone import Backbone
from amint_mpc.models.conv_head_weights import TapShapes
from amint_mpc.models.features import Features, flatten
from amint_mpc.models.registry import build_backbone


def to_unit_range(pixels: Tensor) -> Tensor:
    """Images as a classifier takes them, in training and ever after: uint8 -> float32 in [0, 1]."""
    return pixels.to(torch.float32) / 255


class Classifier(nn.Module):
    """A backbone and the features of its taps, computed in one forward pass."""

    def __init__(self, backbone: Backbone, features: Features) -> None:
        super().__init__()
        self.backbone = backbone
        self.features = features

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """float32 [n, C, H, W] in [0, 1] -> class logits [n, classes], features [n, F]."""
        maps = self.backbone.tapped(images)
        features = self.features(maps)
        return self.backbone.finish(maps[1]), features

    def logits(self, images: Tensor) -> Tensor:
        """Class logits [n, classes] alone; the features' running statistics stay as they are."""
        logits: Tensor = self.backbone(images)[0]
        return logits

    def weights(self) -> dict[str, Tensor]:
        """All weights and running statistics, on the CPU, in the usual memory layout."""
        return {name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()}


_GLOBAL_GENERATOR = threading.Lock()
"""torch's layers draw from the generator of the process: parties that are threads of one would disturb each other."""


def build_classifier(experiment: Experiment, shape: tuple[int, ...], classes: int) -> Classifier:
    """The experiment's classifier, with fresh weights drawn from its seed.

    Args:
        shape: of one image, (C, H, W).
        classes: of the task.

    Raises:
        UsageError: no such backbone, or images that it does not take.
    """
    count = feature_count(experiment, shape)
    with _GLOBAL_GENERATOR, torch.random.fork_rng(devices=[]):
        torch.manual_seed(experiment.seed)
        return Classifier(build_backbone(experiment.model, shape, classes), Features(experiment.head.input, count))


def feature_count(experiment: Experiment, shape: tuple[int, ...]) -> int:
    """F, the width of the head's input, for images of `shape` (C, H, W).

    The shape is known from the experiment (`amint_mpc.data.dataset(data).shape`), so the auditor, who has no
    images, finds the same number: by one black image, run through a backbone that is then forgotten. So every party
    needs the backbone's class; one that another package registers, too.

    Raises:
        UsageError: no such backbone, or images that it does not take.
    """
    return flatten(experiment.head.input, _black_maps(experiment, shape)).shape[1]


def tap_shapes(experiment: Experiment, shape: tuple[int, ...]) -> TapShapes:
    """(channels, height, width) of both tapped maps, found as `feature_count` is.

    Raises:
        UsageError: unknown backbone.
    """
    first, second = ((m.shape[1], m.shape[2], m.shape[3]) for m in _black_maps(experiment, shape))
    return first, second


def _black_maps(experiment: Experiment, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    with _GLOBAL_GENERATOR, torch.random.fork_rng(devices=[]), torch.no_grad():
        maps: tuple[Tensor, Tensor] = build_backbone(experiment.model, shape, classes=2).eval()(torch.zeros(1, *shape))[
            1
        ]
    return maps
