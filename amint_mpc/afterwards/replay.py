"""Doing steps of a finished run again: from a checkpoint, with the logged batches and the gradients that were opened.

1. The evidence of the run is verified, and the images are those that it committed to.
2. What was kept at each checkpoint (`replay_tape`) has the digest that stands in the log.
3. The training loop goes on from the first checkpoint, with the kept gradients in the head's place; at every checkpoint
   that it comes by, the classifier has the digest that the log holds.

What follows: this classifier came from the committed images, in the agreed order, with these gradients. That they are
those of the auditor's head is the developer's word.

Edge cases
    The same machine, device and number of threads give the same bits. Elsewhere sums are rounded in another order: then
    the largest difference is told, as a share of the largest weight of its tensor, and `TOLERANCE` allowed. Within it a
    developer could hide small changes of the classifier.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from amint_mpc.afterwards.proving import Prover
from amint_mpc.amint.plaintext_head import MintHead
from amint_mpc.amint.schedule import TrainStep, schedule
from amint_mpc.amint.sealing import MixedRows
from amint_mpc.amint.snapshot import backbone_of
from amint_mpc.amint.trainer import Trainer
from amint_mpc.errors import EvidenceError, UsageError
from amint_mpc.events import EpochEvent, OnProgress, StepEvent
from amint_mpc.evidence.canonical import tensors_digest
from amint_mpc.evidence.verify import Verified, verify
from amint_mpc.runlog.expected import ExpectedEntries
from amint_mpc.runlog.replay_tape import FOLDER, digest

TOLERANCE = 1e-3
TELL_EVERY = 50
FINAL = "backbone.safetensors"


@dataclass(frozen=True)
class Point:
    """A place of the run at which the log has the classifier.

    Args:
        epoch: after which. step: the joint steps before it. backbone, kept: digests in the log.
        last: the end, where there is no state but the classifier's file.
    """

    epoch: int
    step: int
    backbone: str
    kept: str
    last: bool


@dataclass(frozen=True)
class Replayed:
    """Steps that were done again.

    Args:
        first, last: the steps, counted from 0. checkpoints: that were compared.
        exact: bit for bit. difference: the largest one, as a share of the largest weight of its tensor.
    """

    first: int
    last: int
    checkpoints: int
    exact: bool
    difference: float


class KeptGradients:
    """A head that gives the gradients that were kept."""

    def __init__(self) -> None:
        self.gradients: list[Tensor] = []
        self.beside: MintHead | None = None  # takes the same steps, and gives the scores

    def step(self, features: Tensor, members: int) -> Tensor:
        """See `MintHead.step`."""
        if self.beside is not None:
            self.beside.step(features, members)
        gradient = self.gradients.pop(0)
        if gradient.shape != features.shape:
            raise EvidenceError("replay: a kept gradient has another shape than the features of its step")
        return gradient

    def seal(self, features: Tensor) -> None:
        """See `MintHead.seal`."""

    def fit(self, rows: MixedRows) -> None:
        """See `MintHead.fit`."""

    def score(self, features: Tensor) -> Tensor | None:
        """See `MintHead.score`."""
        return None if self.beside is None else self.beside.score(features)


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
    prover = Prover.load(run, data)
    points = _points(prover.found)
    if not 0 <= first <= last < points[-1].step:
        raise UsageError(f"there are no steps {first}..{last}: the run has {points[-1].step}, counted from 0")
    begin = max(number for number, point in enumerate(points) if point.step <= first)
    end = min(number for number, point in enumerate(points) if point.step > last)
    chosen = points[begin : end + 1]
    head = KeptGradients()
    trainer = Trainer(prover.experiment, prover.images, head, device)
    start = _state(run, chosen[0])
    try:
        trainer.resume(start, chosen[0].epoch)
    except (KeyError, RuntimeError):
        raise EvidenceError(f"replay: the state after epoch {chosen[0].epoch} is not of this classifier") from None
    events, compared, worst = trainer.run(), 0, 0.0
    total = chosen[-1].step - chosen[0].step
    for before, point in pairwise(chosen):
        head.gradients = list(_gradients(run, point, point.step - before.step))
        for event in events:
            if isinstance(event, StepEvent) and event.phase == "joint":
                done = event.step - chosen[0].step
                if done % TELL_EVERY == 0 or done == total:
                    on_progress("steps", done, total)
            if isinstance(event, EpochEvent) and event.epoch == point.epoch:
                break
        worst = max(worst, _difference(run, point, trainer.backbone.weights()))
        compared += 1
    return Replayed(chosen[0].step, chosen[-1].step - 1, compared, worst == 0, worst)


def beside(run: Path, data: Path | None, head: MintHead, device: str = "cpu") -> dict[str, Tensor]:
    """Do all joint steps of a developer's run again, and let another head take the same steps on the same features.

    What a secure head computed is compared with a plaintext one this way: in two trainings the classifiers would drift
    apart, since every step grows the smallest difference.

    Args:
        run, data: as `replay`. head: takes all steps; its gradients are not used.

    Returns:
        its scores of the five sets, as `Trainer.scores`.

    Raises:
        EvidenceError, UsageError: as `replay`.
    """
    prover = Prover.load(run, data)
    points, recorded = _points(prover.found), KeptGradients()
    recorded.beside = head
    for before, point in pairwise(points):
        recorded.gradients += _gradients(run, point, point.step - before.step)
    trainer = Trainer(prover.experiment, prover.images, recorded, device)
    trainer.resume(_state(run, points[0]), points[0].epoch)
    for _ in trainer.run():
        pass
    _difference(run, points[-1], trainer.backbone.weights())
    return trainer.scores


def last_step(run: Path) -> int:
    """Of a finished run: the number of its last joint step."""
    return _points(verify(run, ExpectedEntries))[-1].step - 1


def _points(found: Verified) -> list[Point]:
    experiment, log = found.experiment, found.log
    if not experiment.evidence.replay:
        raise UsageError(
            "this run kept nothing to replay its steps with", "Set evidence.replay to true before such a run"
        )
    joint = [item for item in schedule(experiment) if isinstance(item, TrainStep) and not item.sealed]
    ends = [(entry, False) for entry in log.checkpoints]
    ends.append(({**log.end, "epoch": experiment.last_epoch}, True))
    return [
        Point(
            entry["epoch"],
            sum(item.epoch <= entry["epoch"] for item in joint),
            entry["backbone"],
            entry["replay"],
            is_last,
        )
        for entry, is_last in ends
    ]


def _state(run: Path, point: Point) -> dict[str, Tensor]:
    """What was kept at a checkpoint, checked against the log."""
    state = _read(run / FOLDER / f"state-{point.epoch}.safetensors")
    gradients = _read(run / FOLDER / f"gradients-{point.epoch}.safetensors").get("gradients", torch.empty(0))
    _check(point, digest(gradients, state))
    if tensors_digest(backbone_of(state)) != point.backbone:
        raise EvidenceError(f"replay: the state after epoch {point.epoch} holds another classifier than the log")
    return state


def _gradients(run: Path, point: Point, steps: int) -> Tensor:
    """Of the steps up to a checkpoint, [steps, n, F], checked against the log."""
    gradients: Tensor = _read(run / FOLDER / f"gradients-{point.epoch}.safetensors").get("gradients", torch.empty(0))
    state = None if point.last else _read(run / FOLDER / f"state-{point.epoch}.safetensors")
    _check(point, digest(gradients, state))
    if len(gradients) != steps:
        raise EvidenceError(f"replay: {len(gradients)} gradients were kept for {steps} steps up to epoch {point.epoch}")
    return gradients


def _check(point: Point, found: str) -> None:
    if found != point.kept:
        where = "the end" if point.last else f"the checkpoint of epoch {point.epoch}"
        raise EvidenceError(f"replay: what was kept for {where} is not what the log names", "A file was changed")


def _difference(run: Path, point: Point, mine: dict[str, Tensor]) -> float:
    """Between a replayed classifier and the logged one; 0 where every bit is the same.

    Raises:
        EvidenceError: it is more than `TOLERANCE`.
    """
    where = "the end" if point.last else f"the checkpoint of epoch {point.epoch}"
    if tensors_digest(mine) == point.backbone:
        return 0.0
    if point.last:
        theirs = _read(run / FINAL)
    else:
        state = _read(run / FOLDER / f"state-{point.epoch}.safetensors")
        theirs = backbone_of(state)
    if tensors_digest(theirs) != point.backbone or _shapes(theirs) != _shapes(mine):
        raise EvidenceError(f"replay: the classifier that was kept for {where} is not the one of the log")
    found = [
        float(
            (mine[name].double() - theirs[name].double()).abs().max()
            / theirs[name].double().abs().max().clamp(min=1e-6)
        )
        for name in mine
    ]
    worst = max(found)
    if not all(each <= TOLERANCE for each in found):  # `max` may pass over what is no number
        raise EvidenceError(
            f"replay: {where} does not follow: it differs by up to {worst:.2g} of a tensor's largest weight",
            f"On another machine {TOLERANCE:g} is allowed; the images, the order or a gradient were others",
        )
    return worst


def _shapes(tensors: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in tensors.items()}


def _read(file: Path) -> dict[str, Any]:
    try:
        return load_file(file)
    except (OSError, SafetensorError, ValueError) as error:
        raise EvidenceError(f"replay: {file.name} cannot be read ({type(error).__name__})") from None
