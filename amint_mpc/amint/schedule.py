"""The order of everything the head is asked to do. Both parties walk the same list, made from the experiment alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from amint_mpc.config import Experiment
from amint_mpc.data.split import SETS, set_counts
from amint_mpc.events import Phase

SCORE_BATCH = 256
"""Rows of a scoring batch, at most."""

_PERIODIC = ("members_calibration", "unseen_calibration")


@dataclass(frozen=True)
class TrainStep:
    """One step of the head.

    Args:
        index: from 0, over the whole run.
        epoch: from 1, warm-up epochs counted; the head takes no step in those.
        number: from 0, of the present head: sealed epochs begin with a fresh one (`ShareFeatures`).
        sealed: the classifier is frozen, and the developer learns no gradient.
    """

    index: int
    epoch: int
    number: int
    sealed: bool = False

    @property
    def phase(self) -> Phase:
        """What an event calls it."""
        return "sealed" if self.sealed else "joint"


@dataclass(frozen=True)
class ShareFeatures:
    """Before the first sealed step: a fresh head, and the features that its steps are on.

    Args:
        rows: members and external images.
    """

    epoch: int
    rows: int


@dataclass(frozen=True)
class ScoreSets:
    """Score whole sets, after the steps of `epoch`.

    Args:
        sets: (name, number of images).
        final: true once, at the end, for all five sets.
    """

    epoch: int
    sets: tuple[tuple[str, int], ...]
    final: bool

    @property
    def count(self) -> int:
        """Of all images."""
        return sum(count for _, count in self.sets)


Item = TrainStep | ShareFeatures | ScoreSets


def schedule(experiment: Experiment) -> list[Item]:
    """All head steps and scorings of a run, in order."""
    training, counts = experiment.training, set_counts(experiment.data)
    items: list[Item] = []
    per_epoch = experiment.steps_per_epoch
    for joint in range(1, training.epochs + 1):
        epoch, first = training.warmup_epochs + joint, (joint - 1) * per_epoch
        items += [TrainStep(index, epoch, index) for index in range(first, first + per_epoch)]
        last = epoch == experiment.last_epoch
        if not last and training.evaluate_every and joint % training.evaluate_every == 0:
            items.append(ScoreSets(epoch, tuple((name, counts[name]) for name in _PERIODIC), final=False))
    if training.sealed_epochs:
        items += _sealed(experiment)
    items.append(ScoreSets(experiment.last_epoch, tuple((name, counts[name]) for name in SETS), final=True))
    return items


def _sealed(experiment: Experiment) -> Iterator[Item]:
    training = experiment.training
    joint, per_epoch = training.epochs * experiment.steps_per_epoch, experiment.sealed_steps // training.sealed_epochs
    first = training.warmup_epochs + training.epochs + 1
    yield ShareFeatures(first, experiment.data.members + experiment.data.external)
    for number in range(experiment.sealed_steps):
        yield TrainStep(joint + number, first + number // per_epoch, number, sealed=True)


class ScheduleCursor(Iterator[Item]):
    """Walks the schedule of a run, item by item.

    After an early stop (`training.patience`) the sealed epochs and the final scoring are left: `stop` alone says so.
    """

    def __init__(self, experiment: Experiment) -> None:
        self._left = deque(schedule(experiment))

    def __next__(self) -> Item:
        if not self._left:
            raise StopIteration
        return self._left.popleft()

    def of_epoch(self, epoch: int) -> Iterator[Item]:
        """The items of this epoch, which comes next."""
        while self._left and self._left[0].epoch == epoch:
            yield next(self)

    @property
    def next_epoch(self) -> int | None:
        """Of the item that comes next; None at the end."""
        return self._left[0].epoch if self._left else None

    def stop(self) -> list[Item]:
        """Pass over all that is left of the joint epochs. Returns what was passed over."""
        passed: list[Item] = []
        while self._left and not _after_joint(self._left[0]):
            passed.append(self._left.popleft())
        return passed


def _after_joint(item: Item) -> bool:
    """Whether it comes after the joint epochs."""
    return item.sealed if isinstance(item, TrainStep) else not isinstance(item, ScoreSets) or item.final


def score_batches(count: int) -> list[int]:
    """Sizes of the batches in which `count` images are scored: of one size, the last one filled up with zeros."""
    batches = -(-count // SCORE_BATCH)
    return [-(-count // batches)] * batches
