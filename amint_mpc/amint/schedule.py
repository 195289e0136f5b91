"""The order of everything the head is asked to do. Both parties walk the same list, made from the experiment alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from amint_mpc.config import Experiment
from amint_mpc.data.split import SETS, set_counts
from amint_mpc.events import Phase

SCORE_BATCH = 256
"""Rows of a scoring batch; the last batch of a set may be smaller."""

_PERIODIC = ("members_calibration", "unseen_calibration")


@dataclass(frozen=True)
class TrainStep:
    """One step of the head.

    Args:
        index: from 0, over the whole run.
        epoch: from 1, warm-up epochs counted; the head takes no step in those.
        number: from 0, of the present head: sealed epochs begin with a fresh one.
        sealed: the classifier is frozen, and the developer learns no gradient.
    """

    index: int
    epoch: int
    number: int
    sealed: bool = False

    @property
    def fresh_head(self) -> bool:
        """Whether a fresh head is drawn before this step."""
        return self.sealed and self.number == 0

    @property
    def phase(self) -> Phase:
        """What an event calls it."""
        return "sealed" if self.sealed else "joint"


@dataclass(frozen=True)
class ScoreSets:
    """Score whole sets, in this order, after the steps of `epoch`.

    Args:
        sets: (name, number of images).
        final: true once, at the end, for all five sets.
    """

    epoch: int
    sets: tuple[tuple[str, int], ...]
    final: bool


Item = TrainStep | ScoreSets


def schedule(experiment: Experiment) -> list[Item]:
    """All head steps and scorings of a run, in order."""
    training, counts = experiment.training, set_counts(experiment.data)
    items: list[Item] = []
    per_epoch = experiment.steps_per_epoch
    for joint in range(1, training.epochs + training.sealed_epochs + 1):
        epoch, first = training.warmup_epochs + joint, (joint - 1) * per_epoch
        sealed = joint > training.epochs
        before = training.epochs * per_epoch if sealed else 0
        items += [TrainStep(index, epoch, index - before, sealed) for index in range(first, first + per_epoch)]
        if epoch == experiment.last_epoch:
            items.append(ScoreSets(epoch, tuple((name, counts[name]) for name in SETS), final=True))
        elif sealed:
            continue
        elif training.evaluate_every and joint % training.evaluate_every == 0:
            items.append(ScoreSets(epoch, tuple((name, counts[name]) for name in _PERIODIC), final=False))
    return items


class ScheduleCursor(Iterator[Item]):
    """Walks the schedule of a run, item by item.

    After an early stop (`training.patience`) the final scoring is all that is left: `stop` alone says so.
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

    def stop(self) -> list[Item]:
        """Pass over everything before the final scoring. Returns what was passed over."""
        passed = list(self._left)[:-1]
        self._left = deque(list(self._left)[-1:])
        return passed


def score_batches(count: int) -> list[int]:
    """Sizes of the batches in which a set of `count` images is scored."""
    return [min(SCORE_BATCH, count - start) for start in range(0, count, SCORE_BATCH)]
