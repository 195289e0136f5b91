"""Joins the method to the secure engine: what of the schedule is a step of the head, and with which masks.

`amint_mpc.amint` speaks of members and external images, `amint_mpc.mpc` of inputs and targets.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from amint_mpc.amint.schedule import ScoreSets, TrainStep, schedule, score_batches
from amint_mpc.config import Experiment
from amint_mpc.data.registry import dataset
from amint_mpc.errors import UsageError
from amint_mpc.events import StepEvent
from amint_mpc.models.classifier import feature_count
from amint_mpc.models.rate import representable_rate
from amint_mpc.mpc.channel import Channel
from amint_mpc.mpc.correlations.base import Plan
from amint_mpc.mpc.head import SecureHead
from amint_mpc.mpc.layers import Rate, score_plan, train_plan


def head_inputs(experiment: Experiment) -> int:
    """Features of an image, known to every party from the experiment alone."""
    return feature_count(experiment, dataset(experiment.data.dataset).shape)


def head_rate(experiment: Experiment) -> Rate:
    """The step size for a sum over rows: the learning rate over the members of a batch."""
    return Rate(*representable_rate(experiment.head.learning_rate / experiment.training.batch))


def targets(members: int) -> Tensor:
    """Labels of a step's rows: members, then as many external images."""
    return torch.cat([torch.ones(members), torch.zeros(members)])


def plans(experiment: Experiment) -> Iterator[Plan]:
    """What each step of the head needs from the dealer, in the order of the schedule."""
    sizes = head_inputs(experiment) + 1, experiment.head.hidden
    train = train_plan(2 * experiment.training.batch, *sizes, head_rate(experiment))
    for item in schedule(experiment):
        if isinstance(item, TrainStep):
            yield train
        else:
            yield from (score_plan(rows, *sizes) for _, count in item.sets for rows in score_batches(count))


def head_steps(experiment: Experiment) -> int:
    """Training steps of the head in the whole run."""
    return sum(isinstance(item, TrainStep) for item in schedule(experiment))


class Meter:
    """Rounds and bytes of the head's training steps on the link between developer and auditor."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._rounds, self._bytes = 0, 0
        self.last_rounds, self.last_bytes = 0, 0
        self.steps, self.rounds, self.bytes = 0, 0, 0

    def start(self) -> None:
        """Leave out what was sent since the last step."""
        self._rounds, self._bytes = self._channel.stats.rounds, self._channel.stats.bytes_sent

    def stop(self) -> None:
        """Count what happened since `start` as one step."""
        self.last_rounds = self._channel.stats.rounds - self._rounds
        self.last_bytes = self._channel.stats.bytes_sent - self._bytes
        self.steps += 1
        self.rounds += self.last_rounds
        self.bytes += self.last_bytes

    def summary(self) -> dict[str, Any]:
        steps = max(self.steps, 1)
        return {"rounds_per_step": self.rounds / steps, "mb_sent_per_step": self.bytes / steps / 1e6}


class SecureMintHead:
    """The developer's view of the secure head (`amint_mpc.amint.head.MintHead`)."""

    def __init__(self, head: SecureHead, experiment: Experiment, meter: Meter) -> None:
        self._head, self._meter = head, meter
        self._rate = head_rate(experiment)
        self._members = experiment.training.batch

    def step(self, features: Tensor, members: int) -> Tensor:
        """See `MintHead.step`. Every batch has the agreed size, half of it members."""
        if members != self._members or len(features) != 2 * members:
            raise UsageError(
                f"a step takes {self._members} members and as many external images, as agreed",
                "set training.batch to the batches of your loop",
            )
        self._meter.start()
        gradient = self._head.train_step(features.double(), targets(members), self._rate)
        self._meter.stop()
        assert gradient is not None
        return (gradient / members).to(features.dtype)

    def score(self, features: Tensor) -> Tensor | None:
        """The auditor alone learns the scores."""
        self._head.logits(features.double(), len(features))
        return None


def joint_steps(events: list[StepEvent]) -> dict[str, Any]:
    """Means over the steps of the joint loss."""
    count = max(len(events), 1)
    return {
        "steps": len(events),
        "seconds_per_step": sum(event.seconds for event in events) / count,
        "head_seconds_per_step": sum(event.secure_seconds for event in events) / count,
    }


__all__ = ["Meter", "ScoreSets", "SecureMintHead", "head_inputs", "head_rate", "head_steps", "plans", "targets"]
