"""One step of the head at one party, and what it asks of an optimizer.

The layers run their protocols on the rounds of a step; the optimizer's take their part in the same rounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from amint_mpc.mpc.correlations.base import C, Correlation, MaskRef, Material, Plan, Slot
from amint_mpc.mpc.protocols.linear import LinearMasks, Noise
from amint_mpc.mpc.protocols.relu import ReluMasks
from amint_mpc.mpc.protocols.rounds import Concurrent, InRounds, Opened, Rounds
from amint_mpc.mpc.protocols.sigmoid import SigmoidTables

LINEAR = Slot("linear", LinearMasks)
RELU = Slot("relu", ReluMasks)
SIGMOID = Slot("sigmoid", SigmoidTables)
W1_MASK, W2_MASK = LINEAR.mask("r"), RELU.mask("rho")
"""The masks under which every step opens the weights."""


@dataclass(repr=False)
class Step:
    """What the layers have of the step that they take part in. It holds masks and shares, and so has no repr.

    Args:
        plan: of the step. material: this party's part of it.

    Attributes:
        w1, w2, y: the weights and the hidden values under their masks; w1 is there after exchange 1, w2 and y after
            exchange 2.
    """

    rounds: Rounds
    plan: Plan
    material: Mapping[str, Material]
    w1: Opened = field(default_factory=Opened, init=False)
    w2: Opened = field(default_factory=Opened, init=False)
    y: Opened = field(default_factory=Opened, init=False)

    def dealt(self, slot: Slot[C]) -> tuple[C, Material]:
        """A correlation of the plan, and this party's part of it."""
        masks = self.plan[slot.name]
        assert isinstance(masks, slot.kind)
        return masks, self.material[slot.name]

    def mask(self, at: MaskRef) -> Tensor:
        """This party's share of a mask."""
        return self.material[at.name][at.key]


@dataclass(repr=False)
class TrainingStep(Step):
    """A step in which the weights move.

    Args:
        updates: of the optimizer.
        open_gradient: whether the developer learns the gradient with respect to the features.
        noise: what the auditor adds to it; None at the developer, or for none.

    Attributes:
        output: how far w2 and b2 move; begun by the upper layer, it goes on in the rounds of the lower one.
        dw2: under the mask of its test, [blocks, h]; it is there after exchange 9.
    """

    updates: Updates
    open_gradient: bool
    noise: Noise | None
    output: Concurrent[tuple[Tensor, Tensor]] = field(init=False)
    dw2: Opened = field(default_factory=Opened, init=False)


class Updates(Protocol):
    """An optimizer at work: one party's side, and what it has to remember from step to step."""

    def begin(self, step: TrainingStep, w1: Tensor) -> None:
        """Called before the first round: start what goes on beside the layers. w1: share, [f, h]."""

    def scale_rows(self, step: TrainingStep, dy: Tensor, d: Opened) -> InRounds[Tensor]:
        """rate * dY [n, h], UPDATE_BITS. Begins before the round that opens dY - S.

        Args:
            dy: share of dY, DY_BITS. d: dY - S, the mask being "s" of LINEAR.
        """
        ...

    def scale_output(self, step: TrainingStep, dw2: Tensor, g: Tensor) -> InRounds[tuple[Tensor, Tensor]]:
        """rate * dw2 [h], W2_BITS, and rate * db2 [], Z_BITS. Begins before the round that opens dY - S.

        Args:
            dw2: of each block of rows [blocks, h], DW2_BITS.
            g: [n], G_BITS.
        """
        ...

    def drift(self, step: TrainingStep) -> Tensor | None:
        """At the end of the step: what is added to w1 beside the step down the gradient."""


class Optimizer(Protocol):
    """How the weights move: settings, which every party derives from the agreed experiment."""

    def masks(self, rows: int, inputs: int, hidden: int, number: int) -> dict[str, Correlation]:
        """The masks it needs for training step `number`, counted from 0."""
        ...

    def reach(self, rows: int) -> float:
        """No rate for a sum over rows is larger than this over the rows."""
        ...

    def updates(self) -> Updates:
        """Of a head with new weights, or with weights of an earlier step: nothing is remembered yet."""
        ...
