"""One way to write a record down, so that a digest of it means the same everywhere.

Canonical JSON here: keys sorted, no spaces, UTF-8, integers, strings, booleans, null, lists and objects. No floating
point numbers: a figure is written down as the text of its shortest decimal form (`figure`).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

Value: TypeAlias = "bool | int | str | Sequence[Value] | Mapping[str, Value] | None"


def encode(value: Value) -> bytes:
    """The canonical JSON of a value.

    Raises:
        TypeError: it holds a floating point number, or something that JSON has not.
    """
    _check(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def figure(value: float) -> str:
    """A number as text: its shortest decimal form, from which the same float64 comes back."""
    return repr(float(value))


def record_digest(record: Mapping[str, object]) -> str:
    """SHA-256 (hex) of a JSON object that may hold finite floating point numbers, which are written as `figure` does.

    Raises:
        TypeError, ValueError: it holds what JSON has not, or a number that is not finite.
    """
    return sha256(b"amint-mpc record 1\0", encode({key: _plain(value) for key, value in record.items()}))


def sha256(*parts: bytes) -> str:
    """SHA-256 (hex) of the parts, one after another."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 (hex) of named tensors: for each name in sorted order a line of canonical JSON (name, dtype, shape), a
    zero byte, and the elements in row-major order, little-endian."""
    digest = hashlib.sha256(b"amint-mpc tensors 1\0")
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        head: dict[str, Value] = {
            "dtype": str(tensor.dtype).removeprefix("torch."),
            "name": name,
            "shape": list(tensor.shape),
        }
        digest.update(encode(head) + b"\0")
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data if tensor.numel() else b"")
    return digest.hexdigest()


def pixels_digest(image: Tensor) -> str:
    """SHA-256 (hex) of one decoded image, uint8 [C, H, W]: its shape as three unsigned 32-bit little-endian numbers,
    then its pixels. The same picture from a PNG and from a BMP gives the same digest; one changed pixel another one."""
    if image.dtype != torch.uint8 or image.dim() != 3:
        raise TypeError("an image is uint8 [C, H, W]")
    shape = b"".join(int(size).to_bytes(4, "little") for size in image.shape)
    return sha256(b"amint-mpc pixels 1\0", shape, image.contiguous().numpy().tobytes())


def _plain(value: object) -> Value:
    """Without floating point numbers: each becomes an object, so that it is no text either."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("a record has finite numbers")
        return {"number": figure(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    raise TypeError(f"a record cannot hold a {type(value).__name__}")


def _check(value: object) -> None:
    if value is None or isinstance(value, bool | int | str):
        return
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"a key of a record is text, not {type(key).__name__}")
            _check(item)
    elif isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        for item in value:
            _check(item)
    else:
        raise TypeError(f"a record cannot hold a {type(value).__name__}")
