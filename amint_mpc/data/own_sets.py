"""Sets that a loop of one's own brings: torch datasets of (image, label)."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor

from amint_mpc.config import Experiment
from amint_mpc.data.split import SplitImages
from amint_mpc.errors import DataError, UsageError

_T = TypeVar("_T")


def own_sets(experiment: Experiment, members: Any, external: Any, unseen: Any) -> SplitImages:
    """The images of an experiment, by role.

    Args:
        members, external, unseen: by index (image, label), or the image alone where labels are not used (external):
            uint8 [C, H, W], or a PIL image. As many as the experiment says.

    Raises:
        UsageError: a set is missing or has another size. DataError: something is no such image.
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
    pixels = {
        name: torch.stack([_image(name, row, dataset[row]) for row in range(len(dataset))])
        for name, dataset in named.items()
    }
    labels = {
        name: torch.tensor([_label(name, row, named[name][row]) for row in range(len(named[name]))])
        for name in ("members", "unseen")
    }
    classes = int(max(int(values.max()) for values in labels.values())) + 1
    return SplitImages(
        pixels["members"], labels["members"], pixels["external"], pixels["unseen"], labels["unseen"], classes
    )


def _image(name: str, row: int, item: Any) -> Tensor:
    image = item[0] if isinstance(item, tuple | list) else item
    if hasattr(image, "getbands"):
        from torchvision.transforms.v2.functional import pil_to_tensor  # seconds to import

        image = pil_to_tensor(image)
    if not isinstance(image, Tensor) or image.dtype != torch.uint8 or image.dim() != 3:
        what = f"{image.dtype} {tuple(image.shape)}" if isinstance(image, Tensor) else type(image).__name__
        raise DataError(
            f"image {row} of the {name} is {what}, not uint8 [C, H, W]",
            "Give pixels as they are; scale and normalise in the loader's `transform`, on whole batches",
        )
    return image


def _label(name: str, row: int, item: Any) -> int:
    try:
        return int(item[1])
    except (TypeError, ValueError, IndexError):
        raise DataError(f"item {row} of the {name} has no whole number as its label", "Give (image, label)") from None
