"""What the auditor's part of a run tells the screen: its steps and evaluations, with clocks and counts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from amint_mpc.amint.schedule import TrainStep
from amint_mpc.config import Experiment
from amint_mpc.events import EpochEvent, Event, Notice, StepEvent
from amint_mpc.results import Outcome
from amint_mpc.roles.meter import Meter, all_steps
from amint_mpc.roles.plans import head_steps
from amint_mpc.transport.channel import Channel


class AuditorEvents:
    """Events of one run, and the means over its steps.

    Args:
        developer: the link. ahead: how many steps have their masks ready. on_event: is given every event.

    Attributes:
        meter: of rounds and bytes of joint steps.
    """

    def __init__(
        self,
        experiment: Experiment,
        developer: Channel,
        ahead: Callable[[], int | None],
        on_event: Callable[[Event], None],
    ) -> None:
        self._experiment, self._developer, self._on_event, self._ahead = experiment, developer, on_event, ahead
        self.meter, self._sealed_meter = (Meter(developer) for _ in range(2))
        self._steps: list[StepEvent] = []
        self._total = head_steps(experiment)
        self._start = self._epoch_start = time.perf_counter()

    def seconds(self) -> float:
        """Since the head was shared."""
        return time.perf_counter() - self._start

    @contextmanager
    def step(self, item: TrainStep) -> Iterator[None]:
        """Around one step of the head."""
        start, waited = time.perf_counter(), self._developer.stats.seconds_waiting
        meter = self._sealed_meter if item.sealed else self.meter
        with meter:
            yield
        seconds = time.perf_counter() - start
        if item.index == 0:  # it waited for the developer's warm-up
            seconds -= self._developer.stats.seconds_waiting - waited
        counted = meter.last_rounds, meter.last_bytes, self._ahead()
        event = StepEvent(item.index + 1, self._total, item.epoch, item.phase, seconds, {}, seconds, *counted)
        self._steps.append(event)
        self._on_event(event)

    def scored(self, epoch: int, figures: dict[str, float]) -> None:
        """Sets have been scored after this epoch."""
        now = time.perf_counter()
        self._on_event(EpochEvent(epoch, self._experiment.last_epoch, "score", now - self._epoch_start, figures))
        self._epoch_start = now

    def stopped(self) -> None:
        """Training ends early."""
        patience = self._experiment.training.patience
        self._on_event(Notice(f"no better for {patience} evaluations: training ends here"))

    def summary(self) -> Outcome:
        """Means over the steps."""
        return all_steps(self._steps) | self.meter.summary()
