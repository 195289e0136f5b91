"""Two parties in one process: threads over a memory channel."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.base import Plan
from amint_mpc.mpc.correlations.supply import Supply
from amint_mpc.transport.channel import Channel, memory_pair
from tests.mpc.local_dealer import local_supplies


def run_both(party: Callable[[int, Channel, Supply], Any], plans: Iterable[Plan], seed: int = 0) -> tuple[Any, Any]:
    """Run `party(index, channel, supply)` for both parties and return both results; a failure of one fails the test."""
    channels = memory_pair()
    supplies = local_supplies(plans, seed)
    failed = threading.Event()

    def one(index: int) -> Any:
        try:
            return party(index, channels[index], supplies[index])
        except BaseException:
            failed.set()
            channels[index].abort("failed")
            raise

    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(one, index) for index in (DEVELOPER, AUDITOR)]
        errors = [f.exception() for f in futures]
    for error in sorted((e for e in errors if e is not None), key=lambda e: "PeerError" in type(e).__name__):
        raise error
    for channel in channels:
        channel.close()
    return futures[0].result(), futures[1].result()
