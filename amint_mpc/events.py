"""What a running party tells its own screen, log and metrics file. Nothing here crosses the link."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

OnNotice = Callable[[str], None]
"""Is told a sentence for the user."""
OnProgress = Callable[[str, int, int], None]
"""Is told what is done, how much of it, of how much."""
Phase = Literal["warm-up", "joint", "sealed", "score", "dealing"]


@dataclass(frozen=True)
class Notice:
    """A sentence for the user: waiting for a peer, connected, saved."""

    text: str


@dataclass(frozen=True)
class StepEvent:
    """One training step.

    Every party counts the steps of the head: joint ones, then sealed ones. So step n is the same step at all of them,
    and all end at n of n, unless training stops early. The developer's warm-up, in which the head takes no step, is
    counted by itself.

    Args:
        step: steps done so far, this one included. steps: of the whole run. With the phase `warm-up`: of the warm-up.
        epoch: from 1, warm-up epochs counted; 0 at a dealer, which runs ahead.
        losses: named loss values this party knows (empty at the auditor and the dealer).
        seconds: wall time of the step; `secure_seconds` is the part spent in the head.
        rounds, bytes_sent: of this step, on the link between developer and auditor (dealer: its own link).
        ahead: how many steps more have their masks ready, where the two parties make them.
    """

    step: int
    steps: int
    epoch: int
    phase: Phase
    seconds: float
    losses: dict[str, float] = field(default_factory=dict)
    secure_seconds: float = 0.0
    rounds: int = 0
    bytes_sent: int = 0
    ahead: int | None = None


@dataclass(frozen=True)
class EpochEvent:
    """One epoch, with the figures this party knows (task_accuracy, mint_auc, ... on calibration images)."""

    epoch: int
    epochs: int
    phase: Phase
    seconds: float
    figures: dict[str, float] = field(default_factory=dict)


Event = Notice | StepEvent | EpochEvent
