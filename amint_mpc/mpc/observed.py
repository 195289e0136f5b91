"""A channel whose tensors are hashed on their way, in a thread of its own: digests for a log that cost no waiting.

Both ends of a link hash the same: each direction is one strict order of frames, and both parties cut it at the same
places (`mark`). A frame counts with its tag, step, dtypes, shapes and elements; JSON with its tag and text.

    frame   kind u8, tag (24 ASCII bytes, zero padded), step u64, length of the shapes u16, length of the data u64
            (little-endian), shapes as in `frames`, data

Guarantees
    What is hashed is what was sent and received: copies are taken before anyone can change them.
    Memory is bounded: a `mark` waits while `AHEAD` others have not been hashed.
    An error in the thread is raised by the next `mark` or `drain`.
"""

from __future__ import annotations

import hashlib
import json
import queue
import struct
import threading
from collections.abc import Callable, Sequence
from typing import TypeAlias

from torch import Tensor

from amint_mpc.mpc import frames
from amint_mpc.mpc.channel import Channel
from amint_mpc.mpc.frames import JsonValue, Spec

AHEAD = 2
_HEAD = struct.Struct("<B24sQHQ")
_SENT, _RECEIVED = 0, 1

Digests: TypeAlias = "tuple[str, str]"
"""SHA-256 (hex) of what this end sent, and of what it received."""


class Observed:
    """`Channel` over another one. One thread uses it at a time, as one step follows another.

    Args:
        channel: that is observed; what is sent on it past this object is not.
    """

    def __init__(self, channel: Channel) -> None:
        self.peer, self.stats = channel.peer, channel.stats
        self._channel = channel
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._room = threading.Semaphore(AHEAD)
        self._error: BaseException | None = None
        self._fresh()
        self._thread = threading.Thread(target=self._run, name=f"hash frames of {channel.peer}", daemon=True)
        self._thread.start()

    def send(self, tag: str, step: int, *tensors: Tensor) -> None:
        """See `Channel.send`."""
        self._channel.send(tag, step, *tensors)
        self._note(_SENT, tag, step, tensors)

    def receive(self, tag: str, step: int, *specs: Spec) -> list[Tensor]:
        """See `Channel.receive`."""
        tensors = self._channel.receive(tag, step, *specs)
        self._note(_RECEIVED, tag, step, tensors)
        return tensors

    def send_json(self, tag: str, value: JsonValue) -> None:
        """See `Channel.send_json`."""
        self._channel.send_json(tag, value)
        self._note_json(_SENT, tag, value)

    def receive_json(self, tag: str, limit: int = frames.JSON_LIMIT) -> JsonValue:
        """See `Channel.receive_json`."""
        value = self._channel.receive_json(tag, limit)
        self._note_json(_RECEIVED, tag, value)
        return value

    def flush(self) -> None:
        """See `Channel.flush`."""
        self._channel.flush()

    def close(self) -> None:
        """See `Channel.close`."""
        self._channel.close()

    def abort(self, code: str) -> None:
        """See `Channel.abort`."""
        self._channel.abort(code)

    def mark(self, then: Callable[[Digests], None]) -> None:
        """Cut both directions here. `then` is given the digests since the last mark, in the hashing thread.

        Raises:
            what an earlier `then` raised.
        """
        while not self._room.acquire(timeout=1.0):
            if not self._thread.is_alive():
                break
        self._raise()

        def cut() -> None:
            digests = self._hashes[_SENT].hexdigest(), self._hashes[_RECEIVED].hexdigest()
            self._fresh()
            try:
                then(digests)
            finally:
                self._room.release()

        self._work.put(cut)

    def drain(self) -> None:
        """Return when every mark has been dealt with; raises as `mark` does."""
        reached = threading.Event()
        self._work.put(reached.set)
        while not reached.wait(1.0) and self._thread.is_alive():
            pass
        self._raise()

    def end(self) -> None:
        """End the thread; the channel stays open. Can be called twice."""
        self._work.put(None)
        self._thread.join()

    def _fresh(self) -> None:
        self._hashes = hashlib.sha256(), hashlib.sha256()

    def _note(self, direction: int, tag: str, step: int, tensors: Sequence[Tensor]) -> None:
        specs = tuple((tensor.dtype, tuple(tensor.shape)) for tensor in tensors)
        shapes = frames.encode_specs(specs)
        head = _HEAD.pack(frames.TENSORS, tag.encode(), step, len(shapes), frames.data_length(specs))
        copies = [tensor.detach().clone().numpy() for tensor in tensors]

        def add() -> None:
            digest = self._hashes[direction]
            digest.update(head + shapes)
            for array in copies:
                digest.update(array.data if array.flags.c_contiguous else array.tobytes())

        self._work.put(add)

    def _note_json(self, direction: int, tag: str, value: JsonValue) -> None:
        text = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
        head = _HEAD.pack(frames.JSON, tag.encode(), 0, 0, len(text))
        self._work.put(lambda: self._hashes[direction].update(head + text))

    def _run(self) -> None:
        while (task := self._work.get()) is not None:
            try:
                task()
            except BaseException as error:  # told by whoever waits for it
                self._error = self._error or error

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error
