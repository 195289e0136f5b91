"""What every party derives of the head from the schedule alone: its steps, with which labels and which masks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import groupby

import torch
from torch import Tensor

from amint_mpc.amint.schedule import Item, ScoreSets, TrainStep, schedule, score_batches
from amint_mpc.amint.sealing import MixedRows, mixed_rows
from amint_mpc.config import Experiment
from amint_mpc.mpc.correlations.base import Plan, corrected
from amint_mpc.mpc.correlations.checking import Stretch, places, stretch
from amint_mpc.roles.heads import head_kind, secure_optimizer


def targets(members: int) -> Tensor:
    """Labels of a step's rows: members, then as many external images."""
    return torch.cat([torch.ones(members), torch.zeros(members)])


def stretches(experiment: Experiment) -> Iterator[tuple[Stretch, list[Item]]]:
    """What the whole run needs from the dealer, in the order of the schedule, and for which items of it."""
    share = _checked_share(experiment)
    for _, group in groupby(schedule(experiment), key=_alike):
        items = list(group)
        if isinstance(first := items[0], TrainStep):
            yield stretch(len(items), share, partial(_step_plan, experiment, first)), items
        elif isinstance(first, ScoreSets):
            yield scoring_stretch(experiment, first.count), items
        elif (table := head_kind(experiment).table_plan(first.rows)) is not None:
            yield stretch(1, 0, partial(_same, table)), items


def stretches_of(experiment: Experiment) -> list[Stretch]:
    """The same without the items."""
    return [part for part, _ in stretches(experiment)]


def sealed_rows(experiment: Experiment, coin: bytes) -> list[MixedRows]:
    """The rows of each sealed step: of the blocks that are used, for a block fits its rows alone.

    Args:
        coin: of the two parties.
    """
    secret = coin if checks_blocks(experiment) else None
    for number, (part, items) in enumerate(stretches(experiment)):
        if isinstance(first := items[0], TrainStep) and first.sealed:
            return [mixed_rows(experiment, place) for place in places(part, number, secret)]
    return []


def checks_blocks(experiment: Experiment) -> bool:
    """Whether the parties check blocks: those of a dealer."""
    return experiment.security.correlations == "dealer"


def scoring_stretch(experiment: Experiment, count: int) -> Stretch:
    """What scoring so many images needs."""
    batches, kind = score_batches(count), head_kind(experiment)
    return stretch(len(batches), _checked_share(experiment), lambda _: kind.score_plan(batches[0]))


def _checked_share(experiment: Experiment) -> float:
    return experiment.security.checked_blocks if checks_blocks(experiment) else 0.0


def used_plans(experiment: Experiment, items: Iterable[Item]) -> Iterator[Plan]:
    """What the steps of a part of the schedule that has no sealed ones use."""
    for item in items:
        if isinstance(item, TrainStep):
            yield _step_plan(experiment, item, 0)
        elif isinstance(item, ScoreSets):
            yield from (head_kind(experiment).score_plan(rows) for rows in score_batches(item.count))


def _same(plan: Plan, place: int) -> Plan:
    return plan


def _alike(item: Item) -> str:
    """Items that follow one another and have the same of this are one stretch."""
    if isinstance(item, TrainStep):
        return item.phase
    return f"score {item.epoch}" if isinstance(item, ScoreSets) else "shared"


def _step_plan(experiment: Experiment, first: TrainStep, place: int) -> Plan:
    """Of the training step at a place of the stretch that begins with `first`."""
    kind = head_kind(experiment)
    if not first.sealed:
        rows_of_step = 2 * experiment.training.batch
        return kind.train_plan(rows_of_step, secure_optimizer(experiment), first.number + place)
    rows = mixed_rows(experiment, place)
    return kind.train_plan(rows.rows, secure_optimizer(experiment, rows), place, rows)


def head_steps(experiment: Experiment) -> int:
    """Training steps of the head in the whole run."""
    return sum(isinstance(item, TrainStep) for item in schedule(experiment))


def correction_bytes(experiment: Experiment) -> int:
    """Bytes of corrections that the dealer sends for one training step."""
    plan = next(iter(used_plans(experiment, schedule(experiment))))
    sent = [field.correction for _, _, field in corrected(plan)]
    return sum(torch.Size(shape).numel() * dtype.itemsize for dtype, shape in sent)


def epochs_with_figures(experiment: Experiment) -> set[int]:
    """The epochs after which the auditor has figures that are not final."""
    return {item.epoch for item in schedule(experiment) if isinstance(item, ScoreSets) and not item.final}
