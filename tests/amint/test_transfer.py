"""Features on their way to the host, on a device that takes its time."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from amint_mpc.amint import transfer
from amint_mpc.amint.transfer import AsyncHostCopy, to_device
from tests.device import DEVICE


class Device:
    """An accelerator: what is queued on it is done when `go` is called, in order. Stands in for torch.cuda."""

    def __init__(self) -> None:
        self.queue: list[Any] = []
        self.recorded_after: list[int] = []

    def go(self) -> None:
        for work in self.queue:
            work()
        self.queue.clear()

    def tensor(self, values: Tensor) -> Any:
        return SimpleNamespace(device=torch.device("cuda", 0), shape=values.shape, dtype=values.dtype, values=values)

    def pinned(self, shape: Any, dtype: torch.dtype, pin_memory: bool) -> Any:
        assert pin_memory
        memory = torch.zeros(shape, dtype=dtype)

        def copy_(source: Any, non_blocking: bool) -> None:
            assert non_blocking
            self.queue.append(lambda: memory.__class__.copy_(memory, source.values))

        memory.copy_ = copy_  # type: ignore[method-assign]
        return memory

    def event(self) -> Any:
        done = threading.Event()

        def record(stream: str) -> None:
            assert stream == "stream of cuda:0"
            self.recorded_after.append(len(self.queue))
            self.queue.append(done.set)

        return SimpleNamespace(record=record, synchronize=lambda: done.wait(30))


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    made = Device()
    cuda = SimpleNamespace(Event=made.event, current_stream=lambda where: f"stream of {where}")
    monkeypatch.setattr(transfer, "torch", SimpleNamespace(empty=made.pinned, cuda=cuda))
    return made


def test_it_does_not_wait_for_the_device_and_the_reader_does(device: Device) -> None:
    values = torch.arange(6.0).view(2, 3)
    coming = AsyncHostCopy(device.tensor(values))  # would hang here if it waited: nobody runs the device
    assert device.recorded_after == [1], "the event stands behind the copy"
    got: list[Tensor] = []
    reader = threading.Thread(target=lambda: got.append(coming.wait()))
    reader.start()
    reader.join(0.05)
    assert reader.is_alive()
    assert not got
    device.go()
    reader.join(30)
    assert torch.equal(got[0], values)
    assert coming.wait() is got[0]


def test_values_arrive_on_the_host_and_come_back() -> None:
    """On the device that the tests are given, without a stand-in."""
    values = torch.arange(6.0).view(2, 3)
    on_device = values.to(DEVICE, copy=True)
    coming = AsyncHostCopy(on_device * 2)
    on_device.zero_()  # later work of the same stream
    assert coming.wait().device.type == "cpu"
    assert torch.equal(coming.wait(), values * 2)
    back = to_device(values, torch.device(DEVICE))
    assert back.device.type == torch.device(DEVICE).type
    assert torch.equal(back.cpu(), values)


def test_on_the_cpu_it_is_the_tensor_itself() -> None:
    values = torch.ones(2)
    assert AsyncHostCopy(values).wait() is values
    assert to_device(values, torch.device("cpu")) is values
