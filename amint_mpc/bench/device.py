"""What the classifier's device does while the head works: how long it stands idle, and how much memory it took.

A host's clock does not show that. On CUDA the host runs ahead of the device, so a host that waits for the head may have
left the device work enough. Two events on the stream tell: one queued when the host begins to wait, which the device
reaches when it has done all that came before, and one queued when the head is done. Between the two it had nothing to
do (CUDA programming guide, events). Without a device of its own the classifier stands still while the host waits.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from amint_mpc.amint.trainer import Trainer


class Idle:
    """Adds up the time in which a device waits for the head."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        self._seconds = 0.0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around what the host does while it has no work for the device."""
        if self._device.type != "cuda":
            start = time.perf_counter()
            yield
            self._seconds += time.perf_counter() - start
            return
        before = self._event()
        yield
        self._events.append((before, self._event()))

    def take(self) -> float:
        """Seconds since the last call; waits until the device has done all its work."""
        if self._events:
            torch.cuda.synchronize(self._device)
            self._seconds += sum(before.elapsed_time(after) for before, after in self._events) / 1e3
        seconds, self._seconds = self._seconds, 0.0
        self._events.clear()
        return seconds

    def _event(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._device))
        return event


class WatchedTrainer(Trainer):
    """The training loop as it is, with an eye on its device."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args, waiting=lambda: self.idle.waiting())
        self.idle = Idle(self.device)

    def peak_device_mb(self) -> float | None:
        """The most memory that torch's tensors took on the device so far, in MB (a million bytes); None off CUDA."""
        return torch.cuda.max_memory_allocated(self.device) / 1e6 if self.device.type == "cuda" else None
