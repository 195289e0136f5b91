"""The epochs of an audit, for a framework that drives the loop."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from amint_mpc.amint import Audit, Batch
from amint_mpc.amint.batches import Loader
from amint_mpc.errors import UsageError
from amint_mpc.results import Figure


class Epochs:
    """Fetches each batch when its step begins, and ends an epoch when its last step is over.

    Attributes:
        figures: what `audit.finish` returned, once the last epoch is over.
    """

    def __init__(self, audit: Audit) -> None:
        self.figures: dict[str, Figure] = {}
        self._audit = audit
        self._loader: Loader | None = None
        self._now: Iterator[Batch] | None = None

    def begin(self, loader: Loader) -> None:
        """Take the batches from here."""
        self._loader = loader

    def next(self) -> Batch:
        """The batch of the step that begins."""
        assert self._loader is not None
        if self._now is None:
            self._now = iter(self._loader)
        return next(self._now)

    def end(self) -> dict[str, float]:
        """All steps of an epoch are over: evaluation and log; after the last epoch `audit.finish`.

        Returns:
            figures for a logger, by name: `audit/...` of this epoch, `audit_final/...` of the finished run.

        Raises:
            UsageError: the epoch was left early, or as `Audit` raises it.
        """
        if self._now is None or next(self._now, None) is not None:
            self._audit.finish()  # says how many steps are missing
        self._now = None
        found = {f"audit/{name}": value for name, value in self._audit.figures.items()}
        if self._audit.trained:
            self.figures = self._audit.finish()
            found |= {f"audit_final/{name}": figure.value for name, figure in self.figures.items()}
        return found

    def check_finished(self) -> None:
        """Training has ended. Raises: UsageError: too early."""
        if not self._audit.finished:
            self._audit.finish()


def check_setting(epochs: float | None, audit: Audit, processes: int, begun: int, name: str) -> None:
    """Whether a framework is about to train as the experiment says.

    Args:
        epochs: that it was told. processes: that train. begun: steps taken before. name: of the setting of epochs.

    Raises:
        UsageError: it is not.
    """
    if epochs != audit.epochs:
        raise UsageError(
            f"the trainer has {name} {epochs}, the experiment {audit.epochs} epochs", f"Set {name}=audit.epochs"
        )
    if processes != 1:
        raise UsageError(f"{processes} processes or devices train", "An audit joins a training on one device")
    if begun:
        raise UsageError("the trainer goes on from a checkpoint", "Begin from the first step: so does the log")


def with_loss(loss: Tensor, audit: Audit) -> Tensor:
    """The task's loss with the audit's added. Its value stays what it is."""
    return loss + audit.loss().to(loss.device)
