"""Ordered bytes to and from a peer: what a channel needs of its carrier, and a carrier inside one process."""

from __future__ import annotations

import threading
from typing import Protocol

MEMORY_BYTES = 1 << 20  # like a socket's buffer: a writer beyond it waits for the reader


class Wire(Protocol):
    """Two independent directions. At most one thread writes and one reads at a time.

    Errors are OSErrors; a wait that lasts longer than `timeout` seconds (None: for ever) is a TimeoutError.
    """

    def try_write(self, data: memoryview) -> int:
        """Write what fits without waiting and return its length."""
        ...

    def write(self, data: memoryview, timeout: float | None) -> None:
        """Write all; `timeout` bounds the time without progress."""
        ...

    def read_into(self, view: memoryview, timeout: float | None) -> int:
        """Wait for bytes and return how many were put into `view`; 0 means that the peer has ended."""
        ...

    def shut(self) -> None:
        """End both directions and wake whoever waits; allowed from any thread."""
        ...

    def close(self) -> None:
        """Give the resources back; nobody waits any more."""
        ...


class _Pipe:
    """One direction in memory: a bounded buffer of bytes."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.changed = threading.Condition(threading.Lock())
        self.shut = False

    def write(self, data: memoryview) -> int:
        with self.changed:
            if self.shut:
                raise ConnectionResetError("the other end is closed")
            count = min(len(data), MEMORY_BYTES - len(self.buffer))
            self.buffer += data[:count]
            self.changed.notify_all()
            return count

    def wait_for_room(self, timeout: float | None) -> None:
        with self.changed:
            if not self.changed.wait_for(lambda: len(self.buffer) < MEMORY_BYTES or self.shut, timeout):
                raise TimeoutError

    def read_into(self, view: memoryview, timeout: float | None) -> int:
        with self.changed:
            if not self.changed.wait_for(lambda: self.buffer or self.shut, timeout):
                raise TimeoutError
            count = min(len(view), len(self.buffer))
            view[:count] = self.buffer[:count]
            del self.buffer[:count]
            self.changed.notify_all()
            return count

    def end(self) -> None:
        with self.changed:
            self.shut = True
            self.changed.notify_all()


class MemoryWire:
    """One end of two pipes."""

    def __init__(self, out: _Pipe, into: _Pipe) -> None:
        self._out, self._into = out, into

    def try_write(self, data: memoryview) -> int:
        return self._out.write(data)

    def write(self, data: memoryview, timeout: float | None) -> None:
        while data:
            count = self._out.write(data)
            if count == 0:
                self._out.wait_for_room(timeout)
            data = data[count:]

    def read_into(self, view: memoryview, timeout: float | None) -> int:
        return self._into.read_into(view, timeout)

    def shut(self) -> None:
        self._out.end()
        self._into.end()

    def close(self) -> None:
        """Nothing to give back."""


def memory_wires() -> tuple[MemoryWire, MemoryWire]:
    """Both ends of a carrier inside one process."""
    one, other = _Pipe(), _Pipe()
    return MemoryWire(one, other), MemoryWire(other, one)
