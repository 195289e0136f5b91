"""What a party's run tells of itself while it goes on; `runlog.recorder` writes it into a log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

from amint_mpc.results import Figure
from amint_mpc.transport.channel import Channel


class RunLog(Protocol):
    """What a party's run calls. Of a run without a log, `NullRunLog`."""

    channel: Channel
    """The link to the other party for the head: what crosses it is what the digests of frames cover."""

    def step(self) -> None:
        """The head has taken its next training step."""

    def sealed(self) -> None:
        """All sealed steps have been taken."""

    def scored(self) -> None:
        """The sets that the schedule names next have been scored."""

    def checkpoint(
        self,
        backbone: Mapping[str, Tensor] | None,
        figures: Mapping[str, float],
        stop: bool = False,
        replay: str | None = None,
    ) -> None:
        """Before the first step and after each evaluation.

        Args:
            backbone: None at the auditor. replay: at the developer the digest of what it keeps, with `evidence.replay`.
        """

    def end(self, tensors: Mapping[str, Tensor], figures: Mapping[str, Figure], replay: str | None = None) -> None:
        """The head has been opened.

        Args:
            tensors: the classifier, or at the auditor the head, as it was saved. replay: as `checkpoint`.
        """


class NullRunLog:
    """A run that keeps no log."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel

    def step(self) -> None:
        """See `RunLog`."""

    def sealed(self) -> None:
        """See `RunLog`."""

    def scored(self) -> None:
        """See `RunLog`."""

    def checkpoint(
        self,
        backbone: Mapping[str, Tensor] | None,
        figures: Mapping[str, float],
        stop: bool = False,
        replay: str | None = None,
    ) -> None:
        """See `RunLog`."""

    def end(self, tensors: Mapping[str, Tensor], figures: Mapping[str, Figure], replay: str | None = None) -> None:
        """See `RunLog`."""
