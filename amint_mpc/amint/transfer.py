"""Tensors between an accelerator and the host, without making the thread that launches its work wait.

The head works on the host. Reading features the usual way (`Tensor.cpu`) would hold the training thread back until the
device has computed them, and nothing more would be launched meanwhile. So the copy is queued behind them, into pinned
memory, with an event after it; whoever needs the values waits for that event (CUDA streams, programming guide 3.2.8).
"""

from __future__ import annotations

import torch
from torch import Tensor


class AsyncHostCopy:
    """A copy of a tensor for the host.

    Made by the thread that computes the tensor; `wait` may be called from any thread, once or more often.

    Edge cases
        The tensor may be freed or overwritten by later work of the same stream right away.
        Off CUDA the copy is made at once, for pinned memory and its order with events are CUDA's; on the CPU it is the
        tensor itself.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._event: torch.cuda.Event | None = None
        if tensor.device.type != "cuda":
            self._host = tensor.cpu()
            return
        self._host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        self._host.copy_(tensor, non_blocking=True)
        self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._event.record(torch.cuda.current_stream(tensor.device))

    def wait(self) -> Tensor:
        """The values, on the host; blocks until they are there."""
        if self._event is not None:
            self._event.synchronize()
        return self._host


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A host tensor on `device`; on CUDA the copy is queued, and work of the current stream comes after it."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
