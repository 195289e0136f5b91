"""Xception for small images.

Source: Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", arXiv 1610.02357, figure 5.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from amint_mpc.models.backbone import BackboneSpec, StagedBackbone
from amint_mpc.models.layers import convolution
from amint_mpc.models.registry import register_backbone


def _separable(inputs: int, outputs: int) -> nn.Sequential:
    """A depthwise 3 x 3 convolution, with nothing between, and a pointwise one with batch norm."""
    depthwise = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
    return nn.Sequential(depthwise, convolution(inputs, outputs, 1))


class _Block(nn.Module):
    """ReLU and separable convolution, some times, beside a shortcut; max pooling where the stride is 2."""

    def __init__(self, channels: tuple[int, ...], stride: int = 1) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(channels):
            layers += [nn.ReLU(), _separable(inputs, outputs)]
        if stride > 1:
            layers.append(nn.MaxPool2d(3, stride, padding=1))
        self.layers = nn.Sequential(*layers)
        same = stride == 1 and channels[0] == channels[-1]
        self.shortcut = nn.Identity() if same else convolution(channels[0], channels[-1], 1, stride)

    def forward(self, maps: Tensor) -> Tensor:
        added: Tensor = self.layers(maps) + self.shortcut(maps)
        return added


@register_backbone("xception", width=32, small=4)
class Xception(StagedBackbone):
    """Entry flow of three blocks, middle flow of eight (two in the small version), exit flow; the stem has no stride.

    Channels: width, 2, 4 and 8 times width, 728 / 32 times in the middle, 32, 48 and 64 times in the exit flow.
    Taps: `entry` the stem and the end of the entry flow; `middle` half and all of the middle flow; `output` the block
    and the separable convolutions of the exit flow.
    """

    smallest = 17  # four halvings then leave 2 x 2

    def __init__(self, spec: BackboneSpec) -> None:
        w = spec.width
        middle = round(728 / 32 * w)
        (half,) = spec.pick((4,), (1,))
        third = 2 // spec.stem_stride  # a stem that halves takes the place of the last halving of the entry flow

        def flow() -> nn.Sequential:
            return nn.Sequential(*(_Block((middle,) * 4) for _ in range(half)))

        stages = [
            nn.Sequential(
                *(convolution(spec.shape[0], w, 3, spec.stem_stride), nn.ReLU(inplace=True)),
                *(convolution(w, 2 * w, 3), nn.ReLU(inplace=True)),
            ),
            nn.Sequential(
                # Figure 5 has no ReLU at the start of the first block; behind the stem's one it changes nothing.
                _Block((2 * w, 4 * w, 4 * w), 2),
                _Block((4 * w, 8 * w, 8 * w), 2),
                _Block((8 * w, middle, middle), third),
            ),
            flow(),
            flow(),
            _Block((middle, middle, 32 * w), 2),
            nn.Sequential(_separable(32 * w, 48 * w), nn.ReLU(inplace=True), _separable(48 * w, 64 * w), nn.ReLU()),
        ]
        super().__init__(spec, stages, nn.Linear(64 * w, spec.classes))
