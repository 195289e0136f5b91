"""CIFAR-10 and CIFAR-100 in their binary version.

Source: "binary version", https://www.cs.toronto.edu/~kriz/cifar.html: records without a header, each the label bytes
(CIFAR-10 one; CIFAR-100 the coarse, then the fine one) and 3 x 32 x 32 pixels, red, green, blue, row by row.

The Python version is refused: its batches are pickles, and loading a pickle can run any program. That rules
torchvision's CIFAR10 and CIFAR100 out, which read nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from amint_mpc.errors import DataError

# Training images first: the order is part of a split's digest.
CIFAR_10 = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")
CIFAR_100 = ("train.bin", "test.bin")

_PIXELS = 3 * 32 * 32
_MOST_RECORDS = 50_000  # of a file: CIFAR-100's training images


def read_cifar(folder: Path, names: Sequence[str], label_bytes: int) -> tuple[Tensor, Tensor]:
    """All images, uint8 [N, 3, 32, 32], and their (fine) labels, int64 [N].

    Raises:
        DataError: a file is missing, or is not whole records.
    """
    records = np.concatenate([_records(folder / name, label_bytes + _PIXELS) for name in names])
    images = np.ascontiguousarray(records[:, label_bytes:]).reshape(-1, 3, 32, 32)
    return torch.from_numpy(images), torch.from_numpy(records[:, label_bytes - 1].astype(np.int64))


def _records(path: Path, size: int) -> NDArray[np.uint8]:
    try:
        with path.open("rb") as file:
            raw = file.read(_MOST_RECORDS * size + 1)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", "Unpack the whole archive.") from None
    count, rest = divmod(len(raw), size)
    if rest or not 0 < count <= _MOST_RECORDS:
        raise DataError(
            f"{path} should be 1 to {_MOST_RECORDS:,} records of {size} bytes; it has {count:,} and {rest} bytes more",
            "Replace it with an intact copy.",
        )
    return np.frombuffer(raw, dtype=np.uint8).reshape(-1, size)
