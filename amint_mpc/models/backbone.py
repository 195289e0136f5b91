"""What every backbone offers: two tapped feature maps, and class logits from the second of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from amint_mpc.errors import UsageError

Taps = Literal["entry", "middle", "output"]
TAPS: tuple[Taps, ...] = ("entry", "middle", "output")
Size = Literal["full", "small"]


@dataclass(frozen=True)
class BackboneSpec:
    """What a backbone is built for.

    Args:
        shape: of one image, (C, H, W).
        classes: of the task.
        taps: which pair of maps the head works on.
        width: channels of the stem (of a token, where there is no stem); all other channels go with it.
        size: "full", or "small": the same kind of blocks in the same stages, but fewer of them.
    """

    shape: tuple[int, ...]
    classes: int
    taps: Taps
    width: int
    size: Size = "full"

    def pick(self, full: tuple[int, ...], small: tuple[int, ...]) -> tuple[int, ...]:
        """The one of the two that goes with the size."""
        return full if self.size == "full" else small

    @property
    def stem_stride(self) -> int:
        """1, or 2 in small versions: at 28 pixels most of the time would go into the stem's full-size maps."""
        return 1 if self.size == "full" else 2


class Backbone(nn.Module, ABC):
    """A classifier with named taps.

    `taps` names the pair of feature maps: `entry` (early), `middle` or `output` (last), as in aMINT (arXiv 2509.07879,
    section 4). The pass is cut behind them, so that a head can work on them while the rest of it goes on.

    A class of one's own takes a `BackboneSpec`, and has a name by `amint_mpc.models.register_backbone`.
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
        """Class logits [n, classes] from the second map, all that the rest of the backbone depends on.

        Must leave the map itself as it is: no `inplace=True` in what comes first.
        """

    def forward(self, images: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Classify images.

        Args:
            images: float32 [n, C, H, W] in [0, 1].

        Returns:
            class logits [n, classes], and the two tapped maps, each [n, channels, height, width].
        """
        maps = self.tapped(images)
        return self.finish(maps[1]), maps

    @classmethod
    def tap_names(cls) -> tuple[Taps, ...]:
        """The taps that this backbone has."""
        return TAPS

    @classmethod
    def check(cls, spec: BackboneSpec) -> None:
        """Refuse what cannot be built, before anything is.

        Raises:
            UsageError: for example, the images are too small.
        """


class StagedBackbone(Backbone):
    """A chain of stages, each of which depends on the one before alone; a tap is what two of them give.

    Args:
        stages: of maps [n, channels, height, width], the first of images. None begins with an in-place operation.
        classify: class logits [n, classes] from the mean over the pixels of what the last one gives, [n, channels].
    """

    pairs: ClassVar[Mapping[Taps, tuple[int, int]]] = {"entry": (0, 1), "middle": (2, 3), "output": (4, 5)}
    """Which two stages, counted from 0, each tap takes."""
    smallest: ClassVar[int] = 1
    """Side of the smallest image, in pixels."""

    def __init__(self, spec: BackboneSpec, stages: Iterable[nn.Module], classify: nn.Module) -> None:
        super().__init__()
        self.taps = spec.taps
        self._first, self._second = self.pairs[spec.taps]
        self.stages = nn.ModuleList(stages)
        self.classify = classify

    def tapped(self, images: Tensor) -> tuple[Tensor, Tensor]:
        first = second = images
        for number, stage in enumerate(self.stages[: self._second + 1]):
            second = stage(second)
            if number == self._first:
                first = second
        return first, second

    def finish(self, second: Tensor) -> Tensor:
        for stage in self.stages[self._second + 1 :]:
            second = stage(second)
        logits: Tensor = self.classify(second.mean((2, 3)))
        return logits

    @classmethod
    def tap_names(cls) -> tuple[Taps, ...]:
        return tuple(cls.pairs)

    @classmethod
    def check(cls, spec: BackboneSpec) -> None:
        height, width = spec.shape[1:]
        if min(height, width) < cls.smallest:
            raise UsageError(
                f"images of {height} x {width} pixels are too small for this backbone",
                f"It takes {cls.smallest} x {cls.smallest} or more",
            )
