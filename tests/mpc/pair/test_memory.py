"""Masks are made for as long as one likes without a growth of memory."""

from __future__ import annotations

import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from amint_mpc.memory import keep_freed
from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.base import Memory
from amint_mpc.mpc.correlations.checking import Stretch, UsedPlans
from amint_mpc.mpc.dense.descent import GradientDescent
from amint_mpc.mpc.dense.layers import train_plan
from amint_mpc.mpc.pair.maker import PairMaker
from amint_mpc.mpc.pair.supply import Maker, PairSupply
from amint_mpc.transport.chained import ChainedChannel
from amint_mpc.transport.channel import Channel, memory_pair
from tests.mpc.native_only import native_only

pytestmark = native_only
PLAN = train_plan(4, 7, 3, GradientDescent(3, 7))


def make(channel: Channel, party: int, memory: Memory) -> Maker:
    return PairMaker(channel, party, bytes([party]) * 32, memory)


def resident_mb() -> float:
    """Of this process, in which both parties are."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def grown(steps: int, settled: int, traced: tuple[int, int]) -> tuple[float, float]:
    """MB by which the process grew from step `settled` to the last, and what Python and numpy hold, from the second to
    the last third of the steps `traced`, which take longer. Of what is on its way the least counts."""
    torch.set_num_threads(1)
    keep_freed()
    todo = UsedPlans([Stretch(steps, steps, lambda _: PLAN)])
    links = [memory_pair(idle_timeout_s=60) for _ in range(2)]
    found: dict[str, float] = {}
    held: list[float] = []

    def party(index: int) -> None:
        chained = [ChainedChannel(pair[index]) for pair in links]
        with PairSupply(index, chained, make, 1 << 18) as supply:
            supply.start(todo)
            for step in range(steps):
                supply.take(step, PLAN)
                if index == DEVELOPER:
                    watch(step)
            supply.finish()

    def watch(step: int) -> None:
        if step == settled:
            found["resident"] = resident_mb()
        if step == traced[0]:
            tracemalloc.start()
        if traced[0] < step < traced[1]:
            held.append(tracemalloc.get_traced_memory()[0] / 2**20)
        if step == traced[1]:
            tracemalloc.stop()

    with ThreadPoolExecutor(2) as pool:
        for part in [pool.submit(party, index) for index in (DEVELOPER, AUDITOR)]:
            part.result()
    for pair in links:
        for end in pair:
            end.close()
    third = len(held) // 3
    return resident_mb() - found["resident"], min(held[-third:]) - min(held[third:-third])


def test_fifty_steps_do_not_grow() -> None:
    resident, python = grown(60, 30, (10, 40))
    assert python < 4
    assert resident < 60


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_twenty_thousand_steps_do_not_grow() -> None:
    resident, python = grown(20_000, 2_000, (500, 1_000))
    print(f"{resident:.1f} MB more resident, {python:.2f} MB more of Python's")
    assert python < 4
    assert resident < 60
