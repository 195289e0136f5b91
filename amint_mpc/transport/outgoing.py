"""The sending direction of a link: a bounded queue, emptied in strict order.

A small frame is written by the caller when nothing is queued; all others by a sender thread, which also gives the signs
of life. The state is guarded by `changed`, and the wire is written by whoever holds the frame at the left of the queue,
or by the caller while the queue is empty and `changed` is held: by one thread at a time.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from amint_mpc.errors import AmintError
from amint_mpc.transport import frames
from amint_mpc.transport.state import INLINE_BYTES, JOIN_S, LinkState, SilenceError


class Outgoing:
    """Args are those of `FramedChannel`.

    Args:
        silence_left: called in each wait with its begin; gives the seconds that the peer may still be silent (None:
            for ever), or raises. None on a link where the peer is not heard while we wait to send.

    Attributes:
        error: what broke this direction; nothing is sent after it.
    """

    def __init__(
        self,
        link: LinkState,
        send_timeout_s: float | None,
        queue_bytes: int,
        heartbeat_s: float | None,
        silence_left: Callable[[float], float | None] | None,
    ) -> None:
        self.link = link
        self.error: AmintError | None = None
        self.changed = threading.Condition(threading.Lock())
        self.queued = 0
        self.queue_bytes = queue_bytes
        self._timeout, self._heartbeat, self._silence_left = send_timeout_s, heartbeat_s, silence_left
        self._queue: deque[memoryview] = deque()  # the frame at the left is being written while it stands there
        self._sender: threading.Thread | None = None
        if heartbeat_s is not None:
            self._start_sender()

    def put(self, frame: bytes) -> bool:
        """Queue a frame, after waiting for room. False: the link is closing or broken."""
        with self.changed:
            self._wait(lambda: self._stuck() or not self._queue or self.queued + len(frame) <= self.queue_bytes)
            if self._stuck():
                return False
            self._enqueue(frame)
            return True

    def flush(self) -> bool:
        """Wait until every frame has left this process. False: the direction is broken."""
        with self.changed:
            self._wait(lambda: not self._queue or self.error is not None)
        return self.error is None

    def end(self, last: bytes, drop: bool, patience: float) -> bool:
        """Send a last frame, after what is queued or, with `drop`, instead of it; wait for it for `patience` seconds.
        False: the link was closing already."""
        with self.changed:
            if self.link.closing:
                return False
            self.link.closing = True
            while drop and len(self._queue) > 1:  # the first one may be half written
                self.queued -= len(self._queue.pop())
            if self.error is None:
                self._enqueue(last)
            self.changed.notify_all()
            self.changed.wait_for(lambda: not self._queue or self.error is not None, patience)
            return True

    def join(self) -> None:
        """Wait for the thread, once the wire is shut."""
        if self._sender is not None:
            self._sender.join(JOIN_S)

    def _wait(self, done: Callable[[], bool]) -> None:
        """Wait, on a link that is read ahead only while the peer gives signs of life. Holds `changed`."""
        began = time.monotonic()
        while not done():
            try:
                left = self._silence_left(began) if self._silence_left else None
            except SilenceError as error:
                self.error = error
                self.changed.notify_all()
                return
            self.changed.wait(left)

    def _stuck(self) -> bool:
        return self.link.closing or self.error is not None

    def _enqueue(self, frame: bytes) -> None:
        """Write a small frame at once if nothing waits before it, else leave it to the thread. Holds `changed`."""
        rest = memoryview(frame)
        if not self._queue and len(frame) <= INLINE_BYTES:
            try:
                rest = rest[self.link.wire.try_write(rest) :]
            except OSError as error:
                self.error = self.link.lost(error)
                return
        if rest:
            self._queue.append(rest)
            self.queued += len(rest)
            self._start_sender()
            self.changed.notify_all()

    def _start_sender(self) -> None:
        if self._sender is None:
            self._sender = threading.Thread(target=self._send_loop, name=f"send to {self.link.peer}", daemon=True)
            self._sender.start()

    def _send_loop(self) -> None:
        while True:
            with self.changed:
                while not self._queue and not self._stuck():
                    if not self.changed.wait(self._heartbeat) and not self._queue and not self._stuck():
                        self._enqueue(frames.encode_control(frames.HEARTBEAT))
                if not self._queue:
                    return
                frame = self._queue[0]
            error: AmintError | None = None
            try:
                self.link.wire.write(frame, self._timeout)
            except TimeoutError:
                error = self.link.took_nothing(self._timeout)
            except OSError as reason:
                error = self.link.lost(reason)
            with self.changed:
                self.error = self.error or error
                self._queue.popleft()
                self.queued -= len(frame)
                if error:
                    self._queue.clear()
                self.changed.notify_all()
                if error:
                    return
