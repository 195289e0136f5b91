"""What masks cost that the two parties make themselves: plans of each kind, made by both in this process.

Time on a link is that of THREADS threads at each party, each of which makes one plan after another with its partner. A
plan takes as long as the slowest of these: the bytes of the busier direction; the processor time on the cores; and what
two partners compute (one after the other), wait and send, divided by the threads, for they fill each other's gaps.
Times are those of processors, which other work on this machine hardly changes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any, Literal, get_args

from amint_mpc.bench.count import kinds_of
from amint_mpc.bench.delay import DelayedLink
from amint_mpc.bench.inprocess import together
from amint_mpc.config import Experiment, Party
from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.base import Memory
from amint_mpc.roles.backends import make_maker
from amint_mpc.roles.plans import stretches
from amint_mpc.transport.channel import memory_pair

SETUP = -3
"""What a link costs before its first plan, among the kinds of steps (`bench.count`)."""
THREADS: int = Party.model_fields["generator_threads"].default
Profile = Literal["lan", "wan"]
PROFILES: tuple[Profile, ...] = get_args(Profile)
"""What `security.link` may say."""
MBIT = (0.1, 100_000.0)
"""Where a crossing is looked for."""


@dataclass(frozen=True)
class MaskCost:
    """Of one plan.

    Args:
        cpu: seconds of the processor, of developer and auditor. rounds: on the link.
        developer, auditor: bytes that each sends.
    """

    cpu: tuple[float, float]
    rounds: int
    developer: int
    auditor: int

    def on(self, link: DelayedLink, cores: int) -> float:
        """Seconds a plan. Args: link: with a delay or a limit, the parties are on machines of their own."""
        sending = max(self.developer, self.auditor) / link.bytes_per_s if link.bytes_per_s else 0.0
        apart = link.rtt_s > 0 or bool(link.bytes_per_s)
        computing = (max(self.cpu) if apart else sum(self.cpu)) / cores
        waiting = self.rounds * link.rtt_s / 2  # both send at once, so a round takes half of a round trip
        return max(sending, computing, (sum(self.cpu) + waiting + sending) / THREADS)


def mask_costs(experiment: Experiment, repeats: int) -> dict[Profile, dict[int, MaskCost]]:
    """For each profile, by kind of step, and `SETUP`. Args: repeats: of each kind; the median of the times counts."""
    makers = {profile: _Both(experiment, profile) for profile in PROFILES}
    try:
        found = {profile: {SETUP: both.set_up()} for profile, both in makers.items()}
        for part, items in stretches(experiment):
            kind, plan = kinds_of(items[0])[0], part.plan(0)
            if kind in found["lan"]:
                continue
            costs: dict[Profile, list[MaskCost]] = {profile: [] for profile in PROFILES}
            for _ in range(repeats + 1):  # in turns, so that a busy moment hits all alike
                for profile, both in makers.items():
                    costs[profile].append(both.make(plan))
            for profile, done in costs.items():
                found[profile][kind] = _middle(done[1:])  # the first pays for what is made once
        return found
    finally:
        for both in makers.values():
            both.close()


def crossing(lan: MaskCost, wan: MaskCost, rtt_ms: float, cores: int) -> float | None:
    """Mbit/s below which `wan` takes less time than `lan`: within `MBIT`; None: at no rate."""

    def wan_is_quicker(mbit: float) -> bool:
        link = DelayedLink.of(rtt_ms, mbit)
        return wan.on(link, cores) < lan.on(link, cores)

    low, high = MBIT
    if not wan_is_quicker(low):
        return None
    if wan_is_quicker(high):
        return high
    while high / low > 1.01:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if wan_is_quicker(middle) else (low, middle)
    return math.sqrt(low * high)


def _middle(costs: list[MaskCost]) -> MaskCost:
    last = costs[-1]
    cpu = (median(cost.cpu[DEVELOPER] for cost in costs), median(cost.cpu[AUDITOR] for cost in costs))
    return MaskCost(cpu, last.rounds, last.developer, last.auditor)


class _Both:
    """Both parties' makers for one profile, on a memory link."""

    def __init__(self, experiment: Experiment, profile: Profile) -> None:
        security = experiment.security.model_copy(update={"link": profile})
        make = make_maker(experiment.model_copy(update={"security": security}))
        self._ends, self._number = memory_pair(), 0
        self._makers = [make(self._ends[party], party, Memory()) for party in (DEVELOPER, AUDITOR)]

    def set_up(self) -> MaskCost:
        return self._measured([maker.set_up for maker in self._makers])

    def make(self, plan: Any) -> MaskCost:
        self._number += 1
        return self._measured([partial(maker.make, self._number, plan) for maker in self._makers])

    def close(self) -> None:
        for end in self._ends:
            end.close()

    def _measured(self, work: list[Callable[[], Any]]) -> MaskCost:
        before = [(end.stats.rounds, end.stats.bytes_sent) for end in self._ends]
        developer, auditor = together([partial(_busy, task) for task in work], self._abort)
        rounds = max(end.stats.rounds - was for end, (was, _) in zip(self._ends, before, strict=True))
        sent = [end.stats.bytes_sent - was for end, (_, was) in zip(self._ends, before, strict=True)]
        return MaskCost((developer, auditor), rounds, sent[DEVELOPER], sent[AUDITOR])

    def _abort(self) -> None:
        for end in self._ends:
            end.abort("failed")


def _busy(work: Callable[[], Any]) -> float:
    """Do it; returns the seconds of processor time of this thread, which does all of a maker's work."""
    start = time.thread_time()
    work()
    return time.thread_time() - start


Costs = Mapping[int, MaskCost]
"""Of one profile, by kind of step."""
