"""The place of a training beside its head: what `Audit` is given by whoever has the head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from amint_mpc.amint.plaintext_head import MintHead
from amint_mpc.amint.scoring import ScoringOrder, in_order
from amint_mpc.amint.stopping import Stopper
from amint_mpc.events import EpochEvent, StepEvent
from amint_mpc.results import Figure


class Watch(Protocol):
    """Whoever writes down what an audit does."""

    def ready(self) -> None:
        """The first epoch is about to begin."""

    def tell(self, event: StepEvent | EpochEvent) -> None:
        """A step or an epoch is over."""

    def finish(self) -> dict[str, Figure]:
        """All has been scored. Returns the figures that are known here, by name."""


class Unwatched:
    """A `Watch` that writes nothing down."""

    def ready(self) -> None:
        """See `Watch`."""

    def tell(self, event: StepEvent | EpochEvent) -> None:
        """See `Watch`."""

    def finish(self) -> dict[str, Figure]:
        """See `Watch`."""
        return {}


@dataclass(frozen=True)
class Seat:
    """See the module.

    Args:
        head: None: the classifier is trained without one. watch: is told of everything.
        order: in which the images of a scoring go to the head.
        stopper: with `training.patience`, decides after each evaluation.
    """

    head: MintHead | None
    watch: Watch
    order: ScoringOrder = in_order
    stopper: Stopper | None = None
