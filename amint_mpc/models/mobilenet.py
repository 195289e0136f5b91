"""MobileNet (version 1) for small images.

Source: Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications",
arXiv 1704.04861, table 1. `width` 32 is its width multiplier 1, 8 its multiplier .25.
"""

from __future__ import annotations

from torch import nn

from amint_mpc.models.backbone import BackboneSpec, StagedBackbone
from amint_mpc.models.layers import convolution
from amint_mpc.models.registry import register_backbone


def _separable(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """A depthwise 3 x 3 convolution and a pointwise one, each with batch norm and ReLU."""
    depthwise = convolution(inputs, inputs, 3, stride, groups=inputs)
    return nn.Sequential(depthwise, nn.ReLU(inplace=True), convolution(inputs, outputs, 1), nn.ReLU(inplace=True))


@register_backbone("mobilenet", width=32, small=8)
class MobileNet(StagedBackbone):
    """A stem and 13 depthwise separable convolutions, of 2 to 32 times width channels (64 to 1024); 8 in the small one.

    Taps: `entry` the stem and the first separable convolution (64 channels); `middle` the stages of 256 and 512
    channels; `output` the two last, of 1024.
    """

    smallest = 17  # four halvings then leave 2 x 2

    def __init__(self, spec: BackboneSpec) -> None:
        w = spec.width
        twice, middle = spec.pick((2, 6), (1, 2))  # convolutions in the stages of 128 and 256, and of 512 channels
        first = 2 // spec.stem_stride  # a stem that halves takes the place of the first halving behind it

        def stage(inputs: int, outputs: int, count: int, stride: int = 2) -> nn.Sequential:
            rest = [_separable(outputs, outputs) for _ in range(count - 1)]
            return nn.Sequential(_separable(inputs, outputs, stride), *rest)

        stages = [
            nn.Sequential(convolution(spec.shape[0], w, 3, spec.stem_stride), nn.ReLU(inplace=True)),
            _separable(w, 2 * w),
            nn.Sequential(stage(2 * w, 4 * w, twice, first), stage(4 * w, 8 * w, twice)),
            stage(8 * w, 16 * w, middle),
            _separable(16 * w, 32 * w, 2),
            _separable(32 * w, 32 * w),
        ]
        super().__init__(spec, stages, nn.Linear(32 * w, spec.classes))
