"""PyTorch Lightning: a callback that joins a `Trainer` to an audit.

    with am.join("experiment.yaml", "developer") as audit:
        joined = AuditCallback(audit, "layer2", "layer3", members=members, external=external, unseen=unseen)
        trainer = lightning.Trainer(max_epochs=audit.epochs, callbacks=[joined])
        trainer.fit(module, joined.loader)

`training_step` of the module is given a `Batch` and returns the task's loss:

    def training_step(self, batch, _):
        return cross_entropy(self(batch.images)[batch.members], batch.labels)

The callback adds the audit's loss to it. Precision, accumulation of gradients and clipping stay with the Trainer, and
figures go through `log_dict` to whatever logger it has.

Edge cases
    Other callbacks meet a placeholder in the place of the batch: a tensor with as many rows as a step has members.
    Validation in the Trainer runs in eval mode and takes no step.
    Manual optimization, several devices, and going on from a checkpoint are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning
import torch
from lightning.pytorch import Callback
from torch import Tensor
from torch.utils.data import DataLoader

from amint_mpc.amint import Audit
from amint_mpc.errors import UsageError
from amint_mpc.loops.epochs import Epochs, check_setting, with_loss
from amint_mpc.results import Figure


class AuditCallback(Callback):
    """See the module.

    Args:
        audit: joined. names: of modules of the LightningModule whose outputs the head sees.
        sets: `members`, `external`, `unseen`, `transform`, `num_workers`, as `Audit.loader` takes them.

    Attributes:
        loader: for `Trainer.fit`: its placeholders make the Trainer take the steps of the experiment.
    """

    def __init__(self, audit: Audit, *names: str, **sets: Any) -> None:
        self._audit, self._names, self._sets = audit, names, sets
        self._epochs = Epochs(audit)
        members, steps = audit.experiment.training.batch, audit.experiment.steps_per_epoch
        self.loader: DataLoader[Any] = DataLoader([torch.zeros(members)] * steps, batch_size=None)  # type: ignore[arg-type]

    @property
    def figures(self) -> dict[str, Figure]:
        """What `audit.finish` returned, after the training."""
        return self._epochs.figures

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """The module is on its device: tap it, connect, and stand around its steps."""
        check_setting(trainer.max_epochs, self._audit, trainer.world_size, trainer.global_step, "max_epochs")
        if not pl_module.automatic_optimization:
            raise UsageError(
                "the module optimizes by itself",
                "Leave automatic_optimization on, or write the loop yourself with audit.loader and audit.loss",
            )
        self._audit.tap(pl_module, *self._names)
        self._epochs.begin(self._audit.loader(**self._sets))
        step = pl_module.training_step

        def joined(_: Any, *others: Any, **named: Any) -> Any:
            found = step(self._epochs.next(), *others, **named)
            if isinstance(found, Mapping):
                return {**found, "loss": with_loss(found["loss"], self._audit)}
            return with_loss(found, self._audit) if isinstance(found, Tensor) else found

        pl_module.training_step = joined  # type: ignore[method-assign]

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Keep what the next steps depend on."""
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]
        self._audit.keep(*trainer.optimizers, *schedulers, *([] if scaler is None else [scaler]))
        check_setting(trainer.max_epochs, self._audit, trainer.world_size, trainer.global_step, "max_epochs")

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Evaluate, write the log, tell the figures; stop where the audit does."""
        pl_module.log_dict(self._epochs.end())
        trainer.should_stop = trainer.should_stop or self._audit.stopped is not None

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """A Trainer that another callback has stopped is told."""
        self._epochs.check_finished()

    def teardown(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Leave the module as it was."""
        vars(pl_module).pop("training_step", None)
