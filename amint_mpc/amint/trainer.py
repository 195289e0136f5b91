"""The training loop of this program: the first user of `Audit`, which it meets as any other loop would.

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

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from amint_mpc.amint import snapshot
from amint_mpc.amint.audit import Audit
from amint_mpc.amint.batches import Batch
from amint_mpc.amint.metrics import accuracy_figure
from amint_mpc.amint.mint_loss import Waiting
from amint_mpc.amint.objective import JointObjective
from amint_mpc.amint.plaintext_head import MintHead
from amint_mpc.amint.scoring import ScoringOrder, in_order
from amint_mpc.amint.seat import Seat, Unwatched
from amint_mpc.amint.stopping import Stopper
from amint_mpc.config import Experiment
from amint_mpc.data.split import SplitImages
from amint_mpc.errors import UsageError
from amint_mpc.events import EpochEvent, StepEvent
from amint_mpc.models.classifier import build_classifier
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
        order: in which the images of a scoring go to the head. waiting: stands around waits for the head.

    Attributes:
        audit: where the loop meets the head; it knows what has been scored, taught and stopped.
        backbone: the classifier with its taps' features (`amint_mpc.models.Classifier`).
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
        *,
        waiting: Waiting = nullcontext,
    ) -> None:
        self.experiment = experiment
        self.images = images
        self.device = pick_device(device)
        classifier = build_classifier(experiment, tuple(images.members.shape[1:]), images.classes)
        # Not channels_last: a quarter faster here, but torch 2.14's backward pass then writes past its memory at
        # widths below 8.
        self.backbone = classifier.to(self.device)
        training = experiment.training
        self._optimizer = torch.optim.Adam(self.backbone.parameters(), lr=training.learning_rate, fused=True)
        self._rate = torch.optim.lr_scheduler.LambdaLR(self._optimizer, self._cooled)
        self._half = None if training.precision == "float32" else getattr(torch, training.precision)
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=self._half == torch.float16)
        self._objective = JointObjective(training.distillation)
        self._events = _Events()
        self.audit = Audit(experiment, lambda _: Seat(head, self._events, order, stopper), None, overlap, waiting)
        self.model, self.features = classifier.backbone, classifier.features
        self.audit.judge(self)
        self._loader = self.audit.loader_of(images)

    @property
    def stopped(self) -> int | None:
        """The epoch after which the stopper ended the training, else None."""
        return self.audit.stopped

    @property
    def scores(self) -> dict[str, Tensor]:
        """After `run`, set name -> membership probabilities [count]; empty where the head tells none."""
        return self.audit.scores

    @property
    def soft_labels(self) -> Tensor | None:
        """The teacher's probabilities for the external images [external, classes], with distillation."""
        return self.audit.soft_labels

    def run(self) -> Iterator[StepEvent | EpochEvent]:
        """Train, and tell of every step and epoch.

        Raises:
            ProtocolError: the head refused a value (or, from a secure head, whatever its link raises).
        """
        try:
            while not self.audit.trained:
                for batch in self._loader:
                    self._take(batch)
                    self.audit.close_step()
                    yield from self._events.drained()
                yield from self._events.drained()
            for _ in self.audit.ending():
                yield from self._events.drained()
        finally:
            self.audit.close()

    def evaluate(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See `taps.Judged`."""
        with self._autocast():
            found: tuple[Tensor, Tensor] = self.backbone(images)
        return found

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
        soft_labels = snapshot.put_back(state, self.backbone, self._optimizer, self._objective, self.device)
        training = self.experiment.training
        taken = (epoch - training.warmup_epochs) * self.experiment.steps_per_epoch
        self._rate.load_state_dict({**self._rate.state_dict(), "last_epoch": taken})
        for group in self._optimizer.param_groups:
            group["lr"] = training.learning_rate * self._cooled(taken)
        self.audit.resume(epoch, soft_labels)

    def task_accuracy(self) -> Figure:
        """Share of unseen report images that are classified rightly."""
        return accuracy_figure(self.audit.right("unseen_report").double(), self.experiment.seed)

    def _take(self, batch: Batch) -> None:
        """One step. L_mint comes before the rest of the backbone, which the head's work goes on beside."""
        joint = batch.phase == "joint"
        with self._autocast():
            maps = self.model.tapped(batch.images)
        mint = self.audit.loss(maps)
        with self._autocast():
            logits = self.model.finish(maps[1])
        total, losses = self._objective.plaintext_part(logits.float(), batch.labels, batch.soft_labels)
        self.audit.tell(**losses)
        self._optimizer.zero_grad()
        self._scaler.scale(total + mint).backward()  # type: ignore[no-untyped-call]
        self._step()
        if joint:
            self._rate.step()

    def _cooled(self, taken: int) -> float:
        """What the learning rate is multiplied by after so many joint steps: 1, then in a straight line to 0."""
        training = self.experiment.training
        steps = training.epochs * self.experiment.steps_per_epoch
        return min(1.0, (steps - taken) / (steps * training.cooldown)) if training.cooldown else 1.0

    def _autocast(self) -> AbstractContextManager[None]:
        """Around what the classifier's layers compute; nothing with float32."""
        return torch.autocast(self.device.type, dtype=self._half, enabled=self._half is not None)

    def _step(self) -> None:
        self._scaler.step(self._optimizer)
        self._scaler.update()


class _Events(Unwatched):
    """Keeps what the audit tells until the loop passes it on."""

    def __init__(self) -> None:
        self._kept: deque[StepEvent | EpochEvent] = deque()

    def tell(self, event: StepEvent | EpochEvent) -> None:
        """See `Watch`."""
        self._kept.append(event)

    def drained(self) -> Iterator[StepEvent | EpochEvent]:
        """Each once."""
        while self._kept:
            yield self._kept.popleft()


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
