"""The training loop, written once: it meets the membership head only through `MintHead` and does not know which one.

Epochs are counted from 1. Warm-up epochs train the classifier on batches of members alone; the head takes no step in
them, and with distillation the warm classifier's answers on the external images, taken once at their end, are the
teacher. Every joint step takes as many external images as members through one forward pass, so that batch norms see
both. Members and external images come in a fresh random order each epoch. Same seed, same number of threads, same
machine: same result (on the CPU).

With `training.precision` the classifier's layers run in automatic mixed precision (Micikevicius et al. 2018, arXiv
1710.03740). What leaves them, features and logits, is float32, and so is the head's gradient. For float16 both losses'
gradients are scaled by the same factor; a step whose gradients overflow is left out by the classifier alone.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from amint_mpc.amint import snapshot
from amint_mpc.amint.metrics import accuracy_figure, calibration_figures
from amint_mpc.amint.objective import JointObjective
from amint_mpc.amint.plaintext_head import MintHead
from amint_mpc.amint.schedule import SCORE_BATCH, ScheduleCursor, ScoreSets, ShareFeatures, TrainStep
from amint_mpc.amint.scoring import ScoringOrder, in_order, sets_of
from amint_mpc.amint.sealing import mixed_rows, rounded
from amint_mpc.amint.stopping import Rewind, Stopper
from amint_mpc.amint.transfer import AsyncHostCopy
from amint_mpc.config import Experiment
from amint_mpc.data.order import epoch_orders
from amint_mpc.data.split import SETS, SplitImages
from amint_mpc.errors import UsageError
from amint_mpc.events import EpochEvent, Phase, StepEvent
from amint_mpc.models.classifier import build_classifier, to_unit_range
from amint_mpc.results import Figure


class Trainer:
    """One run of an experiment.

    Args:
        experiment: the agreed settings.
        images: members, external and unseen images.
        head: the membership head; None trains the classifier without it (the task alone, or, if the experiment has
            distillation, the task with distillation): what the price of the head is measured against.
        device: of the classifier; "auto" takes an accelerator where there is one.
        overlap: let the head's step run in a thread of its own while the classifier goes on. Changes no result.
        stopper: with `training.patience`, decides after each evaluation; None: train to the last epoch.
        order: in which the images of a scoring go to the head.

    Attributes:
        stopped: the epoch after which the stopper ended the training, else None.
        backbone: the classifier with its taps' features (`amint_mpc.models.Classifier`).
        scores: after `run`, set name -> membership probabilities [count]; empty where the head tells none.
        soft_labels: after the warm-up, the teacher's class probabilities for the external images [external, classes],
            or None without distillation.
    """

    def __init__(
        self,
        experiment: Experiment,
        images: SplitImages,
        head: MintHead | None,
        device: str | torch.device = "auto",
        overlap: bool = False,
        stopper: Stopper | None = None,
        order: ScoringOrder = in_order,
    ) -> None:
        self.experiment = experiment
        self.images = images
        self.head = head
        self.device = pick_device(device)
        self.scores: dict[str, Tensor] = {}
        self.soft_labels: Tensor | None = None
        self.stopped: int | None = None
        self._order = order
        self._stopper = stopper if experiment.training.patience else None
        self._rewind = Rewind(experiment.training.patience, self._copied, self._load)
        self._worker = ThreadPoolExecutor(1, "head") if overlap and head is not None else None
        classifier = build_classifier(experiment, tuple(images.members.shape[1:]), images.classes)
        # Not channels_last: a quarter faster here, but torch 2.14's backward pass then writes past its memory at
        # widths below 8.
        self.backbone = classifier.to(self.device)
        training = experiment.training
        self._optimizer = torch.optim.Adam(self.backbone.parameters(), lr=training.learning_rate, fused=True)
        self._rate = torch.optim.lr_scheduler.LambdaLR(self._optimizer, self._cooled)
        self._half = None if training.precision == "float32" else getattr(torch, training.precision)
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=self._half == torch.float16)
        self._objective = JointObjective(training.mint_weight, training.distillation)
        self._members, self._external = images.members.to(self.device), images.external.to(self.device)
        self._labels = images.member_labels.to(self.device)
        self._orders = epoch_orders(experiment)
        self._passed: dict[str, tuple[Tensor, Tensor]] = {}  # logits and features of sets, by the last classifier
        self._resumed_after = 0

    def run(self) -> Iterator[StepEvent | EpochEvent]:
        """Train, and tell of every step and epoch.

        Raises:
            ProtocolError: the head refused a value (or, from a secure head, whatever its link raises).
        """
        if not self._resumed_after:
            yield from self._warm_up()
        if self.soft_labels is None:  # a state that was kept before it held them
            self._teach()
        try:
            yield from self._joint_epochs()
        finally:
            if self._worker is not None:  # not waited for: after an error its link is still to be closed
                self._worker.shutdown(wait=False, cancel_futures=True)

    def _joint_epochs(self) -> Iterator[StepEvent | EpochEvent]:
        cursor = ScheduleCursor(self.experiment)
        while (epoch := cursor.next_epoch) is not None:
            if epoch <= self._resumed_after:
                deque(cursor.of_epoch(epoch), maxlen=0)
                continue
            start = time.perf_counter()
            figures: dict[str, float] = {}
            phase: Phase = "score"
            for item in cursor.of_epoch(epoch):
                if isinstance(item, ScoreSets):
                    figures, scores = self._score(item)
                    if self._stopper is not None and not item.final:
                        figures |= self._evaluated(self._stopper, epoch, scores, cursor)
                elif isinstance(item, ShareFeatures):
                    self._seal()
                else:
                    if phase == "score" and not item.sealed:
                        members, external = self._epoch_order()
                    phase = item.phase
                    at = item.number % self.experiment.steps_per_epoch
                    yield self._sealed_step(item) if item.sealed else self._joint_step(item, members[at], external[at])
            at = self.stopped if phase == "score" and self.stopped is not None else epoch
            yield self._epoch_event(at, phase, start, figures)

    def _evaluated(
        self, stopper: Stopper, epoch: int, scores: dict[str, Tensor], cursor: ScheduleCursor
    ) -> dict[str, float]:
        """Let the stopper look at an evaluation. Returns what it tells of it."""
        self._rewind.keep()
        if stopper.evaluated(scores, cursor):
            self._rewind.go_back()
            self.stopped = epoch
        return stopper.figures

    def _copied(self) -> dict[str, Tensor]:
        return {name: value.detach().to("cpu", copy=True) for name, value in self.backbone.state_dict().items()}

    def _load(self, state: dict[str, Tensor]) -> None:
        self.backbone.load_state_dict(state)

    def state(self) -> dict[str, Tensor]:
        """What the next joint steps depend on, but for experiment and images: a copy on the CPU."""
        return snapshot.take(self.backbone, self._optimizer, self._objective, self.soft_labels)

    def resume(self, state: Mapping[str, Tensor], epoch: int) -> None:
        """Go on after `epoch`, which is no earlier than the warm-up's last: `run` begins with the epoch that follows.

        Args:
            state: what `state` gave at the end of that epoch, in a run of the same experiment on the same images.

        Raises:
            KeyError, RuntimeError: it is not of this classifier.
        """
        self.soft_labels = snapshot.put_back(state, self.backbone, self._optimizer, self._objective, self.device)
        training = self.experiment.training
        taken = (epoch - training.warmup_epochs) * self.experiment.steps_per_epoch
        self._rate.load_state_dict({**self._rate.state_dict(), "last_epoch": taken})
        for group in self._optimizer.param_groups:
            group["lr"] = training.learning_rate * self._cooled(taken)
        for _ in range(epoch):
            next(self._orders)
        self._resumed_after = epoch

    def task_accuracy(self) -> Figure:
        """Share of unseen report images that are classified rightly."""
        return accuracy_figure(self._correct("unseen_report"), self.experiment.seed)

    def _warm_up(self) -> Iterator[StepEvent | EpochEvent]:
        epochs = self.experiment.training.warmup_epochs
        for epoch in range(1, epochs + 1):
            start = time.perf_counter()
            for at, rows in enumerate(self._epoch_order()[0], start=1):
                step_start = time.perf_counter()
                with self._autocast():
                    logits = self.backbone.logits(self._pixels(rows))
                total, losses = self._objective.plaintext_part(logits.float(), self._labels[rows])
                self._update(total)
                done = (epoch - 1) * self.experiment.steps_per_epoch + at
                yield self._step_event(done, epoch, "warm-up", step_start, losses)
            figures = {"task_accuracy": float(self._correct("unseen_calibration").mean())} if epoch == epochs else {}
            if epoch == epochs:
                self._teach()
            yield self._epoch_event(epoch, "warm-up", start, figures)

    def _teach(self) -> None:
        """The classifier as it is becomes the teacher, with distillation."""
        if self.experiment.training.distillation > 0:
            self.soft_labels = self._pass("external")[0].to(self.device).softmax(1)

    def _joint_step(self, item: TrainStep, members: Tensor, external: Tensor) -> StepEvent:
        start = time.perf_counter()
        labels = self._labels[members]
        pixels = self._pixels(members)
        if self.head is not None or self.soft_labels is not None:
            pixels = torch.cat([pixels, self._pixels(external, members=False)])
        soft_labels = None if self.soft_labels is None else self.soft_labels[external]
        if self.head is None:
            with self._autocast():
                logits = self.backbone(pixels)[0]
            total, losses = self._objective.plaintext_part(logits.float(), labels, soft_labels)
            self._update(total)
            self._rate.step()
            return self._step_event(item.index + 1, item.epoch, "joint", start, losses)
        # The graph is cut behind the taps. While the head works, the rest of the backbone goes forward, and the task's
        # gradient backward to the cut; then both gradients go on from there together. The cut is there with the overlap
        # switched off, too, so that it changes no bit of the result.
        with self._autocast():
            features, second = self.backbone.tapped(pixels)
        gradient = self._begin(self.head, AsyncHostCopy(features.detach()), len(members))
        cut = second.detach().requires_grad_()
        with self._autocast():
            logits = self.backbone.backbone.finish(cut)
        total, losses = self._objective.plaintext_part(logits.float(), labels, soft_labels)
        self._optimizer.zero_grad()
        self._scaler.scale(total).backward()  # type: ignore[no-untyped-call]
        secure_start = time.perf_counter()
        seed = self._objective.seed(features, gradient.result())
        secure = time.perf_counter() - secure_start
        torch.autograd.backward([second, features], [cut.grad, self._scaler.scale(seed)])
        self._step()
        self._rate.step()
        return self._step_event(item.index + 1, item.epoch, "joint", start, losses, secure)

    def _seal(self) -> None:
        """Share the features of the frozen classifier, and begin with a fresh head."""
        self._passed = {name: self._pass(name) for name in SETS}
        if self.head is not None:
            known = [self._passed[name][1] for name in SETS if not name.startswith("unseen")]
            self.head.seal(rounded(torch.cat(known)))

    def _sealed_step(self, item: TrainStep) -> StepEvent:
        """A step of the head alone."""
        start = time.perf_counter()
        if self.head is not None:
            self.head.fit(mixed_rows(self.experiment, item.number))
        seconds = time.perf_counter() - start
        return self._step_event(item.index + 1, item.epoch, "sealed", start, {}, seconds)

    def _cooled(self, taken: int) -> float:
        """What the learning rate is multiplied by after so many joint steps: 1, then in a straight line to 0."""
        training = self.experiment.training
        steps = training.epochs * self.experiment.steps_per_epoch
        return min(1.0, (steps - taken) / (steps * training.cooldown)) if training.cooldown else 1.0

    def _begin(self, head: MintHead, features: AsyncHostCopy, members: int) -> Future[Tensor]:
        """Start the head's step: in its own thread with the overlap, else here and now."""

        def step() -> Tensor:
            return head.step(features.wait(), members)

        if self._worker is not None:
            return self._worker.submit(step)
        done: Future[Tensor] = Future()
        done.set_result(step())
        return done

    def _autocast(self) -> AbstractContextManager[None]:
        """Around what the classifier's layers compute; nothing with float32."""
        return torch.autocast(self.device.type, dtype=self._half, enabled=self._half is not None)

    def _update(self, total: Tensor) -> None:
        self._optimizer.zero_grad()
        self._scaler.scale(total).backward()  # type: ignore[no-untyped-call]
        self._step()

    def _step(self) -> None:
        self._scaler.step(self._optimizer)
        self._scaler.update()

    def _score(self, item: ScoreSets) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Figures and, where the head tells them, scores of the sets."""
        names = [name for name, _ in item.sets]
        passed = {name: self._passed.get(name) or self._pass(name) for name in names}
        logits, right = passed["unseen_calibration"][0], self.images.unseen_label_half("unseen_calibration")
        figures = {"task_accuracy": float((logits.argmax(1) == right).float().mean())}
        scores: dict[str, Tensor] = {}
        if self.head is not None:
            order = self._order(item)
            found = self.head.score(torch.cat([passed[name][1] for name in names])[order])
            if found is not None:
                scores = sets_of(item, order, found)
        if item.final:
            self.scores = scores
        return figures | (calibration_figures(scores) if scores else {}), scores

    @torch.no_grad()
    def _pass(self, name: str) -> tuple[Tensor, Tensor]:
        """Logits and features of one of the five sets, on the CPU, with running statistics."""
        images = self.images.images(name)
        found = [self._eval(to_unit_range(batch.to(self.device))) for batch in torch.split(images, SCORE_BATCH)]
        logits, features = (torch.cat(parts).cpu() for parts in zip(*found, strict=True))
        return logits.float(), features

    @torch.no_grad()
    def _eval(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and features with running statistics."""
        self.backbone.eval()
        with self._autocast():
            logits, features = self.backbone(pixels)
        self.backbone.train()
        return logits, features

    def _correct(self, name: str) -> Tensor:
        logits = (self._passed.get(name) or self._pass(name))[0]
        return (logits.argmax(1) == self.images.unseen_label_half(name)).double()

    def _epoch_order(self) -> tuple[Tensor, Tensor]:
        """Rows of members and of external images for each step of the next epoch, [steps, batch] each."""
        members, external = (torch.from_numpy(rows).to(self.device) for rows in next(self._orders))
        return members, external

    def _pixels(self, rows: Tensor, *, members: bool = True) -> Tensor:
        return to_unit_range((self._members if members else self._external)[rows])

    def _step_event(
        self, done: int, epoch: int, phase: Phase, start: float, losses: dict[str, Tensor], secure: float = 0.0
    ) -> StepEvent:
        experiment, values = self.experiment, {name: float(value) for name, value in losses.items()}
        epochs = experiment.training.warmup_epochs if phase == "warm-up" else experiment.training.epochs
        steps = epochs * experiment.steps_per_epoch + (0 if phase == "warm-up" else experiment.sealed_steps)
        seconds = time.perf_counter() - start
        return StepEvent(done, steps, epoch, phase, seconds, values, secure)

    def _epoch_event(self, epoch: int, phase: Phase, start: float, figures: dict[str, float]) -> EpochEvent:
        return EpochEvent(epoch, self.experiment.last_epoch, phase, time.perf_counter() - start, figures)


def pick_device(name: str | torch.device) -> torch.device:
    """The device of that name; "auto" is the accelerator if there is one, else the CPU.

    Raises:
        UsageError: no such device here.
    """
    try:
        if name == "auto":
            found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
            return found or torch.device("cpu")
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(f"there is no device {name!r} here", "Set device to auto, cpu or cuda.") from error
    return device
