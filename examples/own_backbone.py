"""A backbone of one's own. This script is `amint-mpc` with one more backbone, and takes the same arguments:

python examples/own_backbone.py train --config smoke --set model.backbone=three-stages
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import nn

from amint_mpc.cli import main
from amint_mpc.models import BackboneSpec, StagedBackbone, Taps, register_backbone


def stage(inputs: int, outputs: int) -> nn.Module:
    """Halves the map."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, 2, padding=1), nn.BatchNorm2d(outputs), nn.ReLU())


@register_backbone("three-stages", width=16)
class ThreeStages(StagedBackbone):
    """Three stages, each of which gives a map that the head may work on; there are no taps `output`."""

    pairs: ClassVar[Mapping[Taps, tuple[int, int]]] = {"entry": (0, 1), "middle": (1, 2)}
    smallest = 8

    def __init__(self, spec: BackboneSpec) -> None:
        width = spec.width
        stages = [stage(spec.shape[0], width), stage(width, 2 * width), stage(2 * width, 4 * width)]
        super().__init__(spec, stages, nn.Linear(4 * width, spec.classes))


if __name__ == "__main__":
    main()
