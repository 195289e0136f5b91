"""What a comparison of steps of the head is about: sizes, contestants, link."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from amint_mpc.bench.ours import EmulatedLink
from amint_mpc.config import Data, Evidence, Experiment, Head, Security, Training
from amint_mpc.errors import UsageError

Against = Literal["crypten", "spu"]


@dataclass(frozen=True)
class Setup:
    """What is measured.

    Args:
        batch: rows of a step, half of them members.
        steps: of ours, over all slices.
        threads: of torch, in each process of ours and of CrypTen.
        against: measure this, too.
        link: between developer and auditor; None: loopback as it is.
        two_party: measure ours without a dealer, too. Over another link it is not: the links on which masks are made
            cannot be delayed here.
    """

    features: int = 768
    hidden: int = 128
    batch: int = 128
    steps: int = 50
    threads: int = 1
    against: Against | None = None
    link: EmulatedLink | None = None
    two_party: bool = True

    def __post_init__(self) -> None:
        if self.batch < 2 or self.batch % 2:
            raise UsageError("half of a batch are members", "Give --batch an even number")
        if min(self.features, self.hidden, self.steps, self.threads) < 1:
            raise UsageError("sizes, steps and threads are 1 or more")
        if self.against and self.link is not None:
            raise UsageError(
                "the delay is put into our own link; that of others cannot be delayed, so the two would not compare",
                "Leave out --against, or --rtt-ms and --mbit",
            )

    def experiment(self, steps: int) -> Experiment:
        """An experiment of so many head steps, with features that come from nowhere."""
        members = self.batch // 2
        rows = max(4, members)
        return Experiment(
            name="bench-head",
            data=Data(members=max(4, members * steps), external=rows, unseen=4),
            head=Head(hidden=self.hidden, features=self.features),
            training=Training(epochs=1, warmup_epochs=0, batch=members, evaluate_every=0, sealed_epochs=0),
            # A block that is checked costs what a step does, and is none.
            security=Security(correlations="dealer", checked_blocks=0),
            evidence=Evidence(log=False),
        )

    def without_dealer(self, steps: int) -> Experiment:
        """The same between the two parties alone."""
        return self.experiment(steps).model_copy(update={"security": Security(correlations="two-party")})
