"""Lightning joins an audit: python examples/lightning_loop.py

Needs `pip install "amint-mpc[lightning]"`. The auditor runs `amint-mpc run --role auditor`, both with
examples/own_loop.yaml. Model and images are those of own_loop.py.
"""

from __future__ import annotations

from typing import Any

import lightning
import torch
import torch.nn.functional as F
from own_loop import Net, digits
from torch import Tensor

import amint_mpc as am
from amint_mpc.amint import Audit, Batch
from amint_mpc.loops.lightning import AuditCallback


class Digits(lightning.LightningModule):
    """A classifier with a step for the members of a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net()

    def forward(self, images: Tensor) -> Any:
        """Class logits [n, 10]."""
        return self.net(images)

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """The task's loss; the callback adds the audit's."""
        loss = F.cross_entropy(self(batch.images)[batch.members], batch.labels)
        self.log("task_loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), lr=3e-3)


def train(audit: Audit, **settings: Any) -> None:
    """Train through the whole audit. Args: settings: more of the Trainer's."""
    lightning.seed_everything(0)
    members, external, unseen = digits()
    joined = AuditCallback(audit, "net.first", "net.second", members=members, external=external, unseen=unseen)
    trainer = lightning.Trainer(max_epochs=audit.epochs, callbacks=[joined], **settings)
    trainer.fit(Digits(), joined.loader)
    for name, figure in joined.figures.items():
        print(f"{name} {figure}")


if __name__ == "__main__":
    with am.join("examples/own_loop.yaml", "developer") as audit:
        train(audit, accelerator="cpu")
