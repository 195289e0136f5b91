"""A small residual network for images of 28 or 32 pixels.

Source: He et al., "Deep Residual Learning for Image Recognition", arXiv 1512.03385, section 3.3 (basic blocks).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from amint_mpc.models.backbone import Backbone, Spec
from amint_mpc.models.registry import register_backbone


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


@register_backbone("resnet-mini", width=16, small=16)
class ResNetMini(Backbone):
    """A stem of stride 2 and four stages of one block each, of width, 2, 4 and 8 times width channels.

    The stem halves the image at once: at 28 pixels most of the time would go into its full-size maps.
    Small as it is: both sizes are the same.
    Taps: `entry` the stem and stage 1; `middle` stages 2 and 3; `output` the two activations of stage 4.
    """

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        width, self.taps = spec.width, spec.taps
        self._depth = {"entry": 1, "middle": 3, "output": 4}[spec.taps]  # stages up to the second map
        self.stem = _convolution(spec.shape[0], width, 3, 2)
        self.stages = nn.ModuleList(
            [
                _Block(width, width, 1),
                _Block(width, 2 * width, 2),
                _Block(2 * width, 4 * width, 2),
                _Block(4 * width, 8 * width, 2),
            ]
        )
        self.classify = nn.Linear(8 * width, spec.classes)

    def tapped(self, images: Tensor) -> tuple[Tensor, Tensor]:
        first = second = F.relu(self.stem(images))
        for stage in self.stages[: self._depth]:
            first, (inner, second) = second, stage(second)
        return (inner if self.taps == "output" else first), second

    def finish(self, second: Tensor) -> Tensor:
        for stage in self.stages[self._depth :]:
            _, second = stage(second)
        logits: Tensor = self.classify(second.mean((2, 3)))
        return logits
