"""Datasets by name: what both parties know of them (shape, classes), and how the developer loads them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from amint_mpc.data.mnist import load_idx_family, load_mnist_5k
from amint_mpc.errors import DataError, UsageError


@dataclass(frozen=True)
class LabelledImages:
    """Args: images: uint8 [N, C, H, W]; labels: int64 [N]."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Dataset:
    """A dataset that can be asked for by name.

    Args:
        shape: of one image, (C, H, W). The auditor, who has no images, sizes its head by it.
        classes: number of classes of the task.
        load: reads all images, given the developer's data folder (None: it named none).
    """

    name: str
    shape: tuple[int, int, int]
    classes: int
    load: Callable[[Path | None], tuple[Tensor, Tensor]]

    def read(self, root: Path | None) -> LabelledImages:
        """Load and check all images.

        Raises:
            DataError: nothing to read, or not what the registry states.
        """
        images, labels = self.load(root)
        if tuple(images.shape[1:]) != self.shape or len(images) != len(labels):
            raise DataError(
                f"{self.name}: {len(images)} images of shape {tuple(images.shape[1:])} with {len(labels)} labels, "
                f"where images of shape {self.shape} with one label each are expected",
                "Check that the folder holds this dataset.",
            )
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < self.classes:
            raise DataError(f"{self.name}: a label is outside 0 to {self.classes - 1}", "Check the label files.")
        return LabelledImages(images, labels)


DATASETS: dict[str, Dataset] = {
    entry.name: entry
    for entry in (
        Dataset("mnist-5k", (1, 28, 28), 10, load_mnist_5k),
        Dataset("mnist", (1, 28, 28), 10, lambda root: load_idx_family("MNIST", root)),
        Dataset("fashion-mnist", (1, 28, 28), 10, lambda root: load_idx_family("FashionMNIST", root)),
    )
}


def dataset(name: str) -> Dataset:
    """The dataset of that name.

    Raises:
        UsageError: no such dataset; the hint lists the names.
    """
    if name not in DATASETS:
        raise UsageError(f"there is no dataset {name!r}", f"Known datasets: {', '.join(sorted(DATASETS))}.")
    return DATASETS[name]
