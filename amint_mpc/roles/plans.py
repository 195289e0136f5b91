"""What every party derives of the head from the schedule alone: its steps, with which labels and which masks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from amint_mpc.amint.schedule import Item, ScoreSets, TrainStep, schedule, score_batches
from amint_mpc.config import Experiment
from amint_mpc.mpc.correlations.base import Plan, corrected
from amint_mpc.roles.heads import head_kind, secure_optimizer


def targets(members: int) -> Tensor:
    """Labels of a step's rows: members, then as many external images."""
    return torch.cat([torch.ones(members), torch.zeros(members)])


def plans(experiment: Experiment) -> Iterator[Plan]:
    """What each step of the head needs from the dealer, in the order of the schedule."""
    return plans_of(experiment, schedule(experiment))


def plans_of(experiment: Experiment, items: Iterable[Item]) -> Iterator[Plan]:
    """The same for a part of the schedule."""
    kind, rows, optimizer = head_kind(experiment), 2 * experiment.training.batch, secure_optimizer(experiment)
    for item in items:
        if isinstance(item, TrainStep):
            yield kind.train_plan(rows, optimizer, item.number)
        else:
            yield from (kind.score_plan(rows) for _, count in item.sets for rows in score_batches(count))


def head_steps(experiment: Experiment) -> int:
    """Training steps of the head in the whole run."""
    return sum(isinstance(item, TrainStep) for item in schedule(experiment))


def correction_bytes(experiment: Experiment) -> int:
    """Bytes of corrections that the dealer sends for one training step."""
    plan = next(iter(plans(experiment)))
    sent = [field.correction for _, _, field in corrected(plan)]
    return sum(torch.Size(shape).numel() * dtype.itemsize for dtype, shape in sent)


def epochs_with_figures(experiment: Experiment) -> set[int]:
    """The epochs after which the auditor has figures that are not final."""
    return {item.epoch for item in schedule(experiment) if isinstance(item, ScoreSets) and not item.final}
