"""The wire format of a link: one frame is a fixed header, the shapes of its tensors, and raw bytes.

    header   magic "AMNT", version u8, kind u8, length of the shapes u16, depth u32, step u64,
             length of the data u64, tag (24 ASCII bytes, zero padded); all little-endian
    shapes   for each tensor: dtype u8, number of dimensions u8, each dimension u32
    data     the tensors' elements one after the other, little-endian, C order; or JSON in UTF-8

Guarantees
    What arrives is data: integers, floats, and JSON of bounded size and nesting. Nothing is unpickled or evaluated.
    Every length is checked before memory is taken for it, and a length that disagrees with the shapes is refused.
    Malformed bytes end in `ProtocolError`; its text repeats only checked, printable parts of what was received.
"""

from __future__ import annotations

import json
import math
import re
import struct
import sys
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, NoReturn, TypeAlias

import torch
from torch import Tensor

from amint_mpc.errors import ProtocolError

if sys.byteorder != "little":
    raise ImportError("amint-mpc sends tensors as they lie in memory and needs a little-endian machine")

Spec: TypeAlias = tuple[torch.dtype, tuple[int, ...]]
JsonValue: TypeAlias = "dict[str, JsonValue] | list[JsonValue] | str | int | float | bool | None"

TENSORS, JSON, BYE, ABORT, HEARTBEAT = 1, 2, 3, 4, 5

MAGIC = b"AMNT"
VERSION = 1
HEADER = struct.Struct("<4sBBHIQQ24s")
MAX_TENSORS = 32
MAX_DIMENSIONS = 8
MAX_EXTENT = 1 << 40  # elements; also of an empty tensor, were its empty dimensions 1, for numpy counts so too
JSON_LIMIT = 65536
JSON_DEPTH = 16

DTYPES: tuple[torch.dtype, ...] = (torch.int64, torch.int32, torch.int16, torch.uint8, torch.float32)
_CODE_OF = {dtype: code for code, dtype in enumerate(DTYPES, start=1)}
_DTYPE_OF = dict(enumerate(DTYPES, start=1))
_MAX_SHAPES = MAX_TENSORS * (2 + 4 * MAX_DIMENSIONS)
_TAG = re.compile(rb"[A-Za-z0-9_.:/+-]{1,24}")
_HINT = "The peer runs another version of the protocol, or a message was damaged"


class FrameHeader(NamedTuple):
    """All of a frame but its data. `shapes` and `data` are lengths in bytes."""

    kind: int
    tag: str
    step: int
    depth: int
    shapes: int
    data: int
    specs: tuple[Spec, ...] = ()

    @property
    def size(self) -> int:
        """Length of the whole frame in bytes."""
        return HEADER.size + self.shapes + self.data


@lru_cache(maxsize=1024)
def data_length(specs: tuple[Spec, ...]) -> int:
    """Bytes of the elements of all tensors."""
    return sum(math.prod(shape) * dtype.itemsize for dtype, shape in specs)


def encode_tensors(tag: str, step: int, depth: int, tensors: Sequence[Tensor]) -> bytes:
    """A frame of tensors. The elements are copied, so the tensors may be changed right after."""
    specs = tuple((tensor.dtype, tuple(tensor.shape)) for tensor in tensors)
    shapes = encode_specs(specs)
    header = _header(TENSORS, tag, step, depth, len(shapes), data_length(specs))
    return b"".join((header, shapes, *(_elements(tensor) for tensor in tensors)))


def _elements(tensor: Tensor) -> memoryview:
    array = tensor.numpy(force=True)  # also from a graph or a device
    return array.data if array.flags.c_contiguous else array.copy().data


def encode_json(tag: str, depth: int, value: JsonValue) -> bytes:
    """A frame of JSON; a value that `decode_json` would refuse is refused here already."""
    data = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    decode_json(data)
    return _header(JSON, tag, 0, depth, 0, len(data)) + data


def encode_control(kind: int, code: str = "-") -> bytes:
    """A frame without data: BYE, ABORT (its tag is the reason's code) or HEARTBEAT."""
    return _header(kind, code, 0, 0, 0, 0)


def _header(kind: int, tag: str, step: int, depth: int, shapes: int, data: int) -> bytes:
    if not 0 <= step < 2**64:
        raise ProtocolError(f"no frame can carry step {step}")
    return HEADER.pack(MAGIC, VERSION, kind, shapes, depth, step, data, _encode_tag(tag))


@lru_cache(maxsize=1024)
def _encode_tag(tag: str) -> bytes:
    name = tag.encode("ascii", "replace")
    if not _TAG.fullmatch(name):
        raise ProtocolError(f"no frame can carry the tag {tag!r}")
    return name


@lru_cache(maxsize=1024)
def _decode_tag(padded: bytes) -> str:
    name = padded.rstrip(b"\0")
    if not _TAG.fullmatch(name):
        _malformed("has a tag of other than printable characters")
    return name.decode()


@lru_cache(maxsize=1024)
def encode_specs(specs: tuple[Spec, ...]) -> bytes:
    """The shapes part of a frame."""
    if len(specs) > MAX_TENSORS or any(len(shape) > MAX_DIMENSIONS for _, shape in specs):
        raise ProtocolError(f"a frame carries at most {MAX_TENSORS} tensors of {MAX_DIMENSIONS} dimensions")
    if unknown := [dtype for dtype, _ in specs if dtype not in _CODE_OF]:
        raise ProtocolError(f"{unknown[0]} never crosses a link; use one of {', '.join(map(str, DTYPES))}")
    return b"".join(struct.pack(f"<BB{len(shape)}I", _CODE_OF[dtype], len(shape), *shape) for dtype, shape in specs)


def decode_header(raw: bytes) -> FrameHeader:
    """Check and read the fixed part.

    Raises:
        ProtocolError: the bytes are no header of this version of the protocol.
    """
    magic, version, kind, shapes, depth, step, data, padded = HEADER.unpack(raw)
    if magic != MAGIC:
        _malformed("does not start with the protocol's mark")
    if version != VERSION:
        raise ProtocolError(f"the peer speaks version {version} of the link, this program {VERSION}", _HINT)
    if kind not in (TENSORS, JSON, BYE, ABORT, HEARTBEAT):
        _malformed(f"has the unknown kind {kind}")
    tag = _decode_tag(padded)
    if shapes > _MAX_SHAPES:
        _malformed(f"announces {shapes} bytes of shapes; at most {_MAX_SHAPES} are allowed")
    if (kind != TENSORS and (shapes or step)) or (kind > JSON and data):
        _malformed("carries parts that its kind does not have")
    return FrameHeader(kind, tag, step, depth, shapes, data)


@lru_cache(maxsize=1024)
def decode_specs(raw: bytes) -> tuple[Spec, ...]:
    """Check and read the shapes part.

    Raises:
        ProtocolError: an unknown dtype, too many dimensions, tensors or elements, or a length that does not fit.
    """
    specs: list[Spec] = []
    at = 0
    while at < len(raw):
        if len(raw) - at < 2:
            _malformed("has shapes that end too early")
        code, dimensions = raw[at], raw[at + 1]
        if code not in _DTYPE_OF:
            _malformed(f"has a tensor of unknown dtype {code}")
        end = at + 2 + 4 * dimensions
        if dimensions > MAX_DIMENSIONS or end > len(raw) or len(specs) == MAX_TENSORS:
            _malformed("has shapes that end too early, or too many of them")
        shape = struct.unpack_from(f"<{dimensions}I", raw, at + 2)
        if math.prod(max(size, 1) for size in shape) > MAX_EXTENT:
            _malformed("has a tensor of impossible size")
        specs.append((_DTYPE_OF[code], shape))
        at = end
    return tuple(specs)


def decode_json(data: bytes) -> JsonValue:
    """Parse JSON strictly: UTF-8, no repeated keys, no NaN, nested at most `JSON_DEPTH` deep.

    Raises:
        ProtocolError: anything else.
    """
    try:
        value: JsonValue = json.loads(data.decode(), object_pairs_hook=_object, parse_constant=_constant)
        _check_json(value, 1)
    except (ValueError, RecursionError):  # UnicodeError and JSONDecodeError are ValueErrors
        raise ProtocolError("a message is not the JSON that the protocol allows", _HINT) from None
    return value


def _object(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("repeated key")
    return value


def _constant(_: str) -> NoReturn:
    raise ValueError("not a number")


def _check_json(value: JsonValue, depth: int) -> None:
    if depth > JSON_DEPTH:
        raise ValueError("nested too deeply")
    if isinstance(value, str):
        value.encode()  # a lone surrogate would fail later, where the text is printed
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("not finite")
    elif isinstance(value, list):
        for item in value:
            _check_json(item, depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            key.encode()
            _check_json(item, depth + 1)


def check_lengths(head: FrameHeader) -> None:
    """Refuse a frame of tensors whose data is not as long as its shapes say."""
    if head.kind == TENSORS and data_length(head.specs) != head.data:
        _malformed(f"announces {head.data} bytes of data for {_describe(head.specs)}")


def check_tensors(head: FrameHeader, tag: str, step: int, specs: tuple[Spec, ...]) -> None:
    """Refuse any frame but the one that the protocol's next step needs.

    Raises:
        ProtocolError: it names what was expected and what was received.
    """
    if head.kind != TENSORS or head.tag != tag or head.step != step or head.specs != specs:
        _unexpected(f"'{tag}' of step {step} with {_describe(specs)}", head)


def check_json(head: FrameHeader, tag: str, limit: int) -> None:
    """Refuse any frame but JSON with this tag and at most `limit` bytes."""
    if head.kind != JSON or head.tag != tag or head.data > limit:
        _unexpected(f"'{tag}', JSON of at most {limit} bytes", head)


def _unexpected(expected: str, head: FrameHeader) -> NoReturn:
    what = f"JSON of {head.data} bytes" if head.kind == JSON else f"step {head.step} with {_describe(head.specs)}"
    raise ProtocolError(
        f"expected {expected}; received '{head.tag}', {what}",
        "The two programs are not at the same place: compare the versions and the experiment of both parties",
    )


def _malformed(what: str) -> NoReturn:
    raise ProtocolError(f"a received frame {what}", _HINT)


def _describe(specs: Sequence[Spec]) -> str:
    shown = [f"{str(dtype).removeprefix('torch.')}{list(shape)}" for dtype, shape in specs[:4]]
    return (", ".join(shown) or "no tensor") + (f" and {len(specs) - 4} more" if len(specs) > 4 else "")


def as_tensor(data: bytes) -> Tensor:
    """Bytes as they travel: uint8 [n]."""
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


def as_bytes(tensor: Tensor) -> bytes:
    """The other way round."""
    return tensor.numpy().tobytes()
