"""The Trainer of transformers joins an audit: python examples/huggingface_loop.py

Needs `pip install "amint-mpc[huggingface]"`. The auditor runs `amint-mpc run --role auditor`, both with
examples/own_loop.yaml. Images are those of own_loop.py; the model is made here, nothing is downloaded.
"""

from __future__ import annotations

from typing import Any

from own_loop import digits
from transformers import ResNetConfig, ResNetForImageClassification, TrainingArguments, set_seed

import amint_mpc as am
from amint_mpc.amint import Audit
from amint_mpc.loops.huggingface import AuditTrainer

TAPS = ("resnet.encoder.stages.0", "resnet.encoder.stages.1")


def train(audit: Audit, **settings: Any) -> None:
    """Train through the whole audit. Args: settings: more of the TrainingArguments."""
    set_seed(0)
    members, external, unseen = digits()
    config = ResNetConfig(num_channels=1, embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic")
    config.num_labels = 10
    arguments = TrainingArguments(num_train_epochs=audit.epochs, learning_rate=3e-3, save_strategy="no", **settings)
    sets = {"members": members, "external": external, "unseen": unseen}
    trainer = AuditTrainer(ResNetForImageClassification(config), arguments, audit=audit, taps=TAPS, sets=sets)
    trainer.train()
    for name, figure in trainer.figures.items():
        print(f"{name} {figure}")


if __name__ == "__main__":
    with am.join("examples/own_loop.yaml", "developer") as audit:
        train(audit)
