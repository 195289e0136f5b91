"""The plaintext twin: the same training with the head in this process. Nothing is hidden from anybody."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor

from amint_mpc.amint.audit import Audit
from amint_mpc.amint.metrics import accuracy_figure, membership_figures
from amint_mpc.amint.seat import Seat, Unwatched
from amint_mpc.amint.stopping import Rewind, Stopping, by_scores, told
from amint_mpc.amint.trainer import Trainer
from amint_mpc.config import Experiment, Party
from amint_mpc.data.split import SplitImages, load_split
from amint_mpc.events import EpochEvent, Event, Notice, StepEvent
from amint_mpc.models.classifier import feature_count
from amint_mpc.models.head_weights import seeded_normal
from amint_mpc.results import Figure, Outcome, Summary
from amint_mpc.roles.heads import PlainHead, head_kind
from amint_mpc.roles.meter import all_steps
from amint_mpc.runfolder import RunFolder

FRESH = 2**31  # above all seeds: the head of the sealed epochs is another one than the first
USUAL_DISTILLATION = 0.3  # for the baseline of an experiment that has none


def run(
    experiment: Experiment,
    party: Party,
    folder: RunFolder,
    on_event: Callable[[Event], None],
    first: Mapping[str, Tensor] | None = None,
    loop: Callable[[Audit], object] | None = None,
) -> Summary:
    """Train, and return the summary (it also goes to summary.json).

    Args:
        first: weights of the first head by name; None: drawn by the experiment's seed.
        loop: a training loop of one's own, in place of this program's.

    With `training.mint_weight` 0 there is no head: the classifier is trained on its task alone.
    """
    if loop is not None:
        return _of_loop(experiment, party, folder, on_event, first, loop)
    on_event(Notice(f"reading {experiment.data.dataset}"))
    images = load_split(experiment, party.data, lambda text: on_event(Notice(text)))
    head = None if experiment.training.mint_weight == 0 else _head(experiment, first)
    stopper = None if head is None else head_stopping(head, experiment)
    trainer = Trainer(experiment, images, head, party.device, stopper=stopper)
    part = _Part(experiment, folder, on_event, images, head, trainer.audit)
    for event in trainer.run():
        part.tell(event)
    part.finish()
    return part.summary


class _Part(Unwatched):
    """Writes down what an audit of the twin does."""

    summary: Summary

    def __init__(
        self,
        experiment: Experiment,
        folder: RunFolder,
        on_event: Callable[[Event], None],
        images: SplitImages,
        head: PlainHead | None,
        audit: Audit,
    ) -> None:
        self._experiment, self._folder, self._on_event, self._images = experiment, folder, on_event, images
        self._head, self._audit = head, audit
        self._start, self._steps = time.perf_counter(), list[StepEvent]()

    def tell(self, event: StepEvent | EpochEvent) -> None:
        """See `Watch`."""
        if isinstance(event, EpochEvent):  # what an interrupted run leaves
            self._folder.save_tensors("backbone.safetensors", self._audit.weights())
            if self._head is not None:
                self._folder.save_tensors("head.safetensors", self._head.weights.tensors())
        self._on_event(event)
        if isinstance(event, StepEvent) and event.phase != "warm-up":
            self._steps.append(event)

    def finish(self) -> dict[str, Figure]:
        """See `Watch`."""
        experiment, audit = self._experiment, self._audit
        if audit.stopped is not None:
            patience = experiment.training.patience
            self._on_event(Notice(f"no better for {patience} evaluations: training ended"))
        found = Outcome(seconds=time.perf_counter() - self._start)
        found |= all_steps(self._steps) | told(experiment, audit.stopped)
        figures = {"task_accuracy": accuracy_figure(audit.right("unseen_report").double(), experiment.seed)}
        if self._head is not None:
            self._folder.save_tensors("scores.safetensors", audit.scores)
            membership = membership_figures(audit.scores, experiment.seed)
            figures = membership.figures | figures
            found |= Outcome(threshold=membership.threshold)
        self.summary = self._folder.finish(found | self._images.summary() | Outcome(figures=figures))
        return figures


def _of_loop(
    experiment: Experiment,
    party: Party,
    folder: RunFolder,
    on_event: Callable[[Event], None],
    first: Mapping[str, Tensor] | None,
    loop: Callable[[Audit], object],
) -> Summary:
    parts: list[_Part] = []

    def take_seat(images: SplitImages) -> Seat:
        head = None if experiment.training.mint_weight == 0 else _head(experiment, first)
        parts.append(_Part(experiment, folder, on_event, images, head, audit))
        return Seat(head, parts[0], stopper=None if head is None else head_stopping(head, experiment))

    def read() -> SplitImages:
        return load_split(experiment, party.data, lambda text: on_event(Notice(text)))

    audit = Audit(experiment, take_seat, read, party.overlap)
    try:
        loop(audit)
    finally:
        audit.close()
    audit.check_finished()
    return parts[0].summary


def check(experiment: Experiment, party: Party) -> None:
    """Read the images and size the head, before anything dear starts.

    Raises:
        UsageError, DataError: as a run would, later.
    """
    images = load_split(experiment, party.data)
    feature_count(experiment, tuple(images.members.shape[1:]))


def baselines(experiment: Experiment) -> dict[str, Experiment]:
    """What the price of the head is measured against: the same classifier without it, without and with distillation."""
    training = experiment.training
    weight = training.distillation or USUAL_DISTILLATION
    headless = {"mint_weight": 0.0, "patience": 0, "sealed_epochs": 0}  # without scores nothing ends them early
    return {
        "task-alone": _with(experiment, **headless, distillation=0.0),
        "task-with-distillation": _with(
            experiment, **headless, distillation=weight, warmup_epochs=max(1, training.warmup_epochs)
        ),
    }


def head_stopping(head: PlainHead, experiment: Experiment) -> Stopping[Any]:
    """Early stopping by the scores of a head in this process."""
    patience = experiment.training.patience
    rewind = Rewind(patience, lambda: head.weights, lambda weights: setattr(head, "weights", weights))
    return Stopping(by_scores(patience), rewind)


def _head(experiment: Experiment, first: Mapping[str, Tensor] | None = None) -> PlainHead:
    kind = head_kind(experiment)

    def drawn(seed: int) -> PlainHead:
        return kind.plaintext(kind.first_weights(seeded_normal(seed)), experiment.head)

    head = drawn(experiment.seed) if first is None else kind.plaintext(first, experiment.head)
    head.fresh = partial(drawn, FRESH + experiment.seed)
    return head


def _with(experiment: Experiment, **changes: Any) -> Experiment:
    return experiment.model_copy(update={"training": experiment.training.model_copy(update=changes)})
