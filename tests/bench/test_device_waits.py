"""How long the classifier's device waits for the head: on the CPU by the clock, on CUDA by two events."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from amint_mpc.amint import PlaintextHead, Trainer
from amint_mpc.bench import device
from amint_mpc.bench.device import Idle, WatchedTrainer
from amint_mpc.models import feature_count, init_head, seeded_normal
from tests.amint.small_pictures import pictures, settings
from tests.device import DEVICE

SLOW = 0.2


class SlowHead(PlaintextHead):
    def __init__(self) -> None:
        super().__init__(init_head(feature_count(settings(), (1, 28, 28)), 8, seeded_normal(7)), 0.1)

    def step(self, features: Tensor, members: int) -> Tensor:
        time.sleep(SLOW)
        return super().step(features, members)


@pytest.mark.parametrize("overlap", [False, True])
def test_the_wait_for_a_slow_head_is_seen_and_changes_nothing(overlap: bool) -> None:
    experiment = settings(epochs=1, warmup_epochs=0)
    watched = WatchedTrainer(experiment, pictures(experiment), SlowHead(), DEVICE, overlap)
    plain = Trainer(experiment, pictures(experiment), SlowHead(), DEVICE, overlap)
    events = watched.run()
    assert watched.idle.take() == 0
    start = time.perf_counter()
    next(events)
    whole = time.perf_counter() - start
    waited = watched.idle.take()
    assert waited < whole
    # with the overlap the head sleeps while the classifier goes on, which takes milliseconds
    assert waited > (SLOW / 2 if overlap else SLOW)
    assert watched.idle.take() == 0, "counted once"
    next(plain.run())
    one, two = watched.backbone.weights(), plain.backbone.weights()
    assert all(torch.equal(one[name], two[name]) for name in one)
    peak = watched.peak_device_mb()
    assert (peak is None) if watched.device.type != "cuda" else (peak > 0)


class Cuda:
    """Stands in for torch.cuda: a stream on which time goes on only while the test says so."""

    def __init__(self) -> None:
        self.now_ms, self.waited = 0.0, 0

    def Event(self, enable_timing: bool) -> Any:
        assert enable_timing
        event = SimpleNamespace(at=-1.0)
        event.record = lambda stream: setattr(event, "at", self.now_ms)
        event.elapsed_time = lambda other: other.at - event.at
        return event

    def current_stream(self, where: torch.device) -> str:
        return f"stream of {where}"

    def synchronize(self, where: torch.device) -> None:
        self.waited += 1


def test_on_cuda_the_time_between_two_events_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = Cuda()
    monkeypatch.setattr(device, "torch", SimpleNamespace(cuda=cuda))
    idle = Idle(torch.device("cuda", 0))
    for gap_ms in (30.0, 0.0, 12.0):
        cuda.now_ms += 100  # work
        with idle.waiting():
            cuda.now_ms += gap_ms
    assert cuda.waited == 0, "a step is not held up by the measurement"
    assert idle.take() == pytest.approx(0.042)
    assert cuda.waited == 1
    assert idle.take() == 0
