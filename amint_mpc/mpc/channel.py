"""A link to one peer: tensors and JSON in strict order, both ways, over any stream of bytes.

Guarantees
    One strict first-in, first-out order a direction: a small message never overtakes a large one.
    The receiver says what must come next (tag, step, dtypes, shapes); anything else is a `ProtocolError`.
    Memory is bounded: the queue of outgoing frames by `queue_bytes`, frames read ahead by `prefetch_bytes`.
    A peer that is gone without a goodbye is a `PeerError`, and so is one that is silent for `idle_timeout_s`.
    After an error the link is finished: every later call raises.

Threads: `send*` may be called from one thread while another calls `receive*`. Small frames are written by the caller
when nothing is queued; all others by a sender thread, so that two large sends at once cannot block each other.
"""

from __future__ import annotations

import copy
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from amint_mpc.errors import AmintError, DataError, Interrupted, PeerError, ProtocolError
from amint_mpc.mpc import frames
from amint_mpc.mpc.frames import Head, JsonValue, Spec
from amint_mpc.mpc.wire import Wire, memory_wires

INLINE_BYTES = 32768  # larger frames go to the sender thread, which encrypts them while the caller computes
OBJECT_BYTES = 1024  # counted for a frame and for each of its tensors, beside the data
GOODBYE_S = 60.0
LAST_WORDS_S = 1.0  # how long to look for the peer's reason once it is gone
JOIN_S = 10.0
MIB = 1 << 20

_NUMPY = {dtype: torch.empty(0, dtype=dtype).numpy().dtype for dtype in frames.DTYPES}

# Why a peer stopped, by the code in its abort frame. Codes, not text: a peer's text never reaches the screen.
REASONS = {
    "interrupted": "was stopped by its user",
    "protocol": "received a message that the protocol does not allow, or met a value out of range",
    "peer": "lost another party, or does not agree to the terms",
    "data": "could not read its data",
    "failed": "stopped because of an error of its own",
    "unknown": "stopped for an unknown reason",
}


@dataclass
class ChannelStats:
    """What crossed a link. Frames and bytes cover tensors and JSON with their headers, not what TLS and TCP add,
    nor the link's own signs of life and goodbyes; so they depend on the protocol alone.

    Args:
        rounds: length of the longest chain of dependent messages so far (a Lamport clock).
        seconds_waiting: time spent inside `receive` and `receive_json`.
    """

    frames_sent: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    rounds: int = 0
    seconds_waiting: float = 0.0


class Channel(Protocol):
    """A link to one peer, as the secure engine and the roles see it.

    Edge cases
        `send` copies: the tensor may be changed right after. It returns before the peer has read anything.
        `receive` gives new, writable, contiguous tensors that own their memory.
        `flush` returns when every frame has been handed to the operating system.
        `close` sends what is queued and a goodbye; `abort` drops what is queued and sends a reason.
    """

    peer: str
    stats: ChannelStats

    def send(self, tag: str, step: int, *tensors: Tensor) -> None: ...
    def receive(self, tag: str, step: int, *specs: Spec) -> list[Tensor]: ...
    def send_json(self, tag: str, value: JsonValue) -> None: ...
    def receive_json(self, tag: str, limit: int = frames.JSON_LIMIT) -> JsonValue: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...
    def abort(self, code: str) -> None: ...


class _Frame(NamedTuple):
    head: Head
    tensors: list[Tensor]
    json: bytes = b""

    @property
    def cost(self) -> int:
        """Bytes of memory, about: an empty tensor is a few on the wire and hundreds here."""
        return self.head.size + OBJECT_BYTES * (1 + len(self.tensors))


class _SilenceError(PeerError):
    """The peer sends nothing."""


class FramedChannel:
    """`Channel` over a `Wire`.

    Args:
        wire: ordered bytes to and from the peer.
        peer: role of the other end, for messages.
        idle_timeout_s: a peer that sends nothing for so long, while we wait for it, is lost. None: wait for ever.
            With reading ahead this holds for waits to send too, for then its signs of life are heard.
        send_timeout_s: how long a peer may take nothing while our queue waits. None, for a peer may well be busy, or
            have enough; TCP finds out when it is gone.
        queue_bytes: outgoing frames held at most; a `send` beyond it waits.
        prefetch_bytes: 0 reads in `receive`. Otherwise a thread reads ahead, at most so many bytes and one frame.
        heartbeat_s: send a sign of life after so much silence, so that a long computation is not taken for a loss.
    """

    def __init__(
        self,
        wire: Wire,
        peer: str,
        *,
        idle_timeout_s: float | None = 300.0,
        send_timeout_s: float | None = None,
        queue_bytes: int = 256 * MIB,
        prefetch_bytes: int = 0,
        heartbeat_s: float | None = None,
    ) -> None:
        self.peer = peer
        self.stats = ChannelStats()
        self._wire = wire
        self._idle_timeout, self._send_timeout = idle_timeout_s, send_timeout_s
        self._queue_bytes, self._prefetch_bytes = queue_bytes, prefetch_bytes
        self._heartbeat = heartbeat_s
        self._closing = False
        self._depth_sent = 0
        # Outgoing: the frame at the left is being written while it stands there.
        self._queue: deque[memoryview] = deque()
        self._queued = 0
        self._sending = threading.Condition(threading.Lock())
        self._send_error: AmintError | None = None
        self._sender: threading.Thread | None = None
        # Incoming.
        self._receiving = threading.Lock()
        self._read_timeout = None if prefetch_bytes else idle_timeout_s
        self._buffer = memoryview(bytearray(INLINE_BYTES))
        self._start = self._end = 0
        self._receive_error: AmintError | None = None
        self._ahead: deque[_Frame] = deque()
        self._ahead_bytes = 0
        self._heard = time.monotonic()
        self._arrived = threading.Condition(threading.Lock())
        self._reader: threading.Thread | None = None
        if heartbeat_s is not None:
            self._start_sender()
        if prefetch_bytes:
            self._reader = threading.Thread(target=self._read_ahead, name=f"read from {peer}", daemon=True)
            self._reader.start()

    def __repr__(self) -> str:
        return f"<link to the {self.peer}>"

    # ---------------------------------------------------------------- sending

    def send(self, tag: str, step: int, *tensors: Tensor) -> None:
        """Queue one frame of tensors.

        Raises:
            PeerError: the peer is gone, or took nothing for `send_timeout_s` while the queue was full, or is silent.
            ProtocolError: a dtype, tag or shape that no frame carries.
        """
        self._send(frames.encode_tensors(tag, step, self.stats.rounds + 1, tensors))

    def send_json(self, tag: str, value: JsonValue) -> None:
        """Queue one frame of JSON; raises as `send` does."""
        self._send(frames.encode_json(tag, self.stats.rounds + 1, value))

    def _send(self, frame: bytes) -> None:
        size = len(frame)
        with self._sending:
            self._depth_sent = self.stats.rounds + 1
            self._wait_to_send(lambda: self._stuck() or self._has_room(size))
            if not self._stuck():
                self._enqueue(frame)
                self.stats.frames_sent += 1
                self.stats.bytes_sent += size
                return
        if self._closing:
            raise PeerError(f"the link to the {self.peer} is closed")
        raise self._why_lost()

    def _wait_to_send(self, done: Callable[[], bool]) -> None:
        """Wait, on a link that is read ahead only while the peer gives signs of life. Holds `_sending`."""
        began = time.monotonic()
        while not done():
            try:
                left = self._silence_left(began) if self._prefetch_bytes else None
            except _SilenceError as error:
                self._send_error = error
                self._sending.notify_all()
                return
            self._sending.wait(left)

    def _stuck(self) -> bool:
        return self._closing or self._send_error is not None

    def _has_room(self, size: int) -> bool:
        return not self._queue or self._queued + size <= self._queue_bytes

    def _enqueue(self, frame: bytes) -> None:
        """Write a small frame at once if nothing waits before it, else leave it to the thread. Holds `_sending`."""
        rest = memoryview(frame)
        if not self._queue and len(frame) <= INLINE_BYTES:
            try:
                rest = rest[self._wire.try_write(rest) :]
            except OSError as error:
                self._send_error = self._lost(error)
                return
        if rest:
            self._queue.append(rest)
            self._queued += len(rest)
            self._start_sender()
            self._sending.notify_all()

    def _start_sender(self) -> None:
        if self._sender is None:
            self._sender = threading.Thread(target=self._send_loop, name=f"send to {self.peer}", daemon=True)
            self._sender.start()

    def _send_loop(self) -> None:
        while True:
            with self._sending:
                while not self._queue and not self._stuck():
                    if not self._sending.wait(self._heartbeat) and not self._queue and not self._stuck():
                        self._enqueue(frames.encode_control(frames.HEARTBEAT))
                if not self._queue:
                    return
                frame = self._queue[0]
            try:
                self._wire.write(frame, self._send_timeout)
                error = None
            except TimeoutError:
                error = self._took_nothing()
            except OSError as reason:
                error = self._lost(reason)
            with self._sending:
                self._send_error = self._send_error or error
                self._queue.popleft()
                self._queued -= len(frame)
                if error:
                    self._queue.clear()
                self._sending.notify_all()
                if error:
                    return

    def flush(self) -> None:
        """Wait until every frame sent so far has left this process.

        Raises:
            PeerError: the peer is gone, takes nothing, or is silent.
        """
        with self._sending:
            self._wait_to_send(lambda: not self._queue or self._send_error is not None)
        if self._send_error:
            raise self._why_lost()

    # -------------------------------------------------------------- receiving

    def receive(self, tag: str, step: int, *specs: Spec) -> list[Tensor]:
        """The next frame, which must be exactly the one described.

        Raises:
            ProtocolError: any other frame; nothing of its size has been allocated.
            PeerError: the peer is gone, said goodbye, stopped with a reason, or is silent.
        """
        return self._receive(lambda head: frames.check_tensors(head, tag, step, specs), tag).tensors

    def receive_json(self, tag: str, limit: int = frames.JSON_LIMIT) -> JsonValue:
        """The next frame, which must be JSON of at most `limit` bytes; raises as `receive` does."""
        return frames.decode_json(self._receive(lambda head: frames.check_json(head, tag, limit), tag).json)

    def _receive(self, check: Callable[[Head], None], tag: str) -> _Frame:
        began = time.perf_counter()
        with self._receiving:
            if self._closing:
                raise PeerError(f"the link to the {self.peer} is closed")
            if self._receive_error:
                raise _again(self._receive_error)
            try:
                frame = self._next_ahead() if self._prefetch_bytes else self._next(check)
                if frame.head.kind == frames.BYE:
                    raise PeerError(
                        f"the {self.peer} ended the session while '{tag}' was expected",
                        f"look at what the {self.peer} last said, then start all parties again",
                    )
                check(frame.head)
                # The peer's clock is at most the depth of what we sent it: a larger one is made up.
                if not 0 < frame.head.depth <= self._depth_sent + 1:
                    raise ProtocolError(f"'{tag}' claims to be round {frame.head.depth}, after {self._depth_sent}")
            except AmintError as error:
                self._receive_error = error
                raise
            self.stats.rounds = max(self.stats.rounds, frame.head.depth)
            self.stats.bytes_received += frame.head.size
            self.stats.seconds_waiting += time.perf_counter() - began
            return frame

    def _next(self, check: Callable[[Head], None]) -> _Frame:
        """Read one frame, signs of life left out; `check` sees its head before memory is taken for its data."""
        while True:
            head = frames.decode_header(self._read(frames.HEADER.size))
            if head.kind == frames.HEARTBEAT:
                continue
            if head.kind == frames.ABORT:
                reason = head.tag if head.tag in REASONS else "unknown"
                hint = f"the {self.peer}'s own screen or log says more"
                raise PeerError(f"the {self.peer} {REASONS[reason]}", hint, peer=self.peer, reason=reason)
            if head.kind == frames.BYE:
                return _Frame(head, [])
            if head.shapes:
                head = head._replace(specs=frames.decode_specs(self._read(head.shapes)))
            frames.check_lengths(head)
            check(head)
            if head.kind == frames.JSON:
                return _Frame(head, [], self._read(head.data))
            tensors = []
            for dtype, shape in head.specs:
                array = np.empty(shape, _NUMPY[dtype])
                if array.size:
                    self._read_into(array.data.cast("B"))
                tensors.append(torch.from_numpy(array))
            return _Frame(head, tensors)

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
            count = self._wire.read_into(view, self._read_timeout)
        except TimeoutError:
            raise self._silent() from None
        except OSError as error:
            raise self._lost(error) from None
        if count == 0:
            raise self._lost(None)
        self._heard = time.monotonic()
        return count

    def check(self) -> None:
        """Raise if a link that is read ahead is known to be broken; takes no frame and never waits.

        Raises:
            PeerError: the peer is gone without a goodbye, or stopped with a reason.
        """
        with self._arrived:
            if self._receive_error:
                raise _again(self._receive_error)

    # ----------------------------------------------------------- reading ahead

    def _read_ahead(self) -> None:
        try:
            while True:
                with self._arrived:
                    self._arrived.wait_for(lambda: self._ahead_bytes < self._prefetch_bytes or self._closing)
                if self._closing:
                    return
                frame = self._next(self._check_size)
                with self._arrived:
                    self._ahead.append(frame)
                    self._ahead_bytes += frame.cost
                    self._arrived.notify_all()
                if frame.head.kind == frames.BYE:
                    return
        except AmintError as error:
            self._stop_reading(error)
        except Exception as error:  # a thread that dies of what the peer sent would leave its receiver waiting
            self._stop_reading(ProtocolError(f"what the {self.peer} sent cannot be held ({type(error).__name__})"))

    def _stop_reading(self, error: AmintError) -> None:
        with self._arrived:
            self._receive_error = self._receive_error or error
            self._arrived.notify_all()

    def _check_size(self, head: Head) -> None:
        limit = max(self._prefetch_bytes, 2 * frames.JSON_LIMIT)
        if head.size > limit:
            raise ProtocolError(
                f"the {self.peer} sends '{head.tag}' of {head.size} bytes; this link takes {limit}",
                "raise dealer_memory_mb in the party file, or use smaller batches",
            )

    def _next_ahead(self) -> _Frame:
        with self._arrived:
            began = time.monotonic()
            while not self._ahead and not self._receive_error and not self._closing:
                self._arrived.wait(self._silence_left(began))
            if self._receive_error:  # first: what a lost peer sent ahead is of no more use
                raise _again(self._receive_error)
            if not self._ahead:
                raise PeerError(f"the link to the {self.peer} is closed")
            frame = self._ahead[0]
            if frame.head.kind != frames.BYE:  # a goodbye stays: it answers every later call
                self._ahead.popleft()
                self._ahead_bytes -= frame.cost
                self._arrived.notify_all()
            return frame

    def _silence_left(self, began: float) -> float | None:
        """Seconds that the peer may still be silent, in a wait for it since `began`; None: for ever."""
        if self._idle_timeout is None:
            return None
        left = max(self._heard, began) + self._idle_timeout - time.monotonic()
        if left <= 0:
            raise self._silent()
        return left

    # ------------------------------------------------------------------ ending

    def close(self) -> None:
        """Send what is queued and a goodbye, then let go of the link; waits for the peer to take it, at most
        `send_timeout_s`, else `idle_timeout_s`, else `GOODBYE_S`. Never raises; a second call does nothing."""
        limits = (self._send_timeout, self._idle_timeout)
        patience = next((limit for limit in limits if limit is not None), GOODBYE_S)
        self._end_link(frames.encode_control(frames.BYE), drop=False, patience=patience)

    def abort(self, code: str) -> None:
        """Tell the peer why we stop (a key of `REASONS`) and let go of the link; what is queued is dropped."""
        self._end_link(frames.encode_control(frames.ABORT, code), drop=True, patience=LAST_WORDS_S)

    def _end_link(self, last: bytes, drop: bool, patience: float) -> None:
        with self._sending:
            if self._closing:
                return
            self._closing = True
            while drop and len(self._queue) > 1:  # the first one may be half written
                self._queued -= len(self._queue.pop())
            if self._send_error is None:
                self._enqueue(last)
            self._sending.notify_all()
            self._sending.wait_for(lambda: not self._queue or self._send_error is not None, patience)
        self._wire.shut()
        with self._arrived:
            self._arrived.notify_all()
        for thread in (self._sender, self._reader):
            if thread is not None:
                thread.join(JOIN_S)
        with self._receiving:  # whoever is in `receive` has been woken
            self._wire.close()

    def __enter__(self) -> FramedChannel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abort(abort_code(error))

    # ------------------------------------------------------------------ errors

    def _lost(self, error: OSError | None) -> PeerError:
        detail = f": {error.strerror or type(error).__name__}" if error else ""
        return PeerError(
            f"the {self.peer} was lost{detail}",
            f"look at the {self.peer}'s screen or log, then start all parties again",
        )

    def _silent(self) -> PeerError:
        return _SilenceError(
            f"the {self.peer} was lost: silent for {self._idle_timeout or 0:g} s",
            f"see whether the {self.peer} still runs and can be reached; idle_timeout_s in the party file is the limit",
        )

    def _took_nothing(self) -> PeerError:
        return PeerError(
            f"the {self.peer} was lost: it took no data for {self._send_timeout or 0:g} s",
            f"see whether the {self.peer} still runs and can be reached",
        )

    def _why_lost(self) -> AmintError:
        """The reason that the peer gave before it went, if one stands unread for us; else what sending met."""
        error = self._send_error or self._lost(None)
        if self._prefetch_bytes:
            with self._arrived:
                self._arrived.wait_for(lambda: self._receive_error is not None, LAST_WORDS_S)
        elif self._receive_error is None and self._receiving.acquire(blocking=False):
            try:
                self._read_timeout = LAST_WORDS_S
                while self._next(self._check_last).head.kind != frames.BYE:
                    pass
                self._receive_error = PeerError(f"the {self.peer} ended the session", error.hint)
            except _SilenceError:
                self._receive_error = error
            except AmintError as found:
                self._receive_error = found
            finally:
                self._receiving.release()
        return _again(self._receive_error or error)

    def _check_last(self, head: Head) -> None:
        if head.size > 64 * MIB:
            raise self._lost(None)


def abort_code(error: BaseException) -> str:
    """The key of `REASONS` for an exception that ends this party."""
    if isinstance(error, (Interrupted, KeyboardInterrupt)):
        return "interrupted"
    codes = {ProtocolError: "protocol", PeerError: "peer", DataError: "data"}
    return next((code for kind, code in codes.items() if isinstance(error, kind)), "failed")


def _again(error: AmintError) -> AmintError:
    """The same error, to be raised once more without the first one's traceback."""
    return copy.copy(error)


def memory_pair(
    a: str = "developer", b: str = "auditor", *, idle_timeout_s: float | None = 60.0, prefetch_bytes: int = 0
) -> tuple[FramedChannel, FramedChannel]:
    """Both ends of a link inside one process: the first is `a`'s, and its `peer` is `b`."""

    def end(wire: Wire, peer: str) -> FramedChannel:
        return FramedChannel(
            wire, peer, idle_timeout_s=idle_timeout_s, send_timeout_s=idle_timeout_s, prefetch_bytes=prefetch_bytes
        )

    left, right = memory_wires()
    return end(left, b), end(right, a)
