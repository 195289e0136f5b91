"""A slower link than loopback, for measurements only: bytes leave the sender late.

Every direction has a delay of half a round trip, and a rate. Both ends wrap their wire, each holding back what it
writes, so that the two directions are independent, as on a real link. Bytes, order and TLS stay what they are; TCP's
slow start and losses of packets are not imitated.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass

from amint_mpc.transport.channel import FramedChannel
from amint_mpc.transport.wire import Wire

HELD_BYTES = 1 << 26  # beyond it a writer waits; a step of the sizes we measure is far below


@dataclass(frozen=True)
class DelayedLink:
    """Args: rtt_s: a round trip, in seconds. bytes_per_s: of each direction; None: no limit."""

    rtt_s: float = 0.0
    bytes_per_s: float | None = None

    @classmethod
    def of(cls, rtt_ms: float, mbit: float | None) -> DelayedLink:
        """In the units of the command line: milliseconds, and millions of bits a second."""
        return cls(rtt_ms / 1e3, None if mbit is None else mbit * 1e6 / 8)


class Line:
    """What is under way in one direction. Times are given, not taken: the caller owns the clock."""

    def __init__(self, link: DelayedLink) -> None:
        self.link = link
        self.held = 0
        self._free = 0.0  # when the last byte written so far has left
        self._moving: deque[tuple[float, bytes]] = deque()

    def put(self, now: float, data: bytes) -> None:
        """Send at time `now` (s)."""
        rate = self.link.bytes_per_s
        self._free = max(now, self._free) + (len(data) / rate if rate else 0.0)
        self._moving.append((self._free + self.link.rtt_s / 2, data))
        self.held += len(data)

    @property
    def next_arrival(self) -> float | None:
        """When the oldest bytes under way arrive; None: there are none."""
        return self._moving[0][0] if self._moving else None

    def take(self, now: float) -> list[bytes]:
        """What has arrived by `now`, in order."""
        arrived = []
        while self._moving and self._moving[0][0] <= now:
            arrived.append(self._moving.popleft()[1])
            self.held -= len(arrived[-1])
        return arrived


class DelayingWire:
    """A `Wire` whose written bytes arrive late. Reading is the inner wire's."""

    def __init__(self, inner: Wire) -> None:
        self._inner = inner
        self._line = Line(DelayedLink())
        self._changed = threading.Condition(threading.Lock())
        self._busy = False
        self._error: OSError | None = None
        self._shut = False
        self._thread = threading.Thread(target=self._deliver, name="delay", daemon=True)
        self._thread.start()

    def become(self, link: DelayedLink) -> None:
        """Change the link; nothing may be under way."""
        with self._changed:
            self._changed.wait_for(lambda: not self._line.held and not self._busy)
            self._line = Line(link)

    def try_write(self, data: memoryview) -> int:
        with self._changed:
            if self._error is not None:
                raise self._error
            if self._shut:
                raise ConnectionResetError("the wire is shut")
            if self._line.held >= HELD_BYTES:
                return 0
            self._line.put(time.monotonic(), bytes(data))
            self._changed.notify_all()
            return len(data)

    def write(self, data: memoryview, timeout: float | None) -> None:
        while self.try_write(data) == 0 and data:
            with self._changed:
                if not self._changed.wait_for(lambda: self._line.held < HELD_BYTES or self._error, timeout):
                    raise TimeoutError

    def read_into(self, view: memoryview, timeout: float | None) -> int:
        return self._inner.read_into(view, timeout)

    def shut(self) -> None:
        with self._changed:  # a goodbye may be under way
            self._changed.wait_for(
                lambda: self._error or not (self._line.held or self._busy), 1 + self._line.link.rtt_s
            )
            self._shut = True
            self._changed.notify_all()
        self._inner.shut()

    def close(self) -> None:
        self._thread.join(1)
        self._inner.close()

    def _deliver(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                while not (arrived := self._line.take(time.monotonic())):
                    if self._shut:
                        return
                    due = self._line.next_arrival
                    self._changed.wait(None if due is None else max(0.0, due - time.monotonic()))
                self._busy = True
            try:
                for data in arrived:
                    self._inner.write(memoryview(data), None)
            except OSError as error:
                with self._changed:
                    self._error = error
                    self._changed.notify_all()
                return


def slow_down(channel: FramedChannel) -> DelayingWire:
    """Put a delaying wire under a channel that has just been flushed; without delay until it is told `become`."""
    channel.flush()
    wire = channel.link.wire = DelayingWire(channel.link.wire)
    return wire
