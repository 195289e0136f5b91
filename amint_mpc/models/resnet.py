"""A small residual network for images of 28 or 32 pixels.

Source: He et al., "Deep Residual Learning for Image Recognition", arXiv 1512.03385, section 3.3 (basic blocks).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from amint_mpc.models.backbone import Backbone, Taps


def _convolution(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))


class _Block(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut. Returns the activation between them, too."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = _convolution(inputs, outputs, 3, stride)
        self.second = _convolution(outputs, outputs, 3, 1)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else _convolution(inputs, outputs, 1, stride)

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        inner = F.relu(self.first(maps))
        return inner, F.relu(self.second(inner) + self.shortcut(maps))


class ResNetMini(Backbone):
    """A stem of stride 2 and four stages of one block each, of width, 2, 4 and 8 times width channels.

    The stem halves the image at once: at 28 pixels most of the time would go into its full-size maps.
    Taps: `entry` the stem and stage 1; `middle` stages 2 and 3; `output` the two activations of stage 4.
    """

    def __init__(self, channels: int, classes: int, width: int, taps: Taps) -> None:
        super().__init__()
        self.taps = taps
        self.stem = _convolution(channels, width, 3, 2)
        self.stages = nn.ModuleList(
            [
                _Block(width, width, 1),
                _Block(width, 2 * width, 2),
                _Block(2 * width, 4 * width, 2),
                _Block(4 * width, 8 * width, 2),
            ]
        )
        self.classify = nn.Linear(8 * width, classes)

    def forward(self, images: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        stem = F.relu(self.stem(images))
        _, one = self.stages[0](stem)
        _, two = self.stages[1](one)
        _, three = self.stages[2](two)
        inner, four = self.stages[3](three)
        pairs = {"entry": (stem, one), "middle": (two, three), "output": (inner, four)}
        return self.classify(four.mean((2, 3))), pairs[self.taps]
