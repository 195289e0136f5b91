"""The audit in a Trainer of transformers."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from amint_mpc.amint.audit import Audit
from amint_mpc.errors import UsageError
from tests.amint.test_user_loops import agreed, sets
from tests.loops.twin import follows_the_plain_loop, secure_with_a_log, trained

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")
from transformers import ResNetConfig, ResNetForImageClassification, TrainerCallback, TrainingArguments  # noqa: E402

from amint_mpc.loops.huggingface import AuditTrainer  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


class Wrapped(nn.Module):
    """A net under the names of arguments that transformers' models have."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None) -> dict[str, Tensor] | Any:
        return (self.net(pixel_values),)


def fit(
    audit: Audit,
    net: nn.Module,
    data: dict[str, Any],
    taps: tuple[str, ...],
    accumulate: int = 1,
    folder: str = "unused",
    others: Any = (),
    **more: Any,
) -> AuditTrainer:
    settings = {
        "num_train_epochs": audit.epochs,
        "report_to": "none",
        "save_strategy": "no",
        "optim": "sgd",
        "learning_rate": 0.05,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0,
        "use_cpu": True,
        "disable_tqdm": True,
    }
    arguments = TrainingArguments(folder, gradient_accumulation_steps=accumulate, **(settings | more))
    names = [f"net.{name}" for name in taps]
    trainer = AuditTrainer(Wrapped(net), arguments, audit=audit, taps=names, sets=data, callbacks=list(others))
    trainer.train()
    return trainer


@pytest.mark.parametrize("accumulate", [1, 2])
def test_it_follows_the_plain_loop(accumulate: int, tmp_path: Path) -> None:
    follows_the_plain_loop(partial(fit, folder=str(tmp_path)), accumulate)


@pytest.mark.timeout(300)
def test_with_the_secure_head_and_a_log(tmp_path: Path) -> None:
    secure_with_a_log(partial(fit, folder=str(tmp_path / "trainer")), tmp_path / "run")


class Log(TrainerCallback):  # type: ignore[misc]
    def __init__(self) -> None:
        self.seen: dict[str, float] = {}

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        self.seen |= logs


def test_figures_go_to_the_loggers(tmp_path: Path) -> None:
    log = Log()
    trained(fit, folder=str(tmp_path), others=[log])
    assert "audit/mint_auc" in log.seen
    assert "train_loss" in log.seen


def test_mixed_precision(tmp_path: Path) -> None:
    _, head, audit, _ = trained(fit, folder=str(tmp_path), bf16=True)
    assert audit.finished
    assert {seen.dtype for seen in head.seen} == {torch.float32}


def test_a_model_of_theirs_with_evaluation(tmp_path: Path) -> None:
    """By a config, without a download; the Trainer's own evaluation beside the audit's."""

    def run(audit: Audit, _: Any, data: dict[str, Any], __: Any) -> None:
        torch.manual_seed(0)
        config = ResNetConfig(
            num_channels=1, embedding_size=4, hidden_sizes=[6, 8], depths=[1, 1], layer_type="basic", num_labels=3
        )
        model = ResNetForImageClassification(config)
        settings = TrainingArguments(
            str(tmp_path), num_train_epochs=audit.epochs, report_to="none", save_strategy="no", use_cpu=True,
            eval_strategy="epoch", disable_tqdm=True,
        )  # fmt: skip
        held = [{"pixel_values": image / 255, "labels": int(label)} for image, label in sets(agreed())[2]]
        taps = ("resnet.encoder.stages.0", "resnet.encoder.stages.1")
        trainer = AuditTrainer(model, settings, audit=audit, taps=taps, sets=data, eval_dataset=held)
        trainer.train()
        assert "eval_loss" in {name for each in trainer.state.log_history for name in each}

    _, head, audit, _ = trained(run)
    assert audit.finished
    assert len(head.seen) == 6


class Ends(TrainerCallback):  # type: ignore[misc]
    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_training_stop = state.global_step == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_train_epochs": 2}, "num_train_epochs 2, the experiment 3"),
        ({"max_steps": 4}, "max_steps does not go"),
        ({"others": [Ends()]}, "ended after [34] of 9 steps"),
    ],
)
def test_what_ends_early_or_does_not_fit(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        trained(fit, folder=str(tmp_path), **changes)
