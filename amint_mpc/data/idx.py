"""IDX, the file format of MNIST and of the sets made in its likeness.

Source: "The IDX file format", http://yann.lecun.com/exdb/mnist/: two zero bytes, a type code (8: unsigned byte), the
number of dimensions, one big-endian 32-bit size for each of them, then the values, last dimension fastest.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from amint_mpc.errors import DataError

_UNSIGNED_BYTE = 8
_MOST_VALUES = 1 << 31  # far above any set of this kind; a damaged header must not ask for all memory


def read_idx(path: Path, dimensions: int) -> Tensor:
    """Read a plain or gzip-compressed (`.gz`) IDX file of unsigned bytes.

    Args:
        path: the file.
        dimensions: 3 for images [N, H, W], 1 for labels [N].

    Returns:
        uint8 tensor of the shape that the header states.

    Raises:
        DataError: the file cannot be read, is not IDX of unsigned bytes, has another number of dimensions, or is
            shorter or longer than its header says.
    """
    hint = "Replace it with an intact copy."
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            header = file.read(4 + 4 * dimensions)
            if len(header) != 4 + 4 * dimensions or header[:4] != bytes((0, 0, _UNSIGNED_BYTE, dimensions)):
                raise DataError(f"{path} is not an IDX file of {dimensions}-dimensional unsigned bytes", hint)
            shape = struct.unpack(f">{dimensions}I", header[4:])
            count = math.prod(shape)
            if math.prod(max(size, 1) for size in shape) > _MOST_VALUES:  # a size of 0 excuses no other
                raise DataError(f"{path} claims a shape of {shape}, more than is read here", hint)
            values = file.read(count + 1)
    except (OSError, EOFError, zlib.error, MemoryError) as error:
        raise DataError(f"{path} cannot be read: {error or type(error).__name__}", hint) from error
    if len(values) != count:
        more = "more" if len(values) > count else "fewer"
        raise DataError(f"{path} holds {more} values than the {count} that its header states", hint)
    return torch.from_numpy(np.frombuffer(values, dtype=np.uint8).reshape(shape).copy())
