"""Sets that a loop of one's own brings: torch datasets of (image, label), read image by image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast, overload

import torch
from torch import Tensor
from torch.utils.data import Subset, TensorDataset

from amint_mpc.config import Experiment
from amint_mpc.data.reading_ahead import Reader, whole
from amint_mpc.data.split import SplitImages
from amint_mpc.errors import DataError, UsageError

AT_ONCE = 64
"""Images that a worker reads before it hands them over."""


def own_sets(experiment: Experiment, members: Any, external: Any, unseen: Any, workers: int = 0) -> SplitImages:
    """The images of an experiment, by role. None of them is held in memory.

    Args:
        members, external, unseen: by index (image, label), or the image alone where labels are not used (external):
            uint8 [C, H, W], or a PIL image. As many as the experiment says. Labels are taken from `targets`, or from
            the tensors, where a dataset has them; else every item is read for its label.
        workers: processes that read, where a whole set is read.

    Raises:
        UsageError: a set is missing or has another size. DataError: something is no such image, or has no label.
    """
    named = {"members": members, "external": external, "unseen": unseen}
    for name, dataset in named.items():
        if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
            raise UsageError(
                f"the {name} are no dataset with a length and items ({type(dataset).__name__})",
                "Give three map-style torch datasets: members, external, unseen",
            )
        wanted = getattr(experiment.data, name)
        if len(dataset) != wanted:
            raise UsageError(
                f"there are {len(dataset)} {name}, the experiment has {wanted}",
                f"Set data.{name} to {len(dataset)}, at every party, or take a torch.utils.data.Subset",
            )
    shape = tuple(as_pixels(members[0], "image 0 of the members").shape)
    pixels = {
        name: cast(Tensor, Pictures(name, dataset, range(len(dataset)), shape, workers))
        for name, dataset in named.items()
    }
    labels = {name: _labels(name, named[name]) for name in ("members", "unseen")}
    classes = int(max(int(values.max()) for values in labels.values())) + 1
    return SplitImages(
        pixels["members"], labels["members"], pixels["external"], pixels["unseen"], labels["unseen"], classes
    )


class Pictures(Sequence[Tensor]):
    """The images of a dataset, each read when it is asked for.

    Args:
        name: of the set. rows: of the dataset. size: of each image, (C, H, W). workers: processes for a whole pass.
    """

    def __init__(self, name: str, dataset: Any, rows: range, size: tuple[int, ...], workers: int = 0) -> None:
        self._name, self._dataset, self._rows, self._size, self._workers = name, dataset, rows, size, workers

    @property
    def shape(self) -> tuple[int, ...]:
        """(count, C, H, W)."""
        return (len(self._rows), *self._size)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, at: int) -> Tensor: ...
    @overload
    def __getitem__(self, at: slice) -> Pictures: ...
    def __getitem__(self, at: int | slice) -> Tensor | Pictures:
        if isinstance(at, slice):
            return Pictures(self._name, self._dataset, self._rows[at], self._size, self._workers)
        row = self._rows[at]
        image = as_pixels(self._dataset[row], f"image {row} of the {self._name}")
        if tuple(image.shape) != self._size:
            raise DataError(
                f"image {row} of the {self._name} is {list(image.shape)}, others are {list(self._size)}",
                "Resize and crop in the dataset: all images have one size",
            )
        return image

    def __iter__(self) -> Iterator[Tensor]:
        for batch in Reader([self], self._workers)(whole(0, len(self), AT_ONCE)):
            yield from batch


def as_pixels(item: Any, what: str) -> Tensor:
    """The image of an item, uint8 [C, H, W]. Args: what: for messages.

    Raises:
        DataError: it is none.
    """
    image = item[0] if isinstance(item, tuple | list) else item
    if hasattr(image, "getbands"):
        from torchvision.transforms.v2.functional import pil_to_tensor  # seconds to import

        image = pil_to_tensor(image)
    if not isinstance(image, Tensor) or image.dtype != torch.uint8 or image.dim() != 3:
        found = f"{image.dtype} {list(image.shape)}" if isinstance(image, Tensor) else type(image).__name__
        raise DataError(
            f"{what} is {found}, not uint8 [C, H, W]",
            "Give pixels as they are; scale and normalise in the loader's `transform`, on whole batches",
        )
    return image


def _labels(name: str, dataset: Any) -> Tensor:
    """Of each item, int64 [count]."""
    known = _known_labels(dataset)
    values = known if known is not None else [_label(name, row, dataset[row]) for row in range(len(dataset))]
    return torch.as_tensor(values).to(torch.int64)


def _known_labels(dataset: Any) -> Any:
    """Labels without reading an image, where the dataset is of a kind that has them; else None."""
    if isinstance(dataset, Subset):
        inner = _known_labels(dataset.dataset)
        return None if inner is None else torch.as_tensor(inner)[list(dataset.indices)]
    if isinstance(dataset, TensorDataset):
        return dataset.tensors[1]
    return getattr(dataset, "targets", None) if getattr(dataset, "target_transform", None) is None else None


def _label(name: str, row: int, item: Any) -> int:
    try:
        return int(item[1])
    except (TypeError, ValueError, IndexError):
        raise DataError(f"item {row} of the {name} has no whole number as its label", "Give (image, label)") from None
