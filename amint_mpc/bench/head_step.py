"""The head alone: one training step by us, by stock CrypTen or SPU, and in plaintext, in turns on one machine.

Each slice runs every contestant once, so that a noisy machine treats all alike; figures are medians over slices with
their spread. A slice of ours ends when all three parties are done with it, so that no work is left out; so does one of
ours without a dealer (`rivals`), whose masks are made by its two parties.
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from amint_mpc.bench import ours
from amint_mpc.bench.ours import WARM_UP, EmulatedLink
from amint_mpc.bench.rivals import CRYPTEN_WAYS, READY, SPU_STEPS, STEADY, Rival, rivals_of, slices
from amint_mpc.bench.setup import Setup
from amint_mpc.bench.workers import Answers, Worker, Workers
from amint_mpc.errors import UsageError
from amint_mpc.events import OnProgress
from amint_mpc.host import processes

SPU_INSTALL = "Install the extra spu: pip install '.[spu]' (Python 3.10 or 3.11)"
PLAIN_STEPS = 40
LINKS = (0.0, 1.0, 5.0, 20.0, 50.0)
LINK_STEPS = 5  # at each round-trip time of a plot


def measure(setup: Setup, links: Sequence[float] = (), on_progress: OnProgress = lambda *_: None) -> dict[str, Any]:
    """Run the comparison.

    Args:
        links: round-trip times (ms) at which ours is measured besides.

    Returns:
        the figures, in milliseconds and MB a step; what was not measured is None.

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
        rivals = rivals_of(setup, folder)
        for rival in rivals:
            by_name |= rival.workers
        on_progress("starting the processes", 0, 1)
        with Workers(by_name, folder) as workers:
            contest = _Contest(workers, setup, rivals)
            contest.warm_up()
            parts = slices(setup)
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
            "two_party_ms": found.get(STEADY),
        }
        ready = found.get(READY)
        times = {key: value and value["median"] for key, value in theirs.items()}
        speedups = {
            f"speedup_vs_{key.removesuffix('_ms')}": value and value / own["median"] for key, value in times.items()
        }
        counted = {way: self._warm[f"crypten {way}"]["crypten-0"] for way in CRYPTEN_WAYS if times["crypten_ms"]}
        measured = {protocol: f"spu {protocol}" for protocol in SPU_STEPS if times["spu_semi2k_ms"]}
        spread = {"ours_ms": own, **theirs, "two_party_online_ms": ready, "plaintext_ms": plain}
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
            "spu_mb": {protocol: self._each(name, "bytes_sent", 1e6) for protocol, name in measured.items()} or None,
            "spu_cpu_ms": {protocol: self._each(name, "cpu", 1e-3) for protocol, name in measured.items()} or None,
            "two_party_online_ms": ready and ready["median"],
            **self._two_party(),
            "two_party_vs_spu_cheetah": _share(found, STEADY, "spu cheetah"),
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

    def _two_party(self) -> dict[str, Any]:
        """What ours without a dealer costs besides time, masks and all; rounds: of the online part."""
        keys = ("two_party_mb", "two_party_rounds", "two_party_cpu_ms", "two_party_peak_mb")
        if STEADY not in self._ms:
            return dict.fromkeys(keys)
        sent, cpu = self._each(STEADY, "bytes_on_all_links", 1e6), self._each(STEADY, "cpu", 1e-3)
        peaks = [max(said[key]["peak_mb"] for said in self._theirs[STEADY]) for key in self._rival(STEADY).workers]
        rounds = sum(ours.rounds(said.values()) for said in self._theirs[READY])
        rounds = rounds // len(self._theirs[READY]) // self._rival(READY).steps
        return dict(zip(keys, (sent, rounds, cpu, peaks), strict=True))

    def _rival(self, name: str) -> Rival:
        return next(rival for rival in self._rivals if rival.name == name)

    def _each(self, name: str, key: str, unit: float) -> list[float]:
        """A figure a step of each process of a rival, over all its slices: some messages go only now and then."""
        done, rival = self._theirs[name], self._rival(name)
        return [sum(said[one][key] for said in done) / len(done) / rival.steps / unit for one in rival.workers]


def _share(found: Mapping[str, Mapping[str, float]], one: str, other: str) -> float | None:
    return found[one]["median"] / found[other]["median"] if one in found and other in found else None
