"""Images of noise, for measurements alone. No dataset has this name, so no run can be of it."""

from __future__ import annotations

import torch
from torch import Tensor

from amint_mpc.config import Data, Experiment
from amint_mpc.data.registry import FOLDER, dataset
from amint_mpc.data.split import SplitImages
from amint_mpc.errors import UsageError

CHANNELS, CLASSES = 3, 10


def on_noise(experiment: Experiment, side: int) -> Experiment:
    """The same training on images of noise, 3 x side x side in ten classes: named `noise`, for `noise_images`.

    To all parties it looks like a folder of pictures, of which nobody reads a file.

    Raises:
        UsageError: not a size that images may have.
    """
    if not 8 <= side <= 512:
        raise UsageError("images of noise have 8 to 512 pixels a side")
    about = {"dataset": FOLDER, "image_size": side, "channels": CHANNELS, "classes": CLASSES}
    data = Data.model_validate(experiment.data.model_dump() | about)
    return experiment.model_copy(update={"name": "noise", "data": data})


def noise_images(experiment: Experiment) -> SplitImages:
    """As many images as the experiment asks for, of the shape and classes of its dataset, drawn from its seed."""
    data, kind = experiment.data, dataset(experiment.data)
    random = torch.Generator().manual_seed(experiment.seed)

    def images(number: int) -> Tensor:
        return torch.randint(256, (number, *kind.shape), generator=random, dtype=torch.uint8)

    def labels(number: int) -> Tensor:
        return torch.randint(kind.classes, (number,), generator=random)

    return SplitImages(
        members=images(data.members),
        member_labels=labels(data.members),
        external=images(data.external),
        unseen=images(data.unseen),
        unseen_labels=labels(data.unseen),
        classes=kind.classes,
    )
