"""The other secure programs that take the same step of the head: CrypTen, SPU, and ours without a dealer.

Ours without a dealer is measured twice, by two processes each, as in a run:

    "two-party"    a steady state of making masks and using them. A slice begins with masks for ROOM steps ready: there
                   is room for no more, so nothing is made between slices. It ends when both parties have taken its
                   steps and have masks for ROOM steps again, so that what was used has been made within the slice.
    "masks ready"  the online part alone. All masks of all slices are made before the first one; then no thread is left.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from amint_mpc.bench import ours
from amint_mpc.bench.setup import Setup
from amint_mpc.bench.workers import Answers, Worker, Workers
from amint_mpc.config import Experiment, Party
from amint_mpc.errors import UsageError
from amint_mpc.host import processes
from amint_mpc.mpc.correlations.checking import UsedPlans
from amint_mpc.roles.backends import backend_of
from amint_mpc.roles.plans import stretches_of

CRYPTEN_WAYS = ("stock", "lean")  # see `crypten_party`
CRYPTEN_STEPS = 2  # of each way in a slice
SPU_STEPS = {"semi2k": 3, "cheetah": 1}  # of each protocol in a slice, see `spu_party`
SPU_SLICES = 3  # at most, for a step of cheetah takes long
STEADY, READY = "two-party", "masks ready"
STEADY_STEPS = 12  # in a slice: three times what may be left from before
READY_STEPS = 4
ROOM = 4  # so that both threads of each party have work while a step takes its masks


@dataclass(frozen=True)
class Rival:
    """Another secure program that takes the same step.

    Args:
        name: of its figures.
        workers: its processes; two rivals may have the same.
        steps: of it in a slice.
        command: what its processes are told besides.
        warm_up: more of that for each step before the first slice; the answers to the last are kept.
    """

    name: str
    workers: Mapping[str, Worker]
    steps: int
    command: Mapping[str, Any] = field(default_factory=dict)
    warm_up: Sequence[Mapping[str, Any]] = ({},)

    def ask(self, workers: Workers, steps: int, more: Mapping[str, Any] | None = None) -> Answers:
        """Have it take some steps."""
        return workers.ask({name: {"steps": steps, **self.command, **(more or {})} for name in self.workers})


def rivals_of(setup: Setup, folder: Path) -> list[Rival]:
    """All that is measured beside ours with a dealer and plaintext."""
    found = []
    if setup.against == "crypten":
        found += crypten(setup, folder)
    if setup.against == "spu":
        found += spu(setup, folder)
    if setup.two_party and setup.link is None and can_do_without_dealer(setup):
        found += two_party(setup, folder)
    return found


def crypten(setup: Setup, folder: Path) -> list[Rival]:
    sizes = {"features": setup.features, "hidden": setup.hidden, "batch": setup.batch, "threads": setup.threads}
    common = {**sizes, "rendezvous": str(folder / "rendezvous"), "interface": _loopback()}
    workers = {f"crypten-{rank}": Worker("crypten_party", {**common, "rank": rank}) for rank in (0, 1)}
    counting: Sequence[Mapping[str, Any]] = ({}, {"count": True})
    return [Rival(f"crypten {way}", workers, CRYPTEN_STEPS, {"way": way}, counting) for way in CRYPTEN_WAYS]


def spu(setup: Setup, folder: Path) -> list[Rival]:
    sizes = {"features": setup.features, "hidden": setup.hidden, "batch": setup.batch}
    ports = processes.free_ports(2 * len(SPU_STEPS))
    rivals = []
    for number, (protocol, steps) in enumerate(SPU_STEPS.items()):
        common = {**sizes, "protocol": protocol, "ports": ports[2 * number : 2 * number + 2]}
        workers = {}
        for rank in (0, 1):
            name = f"spu-{protocol}-{rank}"
            workers[name] = Worker("spu_party", {**common, "rank": rank, "console": str(folder / f"{name}.out")})
        rivals.append(Rival(f"spu {protocol}", workers, steps))
    return rivals


def can_do_without_dealer(setup: Setup) -> bool:
    """Whether this machine has what two parties alone need: the functions in C."""
    try:
        backend_of(setup.without_dealer(1)).check(Party(role="developer"))
    except UsageError:
        return False
    return True


def two_party(setup: Setup, folder: Path) -> list[Rival]:
    """Ours without a dealer, in a steady state and with masks ready (see above)."""
    count = len(slices(setup))
    steady = setup.without_dealer(1 + count * STEADY_STEPS + ROOM)
    ready = setup.without_dealer(1 + count * READY_STEPS)
    every = len(UsedPlans(stretches_of(ready)))
    return [
        Rival(STEADY, _pair(setup, folder, STEADY, steady, ROOM), STEADY_STEPS, {"log": False, "ahead": ROOM}),
        Rival(READY, _pair(setup, folder, READY, ready, every), READY_STEPS, {"log": False}, [{"ahead": every - 1}]),
    ]


def _pair(setup: Setup, folder: Path, name: str, experiment: Experiment, room: int) -> dict[str, Worker]:
    place = folder / name
    place.mkdir()
    processes.prepare(place, experiment, None)
    common = {"folder": str(place), "work": "head", "delayed": False, "threads": setup.threads, "room": room}
    return {f"{name}-{role}": Worker("party", {**common, "role": role}) for role in experiment.roles}


def slices(setup: Setup) -> list[int]:
    """Steps of ours with a dealer in each slice."""
    if setup.against != "spu":
        return ours.slices(setup.steps)
    count = min(SPU_SLICES, setup.steps)
    return [setup.steps // count + (number < setup.steps % count) for number in range(count)]


def _loopback() -> str:
    """The name of the loopback interface, which gloo wants to know."""
    names = [name for _, name in socket.if_nameindex()]
    return next((name for name in names if name.startswith("lo")), "lo")
