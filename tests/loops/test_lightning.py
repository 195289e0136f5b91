"""The audit in a Lightning Trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amint_mpc.amint.audit import Audit
from amint_mpc.amint.seat import Seat
from amint_mpc.errors import UsageError
from tests.amint.test_user_loops import Head, Kept, Net, agreed
from tests.loops.twin import follows_the_plain_loop, secure_with_a_log, trained

lightning = pytest.importorskip("lightning")
from amint_mpc.loops.lightning import AuditCallback  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


class Module(lightning.LightningModule):  # type: ignore[misc, name-defined]
    def __init__(self, net: nn.Module, manual: bool = False) -> None:
        super().__init__()
        self.net, self.automatic_optimization = net, not manual

    def forward(self, images: Tensor) -> Any:
        return self.net(images)

    def training_step(self, batch: Any, number: int) -> Tensor:
        loss = F.cross_entropy(self(batch.images)[batch.members], batch.labels)
        self.log("task_loss", loss, on_epoch=True)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.05)


class Logger(lightning.pytorch.loggers.logger.DummyLogger):  # type: ignore[misc, name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, float] = {}

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.seen |= metrics


def fit(
    audit: Audit, net: nn.Module, data: dict[str, Any], taps: tuple[str, ...], accumulate: int = 1, **more: Any
) -> Any:
    joined = AuditCallback(audit, *(f"net.{name}" for name in taps), **data)
    module = more.pop("module", None) or Module(net)
    settings = {"max_epochs": audit.epochs, "logger": False} | more
    trainer = lightning.Trainer(
        callbacks=[joined, *settings.pop("others", [])],
        accelerator="cpu",
        accumulate_grad_batches=accumulate,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **settings,
    )
    trainer.fit(module, joined.loader)
    return joined


@pytest.mark.parametrize("accumulate", [1, 3])
def test_it_follows_the_plain_loop(accumulate: int) -> None:
    follows_the_plain_loop(fit, accumulate)


@pytest.mark.timeout(300)
def test_with_the_secure_head_and_a_log(tmp_path: Path) -> None:
    secure_with_a_log(fit, tmp_path / "run")


def test_figures_go_to_the_logger_and_to_the_caller() -> None:
    logger = Logger()
    trained(fit, logger=logger)
    assert "audit/mint_auc" in logger.seen
    assert "task_loss_epoch" in logger.seen


def test_mixed_precision() -> None:
    _, head, audit, _ = trained(fit, precision="bf16-mixed")
    assert audit.finished
    assert {seen.dtype for seen in head.seen} == {torch.float32}


class Ends(lightning.Callback):  # type: ignore[misc, name-defined]
    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        trainer.should_stop = trainer.global_step == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_epochs": 2}, "max_epochs 2, the experiment 3"),
        ({"max_steps": 4}, "ended after [34] of 9 steps"),
        ({"others": [Ends()]}, "ended after [34] of 9 steps"),
        ({"module": Module(Net(), manual=True)}, "optimizes by itself"),
    ],
)
def test_what_ends_early_or_does_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        trained(fit, **changes)


def test_a_module_that_does_not_exist() -> None:
    audit = Audit(agreed(), lambda _: Seat(Head(), Kept()))
    with pytest.raises(UsageError, match=r"no module 'net\.frist'") as error:
        fit(audit, Net(), {}, ("frist",))
    assert "net.first" in error.value.hint
