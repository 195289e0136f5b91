"""DenseNet-121 for small images, made of torchvision's.

Source: Huang et al., "Densely Connected Convolutional Networks", arXiv 1608.06993, table 1 (DenseNet-BC); a 3 x 3 stem
without pooling for small images as in its section 4.2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from amint_mpc.models.backbone import BackboneSpec, StagedBackbone
from amint_mpc.models.layers import convolution
from amint_mpc.models.registry import register_backbone


class _DenseLayers(nn.Sequential):
    """Some layers of a dense block: each adds its channels to those of all before, so that a block can be cut."""

    def forward(self, maps: Tensor) -> Tensor:
        for layer in self:
            maps = torch.cat([maps, layer(maps)], 1)
        return maps


@register_backbone("densenet121", width=64, small=16)
class DenseNet121(StagedBackbone):
    """Four dense blocks, the first three with a transition behind; every layer adds width / 2 channels.

    Taps: `entry` the stem and transition 1; `middle` transitions 2 and 3; `output` half of dense block 4, and all of
    it behind the last batch norm.
    """

    smallest = 17  # four halvings then leave 2 x 2

    def __init__(self, spec: BackboneSpec) -> None:
        from torchvision.models import DenseNet  # seconds to import, and only this needs it

        layers = spec.pick((6, 12, 24, 16), (2, 3, 6, 4))
        net = DenseNet(max(1, spec.width // 2), layers, spec.width, num_classes=spec.classes)
        parts = net.features
        stages = [nn.Sequential(convolution(spec.shape[0], spec.width, 3, spec.stem_stride), nn.ReLU())]
        for number in (1, 2, 3):
            transition = getattr(parts, f"transition{number}")
            transition.pool.ceil_mode = True  # 7 x 7 becomes 4 x 4, as with a convolution of stride 2
            stages.append(nn.Sequential(_DenseLayers(*getattr(parts, f"denseblock{number}").values()), transition))
        last, half = list(parts.denseblock4.values()), layers[3] // 2
        stages.append(_DenseLayers(*last[:half]))
        stages.append(nn.Sequential(_DenseLayers(*last[half:]), parts.norm5, nn.ReLU()))
        super().__init__(spec, stages, net.classifier)
