"""Doing steps of a finished run again: from a checkpoint, on the committed images, with the head's part of each step.

1. The evidence of the run is verified, and the images are those that it committed to.
2. What was kept at each checkpoint (`runlog.replay_tape`) has the digest that stands in the log.
3. The training loop goes on: from the seed and through the warm-up if the steps begin at the first checkpoint, else
   from what was kept. At every checkpoint that it comes by, all that the next steps depend on is what was kept there,
   and the classifier is the log's.
4. The gradients come out of the secure head, run again on the frames that the log has digests of (`played`), from its
   first step on wherever the classifier's steps begin. A replay that reaches the end goes through the sealed phase, the
   scoring and the opening of the head, too.

What follows of a replay of all steps: this classifier came from the committed images, in the agreed order, with the
gradients of the auditor's head, and its features are what went into that head. What a replay of some steps leaves to
be believed, `Replayed.assumes` says.

Edge cases
    The same machine and device give the same bits; the run's number of threads is set, where it was kept. Elsewhere
    sums are rounded in another order. The largest difference is told, as a share of the largest value of its tensor,
    and `TOLERANCE` allowed, within which a developer could hide small changes. But training multiplies differences:
    after some ten steps they are beyond it, and a replay elsewhere can show nothing of such an interval.
    Without frames (a head through CrypTen's layers, a run of before) the gradients are those that the developer kept.
    Without a dealer the masks are the developer's word. Logs of version 1 are replayed from their first state as it
    was kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Protocol

from torch import Tensor

from amint_mpc.afterwards.checkpoints import (
    TOLERANCE,
    Point,
    check_one_teacher,
    difference,
    gradients_before,
    has_frames,
    points_of,
    state_at,
    threads_of,
)
from amint_mpc.afterwards.common import check_own_model
from amint_mpc.afterwards.played import played
from amint_mpc.afterwards.proving import Prover
from amint_mpc.amint.plaintext_head import MintHead
from amint_mpc.amint.scoring import ScoringOrder, in_order
from amint_mpc.amint.sealing import MixedRows
from amint_mpc.amint.snapshot import BACKBONE
from amint_mpc.amint.trainer import Trainer
from amint_mpc.errors import EvidenceError, UsageError
from amint_mpc.events import EpochEvent, OnProgress, StepEvent
from amint_mpc.evidence.verify import verify
from amint_mpc.runlog.expected import ExpectedEntries

__all__ = ["TOLERANCE", "Again", "ReplayHead", "Replayed", "last_step", "replay", "replayed_head", "through_all"]

TELL_EVERY = 50
OWN_LOOP = "Run that loop again, with amint_mpc.replaying in the place of amint_mpc.join"


@dataclass(frozen=True)
class Replayed:
    """Steps that were done again.

    Args:
        first, last: the steps, counted from 0. checkpoints: that were compared.
        exact: bit for bit. difference: the largest one, as a share of the largest value of its tensor.
        frames_matched: whether the gradients came out of frames with the log's digests; else they were kept.
        assumes: what is left to be believed; None: nothing of the developer's.
    """

    first: int
    last: int
    checkpoints: int
    exact: bool
    difference: float
    frames_matched: bool
    assumes: str | None


class ReplayHead(MintHead, Protocol):
    """What gives the gradients of a replay."""

    order: ScoringOrder

    @property
    def exact(self) -> bool:
        """Whether the features were, bit for bit, those that the head was given."""

    @property
    def difference(self) -> float:
        """The largest, as a share of the largest feature."""

    def expect(self, before: Point, point: Point) -> None:
        """The steps between these two come next."""

    def end(self) -> None:
        """All has been scored."""


class KeptGradients:
    """The gradients that were kept. Args: run: the developer's folder."""

    exact, difference = True, 0.0

    def __init__(self, run: Path) -> None:
        self.order: ScoringOrder = in_order
        self._run = run
        self._gradients: list[Tensor] = []

    def expect(self, before: Point, point: Point) -> None:
        """See `ReplayHead.expect`."""
        self._gradients = list(gradients_before(self._run, point, point.step - before.step))

    def step(self, features: Tensor, members: int) -> Tensor:
        """See `MintHead.step`."""
        gradient = self._gradients.pop(0)
        if gradient.shape != features.shape:
            raise EvidenceError("replay: a kept gradient has another shape than the features of its step")
        return gradient

    def seal(self, features: Tensor) -> None:
        """See `MintHead.seal`."""

    def fit(self, rows: MixedRows) -> None:
        """See `MintHead.fit`."""

    def score(self, features: Tensor) -> None:
        """See `MintHead.score`."""

    def end(self) -> None:
        """See `ReplayHead.end`."""


class Again:
    """A run whose steps are done again.

    Args:
        prover: the run and its images. head: gives the gradients. seen: what the training loop gets in its place.
    """

    def __init__(
        self, prover: Prover, head: ReplayHead, device: str, on_progress: OnProgress, seen: MintHead | None = None
    ) -> None:
        self.worst, self.compared = 0.0, 0
        self._run, self._experiment, self._head, self._on_progress = prover.run, prover.experiment, head, on_progress
        self.trainer = Trainer(prover.experiment, prover.images, seen or head, device, order=head.order)
        self._events: Iterator[object] = iter(())

    def start(self, point: Point, computed: bool) -> None:
        """Be at a checkpoint. Args: computed: from the seed on, at the first one; else from what was kept.

        Raises:
            EvidenceError: what was kept there does not follow.
        """
        kept = state_at(self._run, point)
        if computed:
            self._events = self.trainer.run()
            if point.epoch:
                self._go_to(point, "warm-up", point.epoch * self._experiment.steps_per_epoch)
            self._compare(point, kept, self.trainer.state())
            return
        try:
            self.trainer.resume(kept, point.epoch)
        except (KeyError, RuntimeError, ValueError):
            raise EvidenceError(f"replay: the state after epoch {point.epoch} is not of this classifier") from None
        self._events = self.trainer.run()

    def through(self, points: Sequence[Point]) -> None:
        """Do the steps from the first of these to the last.

        Raises:
            EvidenceError: one of them does not follow.
        """
        total = points[-1].step - points[0].step
        for before, point in pairwise(points):
            self._head.expect(before, point)
            self._go_to(point, "joint", total, points[0].step)
            mine: Mapping[str, Tensor] = self.trainer.state()
            if point.last:
                mine = {name: value for name, value in mine.items() if name.startswith(BACKBONE)}
                self._head.end()
            self._compare(point, state_at(self._run, point), mine)
            self.compared += 1

    def _go_to(self, point: Point, phase: str, total: int, first: int = 0) -> None:
        for event in self._events:
            if isinstance(event, StepEvent) and event.phase == phase:
                done = event.step - first
                if done % TELL_EVERY == 0 or done == total:
                    self._on_progress("steps" if phase == "joint" else phase, done, total)
            if isinstance(event, EpochEvent) and event.epoch == point.epoch:
                return

    def _compare(self, point: Point, kept: Mapping[str, Tensor], mine: Mapping[str, Tensor]) -> None:
        weights = {f"{BACKBONE}{name}": value for name, value in self.trainer.backbone.weights().items()}
        apart = difference(point, {**mine, **weights}, kept)
        self.worst = max(self.worst, apart)


def replay(
    run: Path, data: Path | None, first: int, last: int, device: str = "cpu", on_progress: OnProgress = lambda *_: None
) -> Replayed:
    """Do the steps again, and those around them from checkpoint to checkpoint.

    Args:
        run: the developer's folder. data: where image files lie. first, last: joint steps, counted from 0.

    Raises:
        EvidenceError: the evidence does not hold, or the next checkpoint does not follow; names it.
        UsageError: nothing was kept, or there are no such steps.
    """
    check_own_model(verify(run, ExpectedEntries).experiment, OWN_LOOP)
    prover = Prover.load(run, data)
    points = points_of(prover.found)
    if not 0 <= first <= last < points[-1].step:
        raise UsageError(f"there are no steps {first}..{last}: the run has {points[-1].step}, counted from 0")
    begin = max(number for number, point in enumerate(points) if point.step <= first)
    end = min(number for number, point in enumerate(points) if point.step > last)
    chosen = points[begin : end + 1]
    recent = prover.found.log.version > 1
    if recent:
        check_one_teacher(run, points)
    with threads_of(run), replayed_head(prover, chosen[0].step) as head:
        found = Again(prover, head, device, on_progress)
        found.start(chosen[0], recent and begin == 0)
        found.through(chosen)
        worst = max(found.worst, head.difference)
        return Replayed(
            chosen[0].step,
            chosen[-1].step - 1,
            found.compared,
            worst == 0 and head.exact,
            worst,
            chosen[0].frames,
            assumed(chosen[0], recent and begin == 0, prover.found.log.made is not None),
        )


@contextmanager
def replayed_head(prover: Prover, steps: int) -> Iterator[ReplayHead]:
    """What gives the gradients of a run from joint step `steps` on.

    Raises:
        EvidenceError: what was kept of the head is not what the log names.
    """
    if not has_frames(prover.found):
        yield KeptGradients(prover.run)
        return
    with played(prover.run, prover.found) as head:
        head.pass_over(steps)
        yield head


def through_all(prover: Prover, head: ReplayHead, seen: MintHead | None = None, device: str = "cpu") -> Trainer:
    """Do all joint steps again from the first checkpoint as it was kept. Returns the training loop at its end.

    Args:
        seen: what the loop gets in the head's place.

    Raises:
        EvidenceError, UsageError: as `replay`.
    """
    points = points_of(prover.found)
    with threads_of(prover.run):
        found = Again(prover, head, device, lambda *_: None, seen)
        found.start(points[0], computed=False)
        found.through(points)
    return found.trainer


def last_step(run: Path) -> int:
    """Of a finished run: the number of its last joint step."""
    return points_of(verify(run, ExpectedEntries))[-1].step - 1


def assumed(first: Point, computed: bool, pair: bool) -> str | None:
    """What a replay leaves to be believed.

    Args:
        computed: whether the first state was computed again. pair: whether the two parties made the masks.
    """
    left = []
    if not computed:
        left.append(f"the classifier, Adam's state and the soft labels at {first.place} came about as they should have")
    if not first.frames:
        left.append("the gradients that the developer kept are those of the auditor's head")
    elif pair:
        left.append("the masks that the developer kept are those that the two parties made")
    return "; ".join(left) or None
