"""Both parties of a CrypTen computation in one process: two threads, one memory link, a local dealer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from amint_mpc.mpc.correlations.base import Plan
from amint_mpc.mpc.crypten.session import CryptenSession, bind, open_session
from amint_mpc.mpc.crypten.tracing import trace
from amint_mpc.transport.channel import FramedChannel, memory_pair
from tests.mpc.local_dealer import local_supplies


class Parties:
    """Runs the same work as both parties."""

    def __init__(self) -> None:
        self.channels: tuple[FramedChannel, FramedChannel] = memory_pair()

    def run(self, work: Callable[[CryptenSession], Any], plans: Sequence[Plan] = ()) -> list[Any]:
        """What `work` returns for each party; its error is raised here, the other party's link is ended."""
        self.channels = memory_pair(idle_timeout_s=20)
        supplies = local_supplies(plans)
        results: list[Any] = [None, None]
        failures: list[BaseException] = []

        def party(rank: int) -> None:
            try:
                session = open_session(self.channels[rank], rank, supplies[rank])
                with bind(session.binding):  # between the steps, too
                    results[rank] = work(session)
            except BaseException as error:
                failures.append(error)
                self.channels[rank].abort("failed")

        threads = [threading.Thread(target=party, args=(rank,)) for rank in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        if failures:
            raise failures[0]
        return results

    def step(self, step: Callable[[], Any]) -> list[Any]:
        """One step with the plan that its dry run gives."""
        plan = trace(step)

        def work(session: CryptenSession) -> Any:
            with session.step(plan):
                return step()

        return self.run(work, [plan])
