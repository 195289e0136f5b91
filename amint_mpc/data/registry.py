"""Datasets by name: what both parties know of them (shape, classes), and how the developer finds and reads them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

from torch import Tensor

from amint_mpc.config import Data
from amint_mpc.data.cifar import CIFAR_10, CIFAR_100, read_cifar
from amint_mpc.data.classfolders import list_class_folders
from amint_mpc.data.files import Listing, Say
from amint_mpc.data.gtsrb import download_gtsrb, list_gtsrb
from amint_mpc.data.mnist import download_idx, load_mnist_5k, read_idx_folder
from amint_mpc.data.pictures import read_pictures
from amint_mpc.data.tiny_imagenet import list_tiny_imagenet
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
        load: reads all images from the place where they lie: images uint8 [N, C, H, W], labels int64 [N].
        places: where in the data folder that may be, the first one counts that holds one of `marks`.
        layout: what to put into the data folder; empty: the images come inside a package.
        pickles: the folder in which the same images are handed out as Python pickles.
        download: puts the images into an empty folder; None: they are not downloaded.
        scaled: image files of any size are scaled to `shape`; else every image has that size from the start.
    """

    name: str
    shape: tuple[int, int, int]
    classes: int
    load: Callable[[Path, Dataset, Say], tuple[Tensor, Tensor]]
    places: tuple[str, ...] = (".",)
    marks: tuple[str, ...] = (".",)
    layout: str = ""
    pickles: str = ""
    download: Callable[[Path], None] | None = None
    scaled: bool = False

    def place(self, root: Path | None) -> Path | None:
        """The folder in which the files lie; None: they are not there."""
        if root is None:
            return None
        places = (root / place for place in self.places)
        return next((place for place in places if any((place / mark).exists() for mark in self.marks)), None)

    def to_download(self, root: Path | None) -> bool:
        """Whether `read` would fetch the images first."""
        return self.download is not None and root is not None and self.place(root) is None

    def read(self, root: Path | None, on_notice: Say = lambda _: None) -> LabelledImages:
        """Load and check all images; download them where that is possible and a folder is named.

        Args:
            root: the developer's data folder; None: it named none.
            on_notice: told how it goes on, where that takes long.

        Raises:
            DataError: nothing to read, or not what the registry states.
        """
        images, labels = self.load(self._place(root, on_notice), self, on_notice)
        if tuple(images.shape[1:]) != self.shape or len(images) != len(labels):
            raise DataError(
                f"{self.name}: {len(images)} images of shape {tuple(images.shape[1:])} with {len(labels)} labels, "
                f"where images of shape {self.shape} with one label each are expected",
                "Check that the folder holds this dataset.",
            )
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < self.classes:
            raise DataError(f"{self.name}: a label is outside 0 to {self.classes - 1}", "Check the label files.")
        return LabelledImages(images, labels)

    def _place(self, root: Path | None, on_notice: Say) -> Path:
        if not self.layout:
            return Path()
        hint = f"Put there {self.layout} (docs/data.md)."
        if root is None:
            how = "Give --data FOLDER, or name the folder under `data` in the developer's party file."
            raise DataError(f"{self.name} needs a data folder", f"{how} {hint}")
        if self.to_download(root):
            on_notice(f"downloading {self.name} into {root}")
            self._download(root, hint)
        place = self.place(root)
        if place is not None:
            return place
        if self.pickles and (root.name == self.pickles or (root / self.pickles).exists()):
            raise DataError(
                f"{root} has {self.name} as Python pickles ({self.pickles}), which are never loaded: a pickle can run "
                "any program",
                f"Get its binary version. {hint}",
            )
        if not root.is_dir():
            raise DataError(f"there is no folder {root}", hint)
        raise DataError(f"{root} has no {self.name}: {' or '.join(self.marks)} is missing", hint)

    def _download(self, root: Path, hint: str) -> None:
        """Into a folder of its own first: what is interrupted leaves nothing that looks whole."""
        assert self.download is not None
        try:
            root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as part:
                self.download(Path(part))
                for path in Path(part).iterdir():
                    path.rename(root / path.name)
        except (RuntimeError, OSError, EOFError, BadZipFile) as error:
            message = f"{self.name} is not in {root} and cannot be downloaded: {error}"
            raise DataError(message, hint) from error


def _idx_family(name: str, family: str) -> Dataset:
    return Dataset(
        name,
        (1, 28, 28),
        10,
        lambda place, *_: read_idx_folder(place),
        places=(".", "raw", f"{family}/raw"),  # the last one is torchvision's
        marks=("train-images-idx3-ubyte", "train-images-idx3-ubyte.gz"),
        layout="its four IDX files, plain or .gz",
        download=lambda folder: download_idx(family, folder),
    )


def _cifar(classes: int, files: tuple[str, ...], folder: str) -> Dataset:
    return Dataset(
        f"cifar-{classes}",
        (3, 32, 32),
        classes,
        lambda place, *_: read_cifar(place, files, label_bytes=1 if classes == 10 else 2),
        places=(".", folder),
        marks=files[:1],
        layout=f"{folder}/, unpacked from cifar-{classes}-binary.tar.gz",
        pickles={10: "cifar-10-batches-py", 100: "cifar-100-python"}[classes],
    )


def _pictures(list_files: Callable[[Path, int], Listing]) -> Callable[[Path, Dataset, Say], tuple[Tensor, Tensor]]:
    return lambda place, kind, on_notice: read_pictures(list_files(place, kind.classes), kind.shape, on_notice)


DATASETS: dict[str, Dataset] = {
    entry.name: entry
    for entry in (
        Dataset("mnist-5k", (1, 28, 28), 10, lambda *_: load_mnist_5k()),
        _idx_family("mnist", "MNIST"),
        _idx_family("fashion-mnist", "FashionMNIST"),
        _cifar(10, CIFAR_10, "cifar-10-batches-bin"),
        _cifar(100, CIFAR_100, "cifar-100-binary"),
        Dataset(
            "gtsrb",
            (3, 32, 32),
            43,
            _pictures(list_gtsrb),
            scaled=True,
            places=(".", "gtsrb"),
            marks=("GTSRB/Training",),
            layout="GTSRB/Training/, GTSRB/Final_Test/Images/ and GT-final_test.csv",
            download=download_gtsrb,
        ),
        Dataset(
            "tiny-imagenet",
            (3, 64, 64),
            200,
            _pictures(list_tiny_imagenet),
            scaled=True,
            places=(".", "tiny-imagenet-200"),
            marks=("wnids.txt",),
            layout="tiny-imagenet-200/, unpacked from tiny-imagenet-200.zip",
        ),
    )
}
"""Datasets that are known by their name alone. `folder` is described by the experiment."""

FOLDER = "folder"


def dataset(data: Data) -> Dataset:
    """The dataset that an experiment names, or describes.

    Raises:
        UsageError: no such dataset; the hint lists the names.
    """
    if data.dataset != FOLDER:
        if data.dataset not in DATASETS:
            known = ", ".join([*DATASETS, FOLDER])
            raise UsageError(f"there is no dataset {data.dataset[:60]!r}", f"Known datasets: {known}.")
        return DATASETS[data.dataset]
    channels, size, classes = data.channels, data.image_size, data.classes
    assert channels is not None and size is not None and classes is not None  # noqa: PT018 - `Data` is refused without
    layout = "one folder of images for each class"
    return Dataset(FOLDER, (channels, size, size), classes, _pictures(list_class_folders), layout=layout, scaled=True)
