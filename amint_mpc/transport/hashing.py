"""A channel whose frames are hashed on their way, in a thread of its own: digests for a log that cost no waiting.

Both ends of a link hash the same: each direction is one strict order of frames, and both parties cut it at the same
places (`mark`). What is hashed of a frame, one after another:

    kind u8, tag (24 ASCII bytes, zero padded), step u64, length of the shapes u16, length of the data u64
    (little-endian); the shapes as in `frames`; the elements, or JSON with sorted keys

Guarantees
    What is hashed is what was sent and received: it is copied before anyone can change it.
    Memory is bounded: at most `AHEAD` pieces of `PIECE` bytes and a frame wait to be hashed, then the caller waits.
    An error in the thread is raised by the next `mark` or `drain`.
"""

from __future__ import annotations

import hashlib
import json
import queue
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

from torch import Tensor

from amint_mpc.transport import frames
from amint_mpc.transport.channel import Channel, ForwardingChannel
from amint_mpc.transport.frames import JsonValue, Spec

PIECE = 8 << 20
AHEAD = 2
_HEAD = struct.Struct("<B24sQHQ")
_SENT, _RECEIVED = 0, 1

Digests: TypeAlias = "tuple[str, str]"
"""SHA-256 (hex) of what this end sent, and of what it received."""


def described(tag: str, step: int, tensors: Sequence[Tensor]) -> Iterator[bytes | memoryview]:
    """What is hashed of a frame of tensors, piece by piece."""
    specs = tuple((tensor.dtype, tuple(tensor.shape)) for tensor in tensors)
    shapes = frames.encode_specs(specs)
    yield _HEAD.pack(frames.TENSORS, tag.encode(), step, len(shapes), frames.data_length(specs)) + shapes
    for tensor in tensors:
        if tensor.numel():
            yield tensor.numpy(force=True).reshape(-1).data.cast("B")


class _Bytes:
    """Bytes of one direction, gathered so that one call hashes them: each call takes and gives back Python's lock."""

    def __init__(self) -> None:
        self._memory = memoryview(bytearray(1 << 16))
        self._size = 0

    def add(self, data: bytes | memoryview) -> None:
        end = self._size + len(data)
        if end > len(self._memory):
            larger = memoryview(bytearray(2 * end))
            larger[: self._size] = self._memory[: self._size]
            self._memory = larger
        self._memory[self._size : end] = data
        self._size = end

    def __len__(self) -> int:
        return self._size

    def take(self) -> memoryview:
        """What was added; valid until more is."""
        size, self._size = self._size, 0
        return self._memory[:size]


class _Piece(NamedTuple):
    """What the thread does next: hash both directions' bytes, and with `then` end the digests there."""

    directions: tuple[_Bytes, _Bytes]
    then: Callable[[Digests], None] | None


class HashingChannel(ForwardingChannel):
    """`Channel` over another one. One thread uses it at a time, as one step follows another.

    Args:
        channel: that is observed; what is sent on it past this object is not.
    """

    def __init__(self, channel: Channel) -> None:
        super().__init__(channel)
        self._now = _Bytes(), _Bytes()
        self._free: queue.SimpleQueue[tuple[_Bytes, _Bytes]] = queue.SimpleQueue()
        for _ in range(AHEAD):
            self._free.put((_Bytes(), _Bytes()))
        self._work: queue.SimpleQueue[_Piece | threading.Event | None] = queue.SimpleQueue()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"hash frames of {channel.peer}", daemon=True)
        self._thread.start()

    def send(self, tag: str, step: int, *tensors: Tensor) -> None:
        """See `Channel.send`."""
        super().send(tag, step, *tensors)
        self._note(_SENT, tag, step, tensors)

    def receive(self, tag: str, step: int, *specs: Spec) -> list[Tensor]:
        """See `Channel.receive`."""
        tensors = super().receive(tag, step, *specs)
        self._note(_RECEIVED, tag, step, tensors)
        return tensors

    def send_json(self, tag: str, value: JsonValue) -> None:
        """See `Channel.send_json`."""
        super().send_json(tag, value)
        self._note_json(_SENT, tag, value)

    def receive_json(self, tag: str, limit: int = frames.JSON_LIMIT) -> JsonValue:
        """See `Channel.receive_json`."""
        value = super().receive_json(tag, limit)
        self._note_json(_RECEIVED, tag, value)
        return value

    def mark(self, then: Callable[[Digests], None]) -> None:
        """Cut both directions here. `then` is given the digests since the last mark, in the hashing thread.

        Raises:
            what an earlier `then` raised.
        """
        self._hand_over(then)
        self._raise()

    def drain(self) -> None:
        """Return when every mark has been dealt with; raises as `mark` does."""
        reached = threading.Event()
        self._work.put(reached)
        reached.wait()
        self._raise()

    def end(self) -> None:
        """End the thread; the channel stays open, and is observed no more."""
        self._work.put(None)
        self._thread.join()

    def _note(self, direction: int, tag: str, step: int, tensors: Sequence[Tensor]) -> None:
        bytes_of = self._now[direction]
        for piece in described(tag, step, tensors):
            bytes_of.add(piece)
        if len(bytes_of) > PIECE:
            self._hand_over(None)

    def _note_json(self, direction: int, tag: str, value: JsonValue) -> None:
        text = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
        self._now[direction].add(_HEAD.pack(frames.JSON, tag.encode(), 0, 0, len(text)) + text)

    def _hand_over(self, then: Callable[[Digests], None] | None) -> None:
        full, self._now = self._now, self._free.get()  # waits while the thread is behind
        self._work.put(_Piece(full, then))

    def _run(self) -> None:
        hashes = hashlib.sha256(), hashlib.sha256()
        while (task := self._work.get()) is not None:
            if isinstance(task, threading.Event):
                task.set()
                continue
            for digest, gathered in zip(hashes, task.directions, strict=True):
                digest.update(gathered.take())
            self._free.put(task.directions)
            if task.then is not None:
                digests = hashes[_SENT].hexdigest(), hashes[_RECEIVED].hexdigest()
                hashes = hashlib.sha256(), hashlib.sha256()
                try:
                    task.then(digests)
                except BaseException as error:  # told by whoever waits for it
                    self._error = self._error or error

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error
