"""`Audit`: where a training loop, ours or anybody's, meets the membership head.

    audit.tap(model, "layer2", "layer3")                    # modules whose outputs the head sees
    loader = audit.loader(members, external, unseen)        # torch datasets of (uint8 image, label)
    for epoch in range(audit.epochs):
        for batch in loader:
            logits = model(batch.images)                    # members first, then as many external images
            loss = task(logits[batch.members], batch.labels) + audit.loss()
            loss.backward(); optimizer.step(); optimizer.zero_grad()
    figures = audit.finish()

The loop decides how it trains; the audit sees to what the experiment has agreed on: the images of each step, the steps
of the head, its scorings and sealed epochs, early stopping. It knows the head only as `MintHead`: the same loop runs
with a secure head, in the clear, and again in a replay.

Guarantees
    Same seed, number of threads and machine: same result, whatever the overlap and the number of workers.
    Each step of the experiment is taken once, with the agreed images, or the audit ends with an error.

Edge cases
    What a loop does with a batch before its model sees it, and with gradients after, is its own affair. A log shows the
    agreed images and what the head was given, not that the one came out of the other; a replay shows that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from amint_mpc.amint import snapshot
from amint_mpc.amint.batches import Batch, Batches, Loader, Transform
from amint_mpc.amint.evaluation import Evaluation
from amint_mpc.amint.loop_errors import half_done, no_step, too_early
from amint_mpc.amint.mint_loss import HeadSteps, PendingStep, Waiting
from amint_mpc.amint.objective import MINT_START
from amint_mpc.amint.schedule import ScheduleCursor, ScoreSets, ShareFeatures
from amint_mpc.amint.seat import Seat, Unwatched
from amint_mpc.amint.stopping import Rewind
from amint_mpc.amint.taps import Judged, Taps, agreed_features, own_features
from amint_mpc.amint.told import Told
from amint_mpc.config import Experiment
from amint_mpc.data.order import epoch_orders
from amint_mpc.data.own_sets import own_sets
from amint_mpc.data.split import SplitImages
from amint_mpc.errors import UsageError
from amint_mpc.events import Phase
from amint_mpc.models.classifier import to_unit_range
from amint_mpc.results import Figure


class Audit:
    """See the module. Made by `amint_mpc.join`, `train`, `run_in_process` and `replaying`.

    Args:
        experiment: the agreed settings.
        take_seat: called once, with the images, before the first epoch: connects to whoever has the head.
        read: the experiment's own images, for a `loader` without datasets.
        overlap: the head's step goes on in a thread while the classifier does. waiting: stands around waits for it.

    Attributes:
        epochs: times that the loader is iterated: warm-up and joint epochs.
        stopped: the epoch after which training was ended early, else None; the loader is empty from then on.
        finished: `finish` has come to its end.
        figures: of the epoch that ended last, by name; empty where it had no scoring.
        scores: after `finish`, set name -> membership probabilities [count], where the head tells them.
        soft_labels: after the warm-up, with distillation, the teacher's probabilities for all external images.
    """

    def __init__(
        self,
        experiment: Experiment,
        take_seat: Callable[[SplitImages], Seat],
        read: Callable[[], SplitImages] | None = None,
        overlap: bool = True,
        waiting: Waiting = nullcontext,
    ) -> None:
        self.experiment = experiment
        self.epochs = experiment.training.warmup_epochs + experiment.training.epochs
        self.stopped: int | None = None
        self.finished = False
        self.figures: dict[str, float] = {}
        self.scores: dict[str, Tensor] = {}
        self.soft_labels: Tensor | None = None
        self._take_seat, self._read, self._overlap, self._waiting = take_seat, read, overlap, waiting
        self._seat = Seat(None, Unwatched())
        self._judged: Judged | None = None
        self._taps: Taps | None = None
        self._parts: list[Any] = []
        self._rewind = Rewind(experiment.training.patience, self._copied, lambda old: self._both().load_state_dict(old))
        self._cursor, self._orders = ScheduleCursor(experiment), epoch_orders(experiment)
        self._told = Told(experiment)
        self._steps: HeadSteps | None = None
        self._begun = self._at = 0  # epochs; steps of an epoch that has not ended
        self._batch: Batch | None = None
        self._step: PendingStep | None = None
        self._token = torch.zeros(())

    # what a loop calls

    def tap(self, model: nn.Module, *names: str, forward: Callable[[Tensor], Any] | None = None) -> None:
        """Let the head see what modules of a model give.

        Args:
            model: any; a compiled or wrapped one, too.
            names: of modules, as in `model.named_modules()`. With none the model gives (logits, maps) itself, and the
                loop passes the maps to `loss`.
            forward: images -> logits, for the audit's own forward passes in eval mode; None: the model.

        Raises:
            UsageError: there is no such module; the nearest names are told.
        """
        if self._judged is not None:
            raise UsageError("a model is tapped already", "An audit has one model")
        self._judged = self._taps = Taps(model, names, agreed_features(self.experiment), self._attach, forward)

    def loader(
        self,
        members: Any = None,
        external: Any = None,
        unseen: Any = None,
        *,
        transform: Transform = to_unit_range,
        num_workers: int = 0,
    ) -> Loader:
        """The batches of the training (`batches.Batch`), in the agreed order: an epoch each time that it is iterated.

        After the last batch of an epoch the audit does what the schedule says: it scores sets by the tapped model in
        eval mode, writes a checkpoint into the log, stops early.

        Args:
            members, external, unseen: torch datasets of (image, label), by index, as many as the experiment says.
                Images are uint8 [C, H, W], or PIL images, before any preprocessing: a log commits to these pixels.
                Labels of external images are not read. With none of the three: the experiment's own images.
            transform: uint8 images [n, C, H, W] -> what the model takes, in training and in evaluation. The default
                divides by 255.
            num_workers: processes that read ahead. They change no result.

        Raises:
            UsageError: no model has been tapped, or the sets have other sizes.
            PeerError, ProtocolError: as whoever has the head raises them.
        """
        self._model()
        if members is None and self._read is not None:
            return self.loader_of(self._read(), transform, num_workers)
        return self.loader_of(own_sets(self.experiment, members, external, unseen, num_workers), transform, num_workers)

    def loss(self, maps: Tensor | Sequence[Tensor] | None = None) -> Tensor:
        """The membership loss of this batch, weighted as agreed: a scalar to be added to the task's loss.

        Its VALUE is 0: L_mint is never opened. Its gradient is the head's, which backward waits for where it needs it.
        In warm-up epochs it has none.

        Args:
            maps: what the model gave, where it was tapped without names: [n, ...], in the order of the batch. Call it
                as soon as they exist, before the rest of the forward pass, and the head works meanwhile.

        Raises:
            UsageError: there is no batch; or the forward pass came by no tapped module, or had no graph.
        """
        if self._batch is None:
            raise UsageError(
                "the membership loss was asked for without a batch of audit.loader",
                "Iterate audit.loader: steps take the agreed images, in the agreed order",
            )
        nothing = torch.zeros((), device=self._batch.images.device)
        if self._batch.phase == "warm-up":
            return nothing
        features = None
        if maps is not None:
            features = own_features(self._model().features, maps, len(self._batch.images), self._batch.head)
        if self._steps is None:  # a classifier without a head has features all the same
            return nothing
        if features is not None:
            self._token = self._begin_step(features).loss(features)
        if self._step is None:
            raise self._no_step()
        if self._step.taken:
            raise UsageError("audit.loss() was taken twice in one step", "Take it once a batch, and keep the value")
        self._step.taken = True
        return self._token

    def keep(self, *parts: Any) -> None:
        """Optimizer, scheduler, scaler: their `state_dict()` goes into what `evidence.replay` keeps at checkpoints."""
        self._parts += parts

    def tell(self, **losses: Tensor | float) -> None:
        """Values of this step for the screen and the run folder, by name."""
        self._told.losses |= losses

    def finish(self) -> dict[str, Figure]:
        """After the last epoch: the sealed epochs, the last scoring, the log's end.

        Returns:
            the figures that are known here, by name.

        Raises:
            UsageError: epochs are missing.
        """
        if self.finished:
            raise UsageError("audit.finish() was called before", "Call it once, after the last epoch")
        for _ in self.ending():
            pass
        found = self._seat.watch.finish()
        self.finished = True
        return found

    # what others ask

    def weights(self) -> dict[str, Tensor]:
        """Weights and running statistics of the model and its features, on the CPU, as the log names them."""
        return {name: value.detach().cpu().contiguous() for name, value in self._both().state_dict().items()}

    def state(self) -> dict[str, Tensor]:
        """What the next steps depend on, as far as the audit knows: a copy on the CPU."""
        return snapshot.of_loop(self._both(), self._parts, self.soft_labels)

    def right(self, name: str) -> Tensor:
        """Which images of `unseen_calibration` or `unseen_report` the model classifies rightly, bool [count]."""
        return self._evaluation.right(name)

    @property
    def trained(self) -> bool:
        """Whether no epoch of the loader is left."""
        return self._begun >= self.epochs or self.stopped is not None

    # what a training of this program calls besides

    def judge(self, judged: Judged) -> None:
        """In place of `tap`, for a loop that gives its maps to `loss`."""
        self._judged = judged

    def loader_of(self, images: SplitImages, transform: Transform = to_unit_range, workers: int = 0) -> Loader:
        """The same as `loader`, of images that are here; takes the seat."""
        judged = self._model()
        if self._steps is not None:
            raise UsageError("the loader exists already", "Iterate it once an epoch; an audit has one")
        self._device = next((each.device for each in judged.model.parameters()), torch.device("cpu"))
        judged.features.to(self._device)
        self._batches = Batches(images, self._device, transform, workers)
        self._evaluation = Evaluation(images, judged, self._batches)
        if self._taps is not None:
            self._evaluation.try_out(self._taps)
        self._seat = self._take_seat(images)
        if self._seat.head is not None:
            weight = self.experiment.training.mint_weight / MINT_START
            self._steps = HeadSteps(self._seat.head, weight, self._overlap, self._waiting)
        return Loader(self._epoch, self.experiment.steps_per_epoch)

    def resume(self, epoch: int, soft_labels: Tensor | None) -> None:
        """Go on after an epoch, with the model as it was then."""
        self.soft_labels, self._begun = soft_labels, epoch
        for _ in range(epoch):
            next(self._orders)
        while (coming := self._cursor.next_epoch) is not None and coming <= epoch:
            deque(self._cursor.of_epoch(coming), maxlen=0)

    def close_step(self) -> None:
        """The step of this batch is over. Raises: UsageError: its loss was not taken, or did not go backward."""
        batch, step = self._batch, self._step
        if batch is None:
            return
        if batch.phase == "joint" and self._steps is not None:
            if step is None:
                raise self._no_step()
            if not (step.taken and step.joined):
                raise half_done(step.taken)
        if self._taps is not None:
            self._taps.rest()
        self._batch = self._step = None
        self._at += 1
        done = self._begun * self.experiment.steps_per_epoch + self._at
        self._told.step(self._seat.watch, done, batch.epoch, batch.phase, 0.0 if step is None else step.seconds)

    def ending(self) -> Iterator[None]:
        """What comes after the loader's last epoch, event by event. Raises: UsageError: epochs are missing."""
        if not self.trained or self._unfinished:
            raise self._too_early()
        while (epoch := self._cursor.next_epoch) is not None:
            self._told.begin_epoch()
            figures: dict[str, float] = {}
            phase: Phase = "score"
            for item in self._cursor.of_epoch(epoch):
                if isinstance(item, ScoreSets):
                    figures = self._score(item)
                elif isinstance(item, ShareFeatures):
                    self._evaluation.seal(self._seat)
                else:
                    phase = item.phase
                    self._told.sealed(self._seat, item)
                    yield
            at = self.stopped if phase == "score" and self.stopped is not None else epoch
            self._told.epoch(self._seat.watch, at, phase, figures)
            yield

    def check_finished(self) -> None:
        """Raises UsageError: the loop left before its end."""
        if not self.finished:
            raise UsageError("the loop ended without audit.finish()", "Call it after the last epoch")

    def close(self) -> None:
        """No step comes any more."""
        if self._steps is not None:
            self._steps.close()
        if self._taps is not None:
            self._taps.remove()

    # inside

    def _epoch(self) -> Iterator[Batch]:
        """The steps of the next epoch; none where the training is over."""
        if self._unfinished:
            raise self._too_early()
        if self.trained:
            return
        if self._begun == 0:
            self._seat.watch.ready()
        self._told.begin_epoch()
        epoch, warm = self._begun + 1, self.experiment.training.warmup_epochs
        phase: Phase = "joint" if epoch > warm else "warm-up"
        if phase == "joint" and self.soft_labels is None:
            self._teach()
        members, external = next(self._orders)
        if phase == "warm-up" or (self._steps is None and self.soft_labels is None):
            external = external[:, :0]  # nobody looks at them
        soft_labels = None if phase == "warm-up" else self.soft_labels
        for batch in self._batches(members, external, epoch, phase, soft_labels):
            self._batch = batch
            if self._taps is not None and phase == "joint" and self._steps is not None:
                self._taps.expect(len(batch.images), batch.head)
            yield batch
            self.close_step()
        self._at, self._begun = 0, epoch
        figures: dict[str, float] = {}
        if epoch == warm:
            figures = {"task_accuracy": float(self.right("unseen_calibration").double().mean())}
            self._teach()
        for item in self._cursor.of_epoch(epoch):
            if isinstance(item, ScoreSets):
                figures = self._score(item)
        self.figures = figures
        self._told.epoch(self._seat.watch, epoch, phase, figures)

    def _begin_step(self, features: Tensor) -> PendingStep:
        """Let the head begin with them."""
        if self._step is not None:
            raise UsageError("a batch has begun two steps", "Give the maps of a batch to audit.loss once")
        if not features.requires_grad:
            raise self._no_step()
        assert self._steps is not None
        self._step = self._steps.begin(features, self.experiment.training.batch)
        return self._step

    def _attach(self, tapped: Tensor, features: Tensor) -> Tensor:
        """See `taps.Attach`."""
        tapped, self._token = self._begin_step(features).attached(tapped, features)
        return tapped

    def _score(self, item: ScoreSets) -> dict[str, float]:
        """Let the head score sets; after each scoring but the last the stopper looks at them. Returns figures."""
        figures, scores = self._evaluation.score(item, self._seat)
        if item.final:
            self.scores = scores
        elif self._seat.stopper is not None and self.experiment.training.patience:
            self._rewind.keep()
            if self._seat.stopper.evaluated(scores, self._cursor):
                self._rewind.go_back()
                self.stopped = item.epoch
            figures |= self._seat.stopper.figures
        return figures

    def _teach(self) -> None:
        """The classifier as it is becomes the teacher, with distillation."""
        if self.experiment.training.distillation > 0:
            self.soft_labels = self._evaluation.of("external")[0].to(self._device).softmax(1)

    def _model(self) -> Judged:
        if self._judged is None:
            raise UsageError("no model has been tapped", "Call audit.tap(model, names of modules) before audit.loader")
        return self._judged

    def _both(self) -> nn.ModuleDict:
        """Model and features, under the names that a classifier of this program has."""
        judged = self._model()
        return nn.ModuleDict({"backbone": judged.model, "features": judged.features})

    def _copied(self) -> dict[str, Tensor]:
        return {name: value.detach().to("cpu", copy=True) for name, value in self._both().state_dict().items()}

    @property
    def _unfinished(self) -> bool:
        """Whether a loop left an epoch before its end."""
        return self._at > 0 or self._batch is not None

    def _no_step(self) -> UsageError:
        return no_step([] if self._taps is None else self._taps.missing())

    def _too_early(self) -> UsageError:
        return too_early(self._begun, self._at, self.epochs, self.experiment.steps_per_epoch)
