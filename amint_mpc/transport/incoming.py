"""The receiving direction of a link: frames in order, each checked before memory is taken for its data.

Frames are read by the receiver itself, or, on a link that is read ahead, by a thread that keeps a bounded number ready.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from amint_mpc.errors import AmintError, PeerError, ProtocolError
from amint_mpc.transport import frames
from amint_mpc.transport.frames import FrameHeader
from amint_mpc.transport.state import INLINE_BYTES, JOIN_S, LAST_WORDS_S, MIB, LinkState, SilenceError, again

OBJECT_BYTES = 1024  # counted for a frame and for each of its tensors, beside the data

Check: TypeAlias = Callable[[FrameHeader], None]
_NUMPY = {dtype: torch.empty(0, dtype=dtype).numpy().dtype for dtype in frames.DTYPES}


class Frame(NamedTuple):
    """A frame as it came: tensors, or JSON that is not read yet."""

    head: FrameHeader
    tensors: list[Tensor]
    json: bytes = b""

    @property
    def cost(self) -> int:
        """Bytes of memory, about: an empty tensor is a few on the wire and hundreds here."""
        return self.head.size + OBJECT_BYTES * (1 + len(self.tensors))


class Incoming:
    """Args are those of `FramedChannel`.

    Attributes:
        error: what broke this direction; every later call raises it.
        receiving: held by whoever takes frames; none is taken while another one holds it.
    """

    def __init__(self, link: LinkState, idle_timeout_s: float | None, prefetch_bytes: int) -> None:
        self.link = link
        self.error: AmintError | None = None
        self._refused = False  # the error was met in `take`, not while reading ahead
        self.receiving = threading.Lock()
        self.ahead: deque[Frame] = deque()
        self.ahead_bytes = 0
        self._idle_timeout, self._prefetch_bytes = idle_timeout_s, prefetch_bytes
        self._read_timeout = None if prefetch_bytes else idle_timeout_s
        self._buffer = memoryview(bytearray(INLINE_BYTES))
        self._start = self._end = 0
        self._heard = time.monotonic()
        self._arrived = threading.Condition(threading.Lock())
        self._reader: threading.Thread | None = None
        if prefetch_bytes:
            self._reader = threading.Thread(target=self._read_ahead, name=f"read from {link.peer}", daemon=True)
            self._reader.start()

    def take(self, check: Check, admit: Check, tag: str) -> Frame:
        """The next frame.

        Args:
            check: raises when its head is not what is expected; called before memory is taken for data.
            admit: the same, called when the frame is there.
            tag: what is expected, for the message about a goodbye.

        Raises:
            AmintError: what `check` or `admit` raised, or what ended the link; every later call raises it again.
        """
        with self.receiving:
            if self.link.closing:
                raise self.link.closed()
            if self.error and (self._refused or not self._json_ahead()):
                raise again(self.error)
            try:
                frame = self._next_ahead() if self._prefetch_bytes else self._next(check)
                if frame.head.kind == frames.BYE:
                    raise self.link.ended(tag)
                admit(frame.head)
            except AmintError as error:
                self.error, self._refused = error, True
                raise
            return frame

    def check(self) -> None:
        """Raise if a link that is read ahead is known to be broken; takes no frame and never waits."""
        with self._arrived:
            if self.error:
                raise again(self.error)

    def silence_left(self, began: float) -> float | None:
        """Seconds that the peer may still be silent, in a wait for it since `began`; None: for ever.

        Raises:
            SilenceError: none.
        """
        if self._idle_timeout is None:
            return None
        left = max(self._heard, began) + self._idle_timeout - time.monotonic()
        if left <= 0:
            raise self.link.silent(self._idle_timeout)
        return left

    def why_lost(self, met: AmintError | None) -> AmintError:
        """The reason that the peer gave before it went, if one stands unread for us; else what sending has met."""
        error = met or self.link.lost(None)
        if self._prefetch_bytes:
            with self._arrived:
                self._arrived.wait_for(lambda: self.error is not None, LAST_WORDS_S)
        elif self.error is None and self.receiving.acquire(blocking=False):
            try:
                self._read_timeout = LAST_WORDS_S
                while self._next(self._check_last).head.kind != frames.BYE:
                    pass
                self.error = PeerError(f"the {self.link.peer} ended the session", error.hint)
            except SilenceError:
                self.error = error
            except AmintError as found:
                self.error = found
            finally:
                self.receiving.release()
        return again(self.error or error)

    def wake(self) -> None:
        """Wake who waits for a frame that was to be read ahead, once the link is closing and its wire shut."""
        with self._arrived:
            self._arrived.notify_all()

    def join(self) -> None:
        """Wait for the thread, once it has been woken."""
        if self._reader is not None:
            self._reader.join(JOIN_S)

    def _check_last(self, head: FrameHeader) -> None:
        if head.size > 64 * MIB:
            raise self.link.lost(None)

    # ------------------------------------------------------------ off the wire

    def _next(self, check: Check) -> Frame:
        """Read one frame, signs of life left out; `check` sees its head before memory is taken for its data."""
        while True:
            head = frames.decode_header(self._read(frames.HEADER.size))
            if head.kind == frames.HEARTBEAT:
                continue
            if head.kind == frames.ABORT:
                raise self.link.stopped(head.tag)
            if head.kind == frames.BYE:
                return Frame(head, [])
            if head.shapes:
                head = head._replace(specs=frames.decode_specs(self._read(head.shapes)))
            frames.check_lengths(head)
            check(head)
            if head.kind == frames.JSON:
                return Frame(head, [], self._read(head.data))
            tensors = []
            for dtype, shape in head.specs:
                array = np.empty(shape, _NUMPY[dtype])
                if array.size:
                    self._read_into(array.data.cast("B"))
                tensors.append(torch.from_numpy(array))
            return Frame(head, tensors)

    def _read(self, size: int) -> bytes:
        if self._end - self._start >= size:  # nearly always: a small frame arrives in one piece
            self._start += size
            return bytes(self._buffer[self._start - size : self._start])
        data = bytearray(size)
        self._read_into(memoryview(data))
        return bytes(data)

    def _read_into(self, target: memoryview) -> None:
        """Fill `target`, through the buffer where it is small, past the buffer where it is large."""
        while target:
            have = min(self._end - self._start, len(target))
            if have:
                target[:have] = self._buffer[self._start : self._start + have]
                self._start += have
                target = target[have:]
            elif len(target) >= len(self._buffer):
                target = target[self._read_some(target) :]
            else:
                self._start, self._end = 0, self._read_some(self._buffer)

    def _read_some(self, view: memoryview) -> int:
        try:
            count = self.link.wire.read_into(view, self._read_timeout)
        except TimeoutError:
            raise self.link.silent(self._idle_timeout) from None
        except OSError as error:
            raise self.link.lost(error) from None
        if count == 0:
            raise self.link.lost(None)
        self._heard = time.monotonic()
        return count

    # ------------------------------------------------------------------- ahead

    def _read_ahead(self) -> None:
        try:
            while True:
                with self._arrived:
                    self._arrived.wait_for(lambda: self.ahead_bytes < self._prefetch_bytes or self.link.closing)
                if self.link.closing:
                    return
                frame = self._next(self._check_size)
                with self._arrived:
                    self.ahead.append(frame)
                    self.ahead_bytes += frame.cost
                    self._arrived.notify_all()
                if frame.head.kind == frames.BYE:
                    return
        except AmintError as error:
            self._stop_reading(error)
        except Exception as error:  # a thread that dies of what the peer sent would leave its receiver waiting
            said = f"what the {self.link.peer} sent cannot be held ({type(error).__name__})"
            self._stop_reading(ProtocolError(said))

    def _stop_reading(self, error: AmintError) -> None:
        with self._arrived:
            self.error = self.error or error
            self._arrived.notify_all()

    def _check_size(self, head: FrameHeader) -> None:
        limit = max(self._prefetch_bytes, 2 * frames.JSON_LIMIT)
        if head.size > limit:
            raise ProtocolError(
                f"the {self.link.peer} sends '{head.tag}' of {head.size} bytes; this link takes {limit}",
                "Raise dealer_memory_mb in the party file, or use smaller batches",
            )

    def _json_ahead(self) -> bool:
        """After a loss: tensors that the peer sent ahead are of no more use, but what it said is still heard."""
        return bool(self.ahead) and self.ahead[0].head.kind == frames.JSON

    def _next_ahead(self) -> Frame:
        with self._arrived:
            began = time.monotonic()
            while not self.ahead and not self.error and not self.link.closing:
                self._arrived.wait(self.silence_left(began))
            if self.error and not self._json_ahead():
                raise again(self.error)
            if not self.ahead:
                raise self.link.closed()
            frame = self.ahead[0]
            if frame.head.kind != frames.BYE:  # a goodbye stays: it answers every later call
                self.ahead.popleft()
                self.ahead_bytes -= frame.cost
                self._arrived.notify_all()
            return frame
