"""What every backbone offers: class logits and two tapped feature maps, from one forward pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

from torch import Tensor, nn

Taps = Literal["entry", "middle", "output"]
TAPS: tuple[Taps, ...] = ("entry", "middle", "output")


class Backbone(nn.Module, ABC):
    """A classifier with named taps.

    `taps` names the pair of feature maps that `forward` returns: `entry` (early), `middle` or `output` (last), as in
    aMINT (arXiv 2509.07879, section 4).
    """

    taps: Taps

    @abstractmethod
    def forward(self, images: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Classify images.

        Args:
            images: float32 [n, C, H, W] in [0, 1].

        Returns:
            class logits [n, classes], and the two tapped maps, each [n, channels, height, width].
        """
