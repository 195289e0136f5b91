"""Early stopping on calibration images (`training.patience`), and the way back to the best evaluation.

After each evaluation of the schedule whoever knows the scores looks at one figure: the balanced accuracy on the
calibration images, at the threshold that is best on them. When `patience` evaluations in a row were no better than
the best before them, training ends, and classifier and head go back to what they were at that best evaluation (Prechelt
1998, "Early stopping - but when?"). It lies exactly `patience` evaluations back, so one bit, stop or go on, says
everything to a party that does not know the scores. A run that reaches its last epoch keeps its last weights.

Report images have no part in it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from torch import Tensor

from amint_mpc.amint.metrics import calibrated_accuracy
from amint_mpc.amint.schedule import Item, ScheduleCursor
from amint_mpc.config import Experiment
from amint_mpc.results import CALIBRATED, Outcome

State = TypeVar("State")


class Stopper(Protocol):
    """What the training loop asks after each evaluation that is not the final one."""

    figures: dict[str, float]

    def evaluated(self, scores: Mapping[str, Tensor], cursor: ScheduleCursor) -> bool:
        """Whether training ends here; then the head is already what it was at the best evaluation.

        Args:
            cursor: of this party's schedule; a stop moves it to the final scoring.
            scores: set name -> membership probabilities [count]; empty where the head tells none. What is known of
                them goes to `figures`.
        """


class Patience:
    """Counts evaluations that were no better than the best one. Equal is no better."""

    def __init__(self, patience: int) -> None:
        self._patience = patience
        self._best = float("-inf")
        self._since = 0

    def ends(self, figure: float) -> bool:
        """Take the figure of one more evaluation; true when it was the last one to wait for."""
        self._since = 0 if figure > self._best else self._since + 1
        self._best = max(figure, self._best)
        return self._since >= self._patience


class Rewind(Generic[State]):
    """The states of the last evaluations; the oldest of `patience` + 1 is the best one when training stops.

    Args:
        take: the state now; nobody changes what it returned.
        put_back: make one of those states the current one.
    """

    def __init__(self, patience: int, take: Callable[[], State], put_back: Callable[[State], None]) -> None:
        self._kept: deque[State] = deque(maxlen=patience + 1)
        self._take, self._put_back = take, put_back

    def keep(self) -> None:
        """Remember the state of this evaluation."""
        self._kept.append(self._take())

    def go_back(self) -> None:
        """Return to the state `patience` evaluations ago, and forget all of them."""
        self._put_back(self._kept[0])
        self._kept.clear()


@dataclass
class Stopping(Generic[State]):
    """A `Stopper` from its parts.

    Args:
        decide: whether to stop, from the scores and the figures to fill in.
        head: of the head, at this party.
        pass_over: is given the items of the schedule that a stop leaves out.
    """

    decide: Callable[[Mapping[str, Tensor], dict[str, float]], bool]
    head: Rewind[State]
    pass_over: Callable[[list[Item]], None] = lambda _: None
    figures: dict[str, float] = field(default_factory=dict)

    def evaluated(self, scores: Mapping[str, Tensor], cursor: ScheduleCursor) -> bool:
        """See `Stopper.evaluated`."""
        self.head.keep()
        stop = self.decide(scores, self.figures)
        if stop:
            self.head.go_back()
            self.pass_over(cursor.stop())
        return stop


def by_scores(patience: int) -> Callable[[Mapping[str, Tensor], dict[str, float]], bool]:
    """The decision of a party that knows the scores."""
    waiting = Patience(patience)

    def decide(scores: Mapping[str, Tensor], figures: dict[str, float]) -> bool:
        figures[CALIBRATED] = figure = calibrated_accuracy(scores)
        return waiting.ends(figure)

    return decide


def told(experiment: Experiment, epoch: int | None) -> Outcome:
    """After which epoch a run stopped, and whose weights it kept. Empty when it went to its end."""
    if epoch is None:
        return Outcome()
    training = experiment.training
    return Outcome(stopped_epoch=epoch, best_epoch=epoch - training.patience * training.evaluate_every)
