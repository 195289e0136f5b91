"""Hugging Face: a `transformers.Trainer` whose training steps are those of an audit.

    with am.join("experiment.yaml", "developer") as audit:
        settings = TrainingArguments(num_train_epochs=audit.epochs, ...)
        sets = {"members": members, "external": external, "unseen": unseen}
        trainer = AuditTrainer(model, settings, audit=audit, taps=("resnet.encoder.stages.1",), sets=sets)
        trainer.train()

Everything else is the Trainer's: optimizer and schedule, mixed precision, accumulation of gradients, evaluation of
`eval_dataset`, loggers (`report_to`), to which the audit's figures go as well. The task's loss is cross-entropy on the
members, with `label_smoothing_factor`; override `task_loss` for another.

Edge cases
    `per_device_train_batch_size` is not looked at: the experiment says what a step has.
    `train_dataset`, `compute_loss_func`, `load_best_model_at_end`, several devices, and going on from a checkpoint are
    refused: the log would tell of another training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback

from amint_mpc.amint import Audit, Batch
from amint_mpc.amint.taps import logits_of
from amint_mpc.errors import UsageError
from amint_mpc.loops.epochs import Epochs, check_setting, with_loss
from amint_mpc.results import Figure


class AuditTrainer(Trainer):
    """See the module.

    Args:
        args, more: as `transformers.Trainer` takes them.
        audit: joined. taps: names of modules whose outputs the head sees.
        sets: `members`, `external`, `unseen`, `transform`, `num_workers`, as `Audit.loader` takes them; with none the
            experiment's own images.
    """

    def __init__(
        self, *args: Any, audit: Audit, taps: Sequence[str], sets: Mapping[str, Any] | None = None, **more: Any
    ) -> None:
        super().__init__(*args, **more)
        for name, given in {
            "train_dataset": self.train_dataset is not None,
            "compute_loss_func": self.compute_loss_func is not None,
            "load_best_model_at_end": self.args.load_best_model_at_end,
        }.items():
            if given:
                raise UsageError(f"{name} does not go with an audit", "Leave it out; see amint_mpc.loops.huggingface")
        check_setting(self.args.num_train_epochs, audit, self._devices, 0, "num_train_epochs")
        if self.args.max_steps > 0:
            raise UsageError("max_steps does not go with an audit", "Set num_train_epochs=audit.epochs alone")
        self._audit, self._sets, self._epochs = audit, dict(sets or {}), Epochs(audit)
        self._now: Batch | None = None
        model: Any = self.model
        audit.tap(model, *taps)
        self.add_callback(_EpochEnds(self, self._epochs, audit))

    @property
    def figures(self) -> dict[str, Figure]:
        """What `audit.finish` returned, after the training."""
        return self._epochs.figures

    def task_loss(self, outputs: Any, batch: Batch) -> Tensor:
        """Of the members, a scalar. Args: outputs: of the model, for all rows of the batch."""
        logits = logits_of(outputs)[batch.members]
        return F.cross_entropy(logits, batch.labels, label_smoothing=self.args.label_smoothing_factor)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Placeholders, one a step: the Trainer reads as many ahead as it accumulates. Connects."""
        self._epochs.begin(self._audit.loader(**self._sets))
        steps: Any = [{}] * self._audit.experiment.steps_per_epoch
        return DataLoader(steps, batch_size=None)

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """A step of the experiment, in the place of the placeholder."""
        self._now = self._epochs.next()
        name = getattr(self.model, "main_input_name", "pixel_values")
        try:
            loss: Tensor = super().training_step(model, {name: self._now.images}, num_items_in_batch)
            return loss
        finally:
            self._now = None

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """In training the task's loss and the audit's; in evaluation what the Trainer computes."""
        if self._now is None:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        outputs = model(**inputs)
        loss = with_loss(self.task_loss(outputs, self._now), self._audit)
        return (loss, outputs) if return_outputs else loss

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Not counted: the Trainer would count those of a placeholder."""
        return 0

    @property
    def _devices(self) -> int:
        return int(self.args.world_size * max(1, self.args.n_gpu))


class _EpochEnds(TrainerCallback):
    """What the audit does between epochs."""

    def __init__(self, trainer: AuditTrainer, epochs: Epochs, audit: Audit) -> None:
        self._trainer, self._epochs, self._audit = trainer, epochs, audit

    def on_train_begin(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        """Keep what the next steps depend on."""
        check_setting(args.num_train_epochs, self._audit, 1, state.global_step, "num_train_epochs")
        kept = parts.get("optimizer"), parts.get("lr_scheduler"), self._trainer.accelerator.scaler
        self._audit.keep(*(part for part in kept if part is not None))

    def on_epoch_end(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        """Evaluate, write the log, tell the figures; stop where the audit does."""
        found = self._epochs.end()
        if found:
            self._trainer.log(found)
        if self._audit.stopped is not None:
            control.should_training_stop = True

    def on_train_end(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        """A Trainer that another callback has stopped is told."""
        self._epochs.check_finished()
