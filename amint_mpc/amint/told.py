"""What an audit tells of steps and epochs while it goes on."""

from __future__ import annotations

import time

from torch import Tensor

from amint_mpc.amint.schedule import TrainStep
from amint_mpc.amint.sealing import mixed_rows
from amint_mpc.amint.seat import Seat, Watch
from amint_mpc.config import Experiment
from amint_mpc.events import EpochEvent, Phase, StepEvent


class Told:
    """Makes events, with the time since the one before.

    Attributes:
        losses: of the present step, by name.
    """

    def __init__(self, experiment: Experiment) -> None:
        self.losses: dict[str, Tensor | float] = {}
        self._experiment = experiment
        self._step_began = self._epoch_began = time.perf_counter()

    def begin_epoch(self) -> None:
        """An epoch and its first step begin."""
        self._step_began = self._epoch_began = time.perf_counter()

    def step(self, watch: Watch, done: int, epoch: int, phase: Phase, secure: float) -> None:
        """A step is over. Args: done: with warm-up steps. secure: seconds spent waiting for the head."""
        training, per_epoch = self._experiment.training, self._experiment.steps_per_epoch
        warm, joint = training.warmup_epochs * per_epoch, training.epochs * per_epoch
        if phase == "warm-up":
            steps = warm
        else:
            done, steps = done - warm, joint + self._experiment.sealed_steps
        seconds = time.perf_counter() - self._step_began
        values = {name: float(value) for name, value in self.losses.items()}
        self.losses = {}
        watch.tell(StepEvent(done, steps, epoch, phase, seconds, values, secure))
        self._step_began = time.perf_counter()

    def sealed(self, seat: Seat, item: TrainStep) -> None:
        """Let the head take a sealed step, in which it learns alone, and tell of it."""
        self._step_began = start = time.perf_counter()
        if seat.head is not None:
            seat.head.fit(mixed_rows(self._experiment, item.number))
        warm = self._experiment.training.warmup_epochs * self._experiment.steps_per_epoch
        self.step(seat.watch, item.index + 1 + warm, item.epoch, "sealed", time.perf_counter() - start)

    def epoch(self, watch: Watch, epoch: int, phase: Phase, figures: dict[str, float]) -> None:
        """An epoch is over."""
        seconds = time.perf_counter() - self._epoch_began
        watch.tell(EpochEvent(epoch, self._experiment.last_epoch, phase, seconds, figures))
