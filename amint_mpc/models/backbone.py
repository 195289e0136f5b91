"""What every backbone offers: two tapped feature maps, and class logits from the second of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

from torch import Tensor, nn

Taps = Literal["entry", "middle", "output"]
TAPS: tuple[Taps, ...] = ("entry", "middle", "output")


class Backbone(nn.Module, ABC):
    """A classifier with named taps.

    `taps` names the pair of feature maps: `entry` (early), `middle` or `output` (last), as in aMINT (arXiv 2509.07879,
    section 4). The pass is cut behind them, so that a head can work on them while the rest of it goes on.
    """

    taps: Taps

    @abstractmethod
    def tapped(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The two tapped maps, each [n, channels, height, width].

        Args:
            images: float32 [n, C, H, W] in [0, 1].
        """

    @abstractmethod
    def finish(self, second: Tensor) -> Tensor:
        """Class logits [n, classes] from the second map, all that the rest of the backbone depends on."""

    def forward(self, images: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Classify images.

        Args:
            images: float32 [n, C, H, W] in [0, 1].

        Returns:
            class logits [n, classes], and the two tapped maps, each [n, channels, height, width].
        """
        maps = self.tapped(images)
        return self.finish(maps[1]), maps
