"""Residual networks: a mini one of basic blocks, and ResNet-50 and -101 for small images.

Source: He et al., "Deep Residual Learning for Image Recognition", arXiv 1512.03385, section 3.3 (basic blocks), table 1
(bottleneck blocks), section 4.2 (a 3 x 3 stem for small images).
"""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from amint_mpc.models.backbone import Backbone, BackboneSpec, StagedBackbone
from amint_mpc.models.layers import convolution
from amint_mpc.models.registry import register_backbone


class _Block(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut. Returns the activation between them, too."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = convolution(inputs, outputs, 3, stride)
        self.second = convolution(outputs, outputs, 3, 1)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else convolution(inputs, outputs, 1, stride)

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

    def __init__(self, spec: BackboneSpec) -> None:
        super().__init__()
        width, self.taps = spec.width, spec.taps
        self._depth = {"entry": 1, "middle": 3, "output": 4}[spec.taps]  # stages up to the second map
        self.stem = convolution(spec.shape[0], width, 3, 2)
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


class _ResNet(StagedBackbone):
    """Bottleneck blocks, torchvision's own, in four stages; the stem is 3 x 3 without pooling, as for small images.

    Taps: `entry` the stem and stage 1; `middle` stages 2 and 3; `output` the last two blocks.
    """

    smallest = 17  # four halvings then leave 2 x 2
    blocks: ClassVar[tuple[int, ...]]
    small_blocks: ClassVar[tuple[int, ...]]

    def __init__(self, spec: BackboneSpec) -> None:
        from torchvision.models.resnet import Bottleneck  # seconds to import, and only this needs it

        inputs = spec.width
        stages: list[nn.Module] = [nn.Sequential(convolution(spec.shape[0], inputs, 3, spec.stem_stride), nn.ReLU())]
        for number, count in enumerate(spec.pick(self.blocks, self.small_blocks)):
            width, stride = spec.width * 2**number, 1 if number == 0 else 2
            outputs = width * Bottleneck.expansion
            shortcut = convolution(inputs, outputs, 1, stride)
            blocks = [Bottleneck(inputs, width, stride, shortcut)]
            blocks += [Bottleneck(outputs, width) for _ in range(count - 1)]
            stages.append(nn.Sequential(*blocks))
            inputs = outputs
        last = stages.pop()
        assert isinstance(last, nn.Sequential)
        super().__init__(spec, [*stages, last[:-1], last[-1]], nn.Linear(inputs, spec.classes))


@register_backbone("resnet50", width=64, small=8)
class ResNet50(_ResNet):
    """ResNet-50."""

    blocks = (3, 4, 6, 3)
    small_blocks = (1, 1, 2, 2)


@register_backbone("resnet101", width=64, small=8)
class ResNet101(_ResNet):
    """ResNet-101."""

    blocks = (3, 4, 23, 3)
    small_blocks = (1, 1, 4, 2)
