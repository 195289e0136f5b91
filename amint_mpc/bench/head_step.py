"""The head alone: one training step by us, by stock CrypTen or SPU, and in plaintext, in turns on one machine.

Each slice runs every contestant once, so that a noisy machine treats all alike; figures are medians over slices with
their spread. A slice of ours ends when all three parties are done with it, so that no work is left out.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from amint_mpc.bench import ours
from amint_mpc.bench.ours import WARM_UP, EmulatedLink
from amint_mpc.bench.workers import Answers, Worker, Workers
from amint_mpc.config import Data, Evidence, Experiment, Head, Security, Training
from amint_mpc.errors import UsageError
from amint_mpc.events import OnProgress
from amint_mpc.host import processes

Against = Literal["crypten", "spu"]

CRYPTEN_WAYS = ("stock", "lean")  # see `crypten_party`
CRYPTEN_STEPS = 2  # of each way in a slice
SPU_STEPS = {"semi2k": 3, "cheetah": 1}  # of each protocol in a slice, see `spu_party`
SPU_INSTALL = "Install the extra spu: pip install '.[spu]' (Python 3.10 or 3.11)"
SPU_SLICES = 3  # at most, for a step of cheetah takes long
PLAIN_STEPS = 40
LINKS = (0.0, 1.0, 5.0, 20.0, 50.0)
LINK_STEPS = 5  # at each round-trip time of a plot


@dataclass(frozen=True)
class Setup:
    """What is measured.

    Args:
        batch: rows of a step, half of them members.
        steps: of ours, over all slices.
        threads: of torch, in each process of ours and of CrypTen.
        against: measure this, too.
        link: between developer and auditor; None: loopback as it is.
    """

    features: int = 768
    hidden: int = 128
    batch: int = 128
    steps: int = 50
    threads: int = 1
    against: Against | None = None
    link: EmulatedLink | None = None

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


def measure(setup: Setup, links: Sequence[float] = (), on_progress: OnProgress = lambda *_: None) -> dict[str, Any]:
    """Run the comparison.

    Args:
        links: round-trip times (ms) at which ours is measured besides.

    Returns:
        the figures, in milliseconds and MB a step; what belongs to CrypTen or SPU is None where it was not asked
        for.

    Raises:
        UsageError: SPU is to be measured and is not installed.
    """
    if setup.against == "spu" and importlib.util.find_spec("spu") is None:
        raise UsageError("SPU is not installed here", SPU_INSTALL)
    delayed = setup.link is not None or bool(links)
    total = WARM_UP + ours.LEAD + 2 * setup.steps + len(links) * (LINK_STEPS + 1)
    with tempfile.TemporaryDirectory(prefix="amint-mpc-bench-") as name:
        folder = Path(name)
        processes.prepare(folder, setup.experiment(total), None)
        by_name = ours.parties(folder, "head", [setup.threads] * 3, delayed)
        by_name["plaintext"] = Worker("plaintext", {"folder": name, "work": "head"})
        rivals = _rivals(setup, folder)
        for rival in rivals:
            by_name |= rival.workers
        on_progress("starting the processes", 0, 1)
        with Workers(by_name, folder) as workers:
            contest = _Contest(workers, setup, rivals)
            contest.warm_up()
            parts = _slices(setup)
            for number, steps in enumerate(parts, start=1):
                contest.turn(steps)
                on_progress("slices", number, len(parts))
            result = contest.result()
            for number, rtt in enumerate(links, start=1):
                contest.at(EmulatedLink(rtt, setup.link.mbit if setup.link else None))
                on_progress("round-trip times", number, len(links))
            return result | ({"at_rtt": contest.links} if links else {})


class _Contest:
    """The contestants, and what their slices said."""

    def __init__(self, workers: Workers, setup: Setup, rivals: Sequence[Rival]) -> None:
        self._workers, self._setup, self._rivals = workers, setup, rivals
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._threads = sorted({1, cores})
        self._ours: list[dict[str, dict[str, Any]]] = []
        self._ms: dict[str, list[float]] = {}
        self._warm: dict[str, Answers] = {}
        self._theirs: dict[str, list[Answers]] = {rival.name: [] for rival in rivals}
        self.links: list[dict[str, float]] = []

    def warm_up(self) -> None:
        """What is done once, and the steps in which CrypTen counts; none of it is timed."""
        ours.warm_up(self._workers, self._setup.link)
        for threads in self._threads:
            self._workers.ask({"plaintext": {"steps": PLAIN_STEPS, "threads": threads}})
        for rival in self._rivals:
            for more in rival.warm_up:
                self._warm[rival.name] = rival.ask(self._workers, 1, more)

    def turn(self, steps: int) -> None:
        """One slice of each."""
        answers = ours.run_slice(self._workers, steps)
        self._ours.append(answers)
        self._note("ours", ours.ms_per_step(answers, steps))
        self._note("ours with log", ours.ms_per_step(ours.run_slice(self._workers, steps, log=True), steps))
        for rival in self._rivals:
            answers = rival.ask(self._workers, rival.steps)
            self._theirs[rival.name].append(answers)
            self._note(rival.name, ours.ms_per_step(answers, rival.steps))
        for threads in self._threads:
            answers = self._workers.ask({"plaintext": {"steps": PLAIN_STEPS, "threads": threads}})
            self._note(f"plaintext {threads}", ours.ms_per_step(answers, PLAIN_STEPS))

    def at(self, link: EmulatedLink) -> None:
        """Ours over another link."""
        ours.run_slice(self._workers, 1, link)
        answers = ours.run_slice(self._workers, LINK_STEPS)
        self.links.append({"rtt_ms": link.rtt_ms, "ms": ours.ms_per_step(answers, LINK_STEPS)})

    def result(self) -> dict[str, Any]:
        setup, found = self._setup, {name: ours.middle(values) for name, values in self._ms.items()}
        threads = min(self._threads, key=lambda count: found[f"plaintext {count}"]["median"])
        plain, own = found[f"plaintext {threads}"], found["ours"]
        theirs = {
            "crypten_ms": found.get("crypten stock"),
            "crypten_lean_ms": found.get("crypten lean"),
            "spu_semi2k_ms": found.get("spu semi2k"),
            "spu_cheetah_ms": found.get("spu cheetah"),
            "two_party_ms": found.get("two-party"),
        }
        times = {key: value and value["median"] for key, value in theirs.items()}
        speedups = {
            f"speedup_vs_{key.removesuffix('_ms')}": value and value / own["median"] for key, value in times.items()
        }
        counted = {way: self._warm[f"crypten {way}"]["crypten-0"] for way in CRYPTEN_WAYS if times["crypten_ms"]}
        sent = {protocol: self._sent(f"spu {protocol}") for protocol in SPU_STEPS if times["spu_semi2k_ms"]}
        spread = {"ours_ms": own, **theirs, "plaintext_ms": plain}
        return {
            "ours_ms": own["median"],
            "plaintext_ms": plain["median"],
            "overhead_vs_plaintext": own["median"] / plain["median"],
            "ours_with_log_ms": found["ours with log"]["median"],
            "log_share": ours.log_share(self._ms["ours with log"], self._ms["ours"]),
            **ours.costs(self._ours),
            **times,
            **speedups,
            "crypten_rounds": {way: said["rounds"] for way, said in counted.items()} or None,
            "crypten_mb": {way: said["bytes"] / 1e6 for way, said in counted.items()} or None,
            "spu_mb": sent or None,
            "two_party_mb": self._sent("two-party") if times["two_party_ms"] else None,
            "two_party_vs_spu_cheetah": _share(found, "two-party", "spu cheetah"),
            "spread": {name: value and [value["min"], value["max"]] for name, value in spread.items()},
            "threads": {"each_party": setup.threads, "plaintext": threads},
            "features": setup.features,
            "hidden": setup.hidden,
            "batch": setup.batch,
            "steps": setup.steps,
            "slices": len(self._ours),
            "link": setup.link.command if setup.link else None,
        }

    def _note(self, name: str, ms: float) -> None:
        self._ms.setdefault(name, []).append(ms)

    def _sent(self, name: str) -> list[float]:
        """MB a step that each process of a rival sent, over all its slices: some messages go only now and then."""
        rival = next(rival for rival in self._rivals if rival.name == name)
        done = self._theirs[name]
        return [sum(said[key]["bytes_sent"] for said in done) / len(done) / rival.steps / 1e6 for key in rival.workers]


def _share(found: Mapping[str, Mapping[str, float]], one: str, other: str) -> float | None:
    return found[one]["median"] / found[other]["median"] if one in found and other in found else None


def _rivals(setup: Setup, folder: Path) -> list[Rival]:
    if setup.against == "crypten":
        return _crypten(setup, folder)
    if setup.against == "spu":
        return [*_spu(setup, folder), _two_party(setup, folder)]
    return []


def _crypten(setup: Setup, folder: Path) -> list[Rival]:
    sizes = {"features": setup.features, "hidden": setup.hidden, "batch": setup.batch, "threads": setup.threads}
    common = {**sizes, "rendezvous": str(folder / "rendezvous"), "interface": _loopback()}
    workers = {f"crypten-{rank}": Worker("crypten_party", {**common, "rank": rank}) for rank in (0, 1)}
    counting: Sequence[Mapping[str, Any]] = ({}, {"count": True})
    return [Rival(f"crypten {way}", workers, CRYPTEN_STEPS, {"way": way}, counting) for way in CRYPTEN_WAYS]


def _spu(setup: Setup, folder: Path) -> list[Rival]:
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


def _two_party(setup: Setup, folder: Path) -> Rival:
    """Ours without a dealer: two processes as in a run, which make their masks themselves."""
    place = folder / "two-party"
    place.mkdir()
    experiment = setup.without_dealer(SPU_SLICES + 1)
    processes.prepare(place, experiment, None)
    common = {"folder": str(place), "work": "head", "delayed": False, "threads": 1}
    workers = {f"two-party-{role}": Worker("party", {**common, "role": role}) for role in experiment.roles}
    return Rival("two-party", workers, 1, {"log": False})


def _slices(setup: Setup) -> list[int]:
    """Steps of ours in each slice."""
    if setup.against != "spu":
        return ours.slices(setup.steps)
    count = min(SPU_SLICES, setup.steps)
    return [setup.steps // count + (number < setup.steps % count) for number in range(count)]


def _loopback() -> str:
    """The name of the loopback interface, which gloo wants to know."""
    names = [name for _, name in socket.if_nameindex()]
    return next((name for name in names if name.startswith("lo")), "lo")
