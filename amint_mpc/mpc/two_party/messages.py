"""What this party and its SPU process say to each other over a pipe: a JSON header and raw arrays, bounded.

The process is ours, but it runs libraries that are not: what comes out of it is read with care.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from typing import IO, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from amint_mpc.errors import ProtocolError

Array = NDArray[Any]
HEADER_LIMIT = 2**24  # bytes
ARRAY_LIMIT = 2**30  # bytes
_LENGTH = struct.Struct("!I")


class _Header(BaseModel):
    """Besides the arrays, whatever the command or the answer needs."""

    model_config = ConfigDict(extra="allow", strict=True)
    arrays: list[tuple[Literal["int64", "float64"], Annotated[list[Annotated[int, Field(ge=0)]], Field(max_length=4)]]]


def write(pipe: IO[bytes], header: Mapping[str, Any], *arrays: Array) -> None:
    """One message.

    Raises:
        ProtocolError: it is too large to be read.
    """
    arrays = tuple(np.asarray(array, order="C") for array in arrays)
    specs = [[array.dtype.name, list(array.shape)] for array in arrays]
    text = json.dumps({**header, "arrays": specs}).encode()
    if len(text) > HEADER_LIMIT or any(array.nbytes > ARRAY_LIMIT for array in arrays):
        raise ProtocolError("a step is too large for SPU's process", "Use fewer features or a smaller training.batch")
    pipe.write(_LENGTH.pack(len(text)) + text)
    for array in arrays:
        pipe.write(array.tobytes())
    pipe.flush()


def read(pipe: IO[bytes]) -> tuple[dict[str, Any], list[Array]] | None:
    """The next message; None at the end.

    Raises:
        ProtocolError: it is malformed, too large or cut short.
    """
    start = pipe.read(_LENGTH.size)
    if not start:
        return None
    try:
        (size,) = _LENGTH.unpack(start)
        header = _Header.model_validate_json(_exactly(pipe, size, HEADER_LIMIT))
        arrays = []
        for name, shape in header.arrays:
            dtype = np.dtype(name)
            data = _exactly(pipe, math.prod(shape) * dtype.itemsize, ARRAY_LIMIT)
            arrays.append(np.frombuffer(data, dtype).reshape(shape))
    except (ValueError, struct.error):
        raise ProtocolError("a message of SPU's process is malformed", "Start both parties again") from None
    return dict(header.model_extra or {}), arrays


def _exactly(pipe: IO[bytes], size: int, limit: int) -> bytes:
    if size > limit:
        raise ValueError("too large")
    data = pipe.read(size)
    if len(data) < size:
        raise ValueError("cut short")
    return data
