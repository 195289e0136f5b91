"""What masks cost that the two parties make themselves: one plan of each kind, made by both in this process."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

from amint_mpc.bench.count import kinds_of
from amint_mpc.bench.inprocess import together
from amint_mpc.config import Experiment
from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.base import Memory
from amint_mpc.roles.backends import make_maker
from amint_mpc.roles.plans import stretches
from amint_mpc.transport.channel import memory_pair

SETUP = -3
"""What a link costs before its first plan, among the kinds of steps (`bench.count`)."""


@dataclass(frozen=True)
class MaskCost:
    """Of one plan. Args: seconds: on this machine. rounds: on the link. developer, auditor: bytes that each sends."""

    seconds: float
    rounds: int
    developer: int
    auditor: int

    def on(self, rtt_s: float, bytes_per_s: float | None) -> float:
        """Seconds on a link: its round trips, halved for both send at once, and the larger of both directions."""
        sending = max(self.developer, self.auditor) / bytes_per_s if bytes_per_s else 0.0
        return self.seconds + self.rounds * rtt_s / 2 + sending


def mask_costs(experiment: Experiment, repeats: int) -> dict[int, MaskCost]:
    """By kind of step, and `SETUP`. Args: repeats: of each kind; the median of the seconds counts."""
    ends = memory_pair()
    makers = [make_maker(experiment)(ends[party], party, Memory()) for party in (DEVELOPER, AUDITOR)]

    def measured(work: list[Callable[[], Any]]) -> MaskCost:
        before = [(end.stats.rounds, end.stats.bytes_sent) for end in ends]
        start = time.perf_counter()
        together(work, end_both)
        seconds = time.perf_counter() - start
        rounds = max(end.stats.rounds - was for end, (was, _) in zip(ends, before, strict=True))
        sent = [end.stats.bytes_sent - was for end, (_, was) in zip(ends, before, strict=True)]
        return MaskCost(seconds, rounds, *sent)

    def end_both() -> None:
        for end in ends:
            end.abort("failed")

    try:
        found, number = {SETUP: measured([maker.set_up for maker in makers])}, 0
        for part, items in stretches(experiment):
            kind, plan = kinds_of(items[0])[0], part.plan(0)
            if kind in found:
                continue
            costs = []
            for _ in range(repeats + 1):
                costs.append(measured([partial(maker.make, number, plan) for maker in makers]))
                number += 1
            last = costs[-1]
            seconds = median(cost.seconds for cost in costs[1:])  # the first pays for what is made once
            found[kind] = MaskCost(seconds, last.rounds, last.developer, last.auditor)
        return found
    finally:
        for end in ends:
            end.close()
