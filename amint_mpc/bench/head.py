"""The head alone: one training step by us, by stock CrypTen and in plaintext, in turns on one machine.

Each slice runs every contestant once, so that a noisy machine treats all alike; figures are medians over slices with
their spread. A slice of ours ends when all three parties are done with it, so that no work is left out.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amint_mpc.bench import ours
from amint_mpc.bench.ours import WARM_UP, Emulated, Tell
from amint_mpc.bench.team import Member, Team
from amint_mpc.config import Data, Evidence, Experiment, Head, Training
from amint_mpc.errors import UsageError
from amint_mpc.roles import local

CRYPTEN_WAYS = ("stock", "lean")  # see `crypten_party`
CRYPTEN_STEPS = 2  # of each way in a slice
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
        crypten: measure it, too.
        link: between developer and auditor; None: loopback as it is.
    """

    features: int = 768
    hidden: int = 128
    batch: int = 128
    steps: int = 50
    threads: int = 1
    crypten: bool = False
    link: Emulated | None = None

    def __post_init__(self) -> None:
        if self.batch < 2 or self.batch % 2:
            raise UsageError("half of a batch are members", "give --batch an even number")
        if min(self.features, self.hidden, self.steps, self.threads) < 1:
            raise UsageError("sizes, steps and threads are 1 or more")
        if self.crypten and self.link is not None:
            raise UsageError(
                "the delay is put into our own link; CrypTen's cannot be delayed, so the two would not compare",
                "leave out --against, or --rtt-ms and --mbit",
            )

    def experiment(self, steps: int) -> Experiment:
        """An experiment of so many head steps, with features that come from nowhere."""
        members = self.batch // 2
        rows = max(4, members)
        return Experiment(
            name="bench-head",
            data=Data(members=max(4, members * steps), external=rows, unseen=4),
            head=Head(hidden=self.hidden, features=self.features),
            training=Training(epochs=1, warmup_epochs=0, batch=members, evaluate_every=0),
            evidence=Evidence(log=False),
        )


def measure(setup: Setup, links: Sequence[float] = (), tell: Tell = lambda *_: None) -> dict[str, Any]:
    """Run the comparison.

    Args:
        links: round-trip times (ms) at which ours is measured besides.

    Returns:
        the figures, in milliseconds and MB a step; `speedup_vs_crypten` and what belongs to CrypTen are None where
        it was not asked for.
    """
    delayed = setup.link is not None or bool(links)
    total = WARM_UP + ours.LEAD + 2 * setup.steps + len(links) * (LINK_STEPS + 1)
    with tempfile.TemporaryDirectory(prefix="amint-mpc-bench-") as name:
        folder = Path(name)
        local.prepare(folder, setup.experiment(total), None)
        members = ours.members(folder, "head", [setup.threads] * 3, delayed)
        members["plaintext"] = Member("plaintext", {"folder": name, "work": "head"})
        crypten = _crypten(setup, folder) if setup.crypten else {}
        tell("starting the processes", 0, 1)
        with Team(members | crypten, folder) as team:
            contest = _Contest(team, setup, list(crypten))
            contest.warm_up()
            parts = ours.slices(setup.steps)
            for number, steps in enumerate(parts, start=1):
                contest.turn(steps)
                tell("slices", number, len(parts))
            result = contest.result()
            for number, rtt in enumerate(links, start=1):
                contest.at(Emulated(rtt, setup.link.mbit if setup.link else None))
                tell("round-trip times", number, len(links))
            return result | ({"at_rtt": contest.links} if links else {})


class _Contest:
    """The contestants, and what their slices said."""

    def __init__(self, team: Team, setup: Setup, crypten: list[str]) -> None:
        self._team, self._setup, self._crypten = team, setup, crypten
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._threads = sorted({1, cores})
        self._ours: list[dict[str, dict[str, Any]]] = []
        self._ms: dict[str, list[float]] = {}
        self._counted: dict[str, Any] = {}
        self.links: list[dict[str, float]] = []

    def warm_up(self) -> None:
        """What is done once, and CrypTen's steps in which it counts; none of it is timed."""
        ours.warm_up(self._team, self._setup.link)
        for threads in self._threads:
            self._team.ask({"plaintext": {"steps": PLAIN_STEPS, "threads": threads}})
        if self._crypten:
            for way in CRYPTEN_WAYS:
                self._team.ask({name: {"steps": 1, "way": way} for name in self._crypten})
                counted = self._team.ask({name: {"steps": 1, "way": way, "count": True} for name in self._crypten})
                self._counted[way] = counted[self._crypten[0]]

    def turn(self, steps: int) -> None:
        """One slice of each."""
        answers = ours.run_slice(self._team, steps)
        self._ours.append(answers)
        self._note("ours", ours.ms_per_step(answers, steps))
        self._note("ours with log", ours.ms_per_step(ours.run_slice(self._team, steps, log=True), steps))
        if self._crypten:
            for way in CRYPTEN_WAYS:
                answers = self._team.ask({key: {"steps": CRYPTEN_STEPS, "way": way} for key in self._crypten})
                self._note(f"crypten {way}", ours.ms_per_step(answers, CRYPTEN_STEPS))
        for threads in self._threads:
            answers = self._team.ask({"plaintext": {"steps": PLAIN_STEPS, "threads": threads}})
            self._note(f"plaintext {threads}", ours.ms_per_step(answers, PLAIN_STEPS))

    def at(self, link: Emulated) -> None:
        """Ours over another link."""
        ours.run_slice(self._team, 1, link)
        answers = ours.run_slice(self._team, LINK_STEPS)
        self.links.append({"rtt_ms": link.rtt_ms, "ms": ours.ms_per_step(answers, LINK_STEPS)})

    def result(self) -> dict[str, Any]:
        setup, found = self._setup, {name: ours.middle(values) for name, values in self._ms.items()}
        threads = min(self._threads, key=lambda count: found[f"plaintext {count}"]["median"])
        plain, own = found[f"plaintext {threads}"], found["ours"]
        crypten, lean = found.get("crypten stock"), found.get("crypten lean")
        spread = {"ours_ms": own, "crypten_ms": crypten, "crypten_lean_ms": lean, "plaintext_ms": plain}
        return {
            "ours_ms": own["median"],
            "crypten_ms": crypten and crypten["median"],
            "plaintext_ms": plain["median"],
            "speedup_vs_crypten": crypten and crypten["median"] / own["median"],
            "overhead_vs_plaintext": own["median"] / plain["median"],
            "ours_with_log_ms": found["ours with log"]["median"],
            "log_share": ours.log_share(self._ms["ours with log"], self._ms["ours"]),
            **ours.costs(self._ours),
            "crypten_lean_ms": lean and lean["median"],
            "speedup_vs_crypten_lean": lean and lean["median"] / own["median"],
            "crypten_rounds": {way: counted["rounds"] for way, counted in self._counted.items()} or None,
            "crypten_mb": {way: counted["bytes"] / 1e6 for way, counted in self._counted.items()} or None,
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


def _crypten(setup: Setup, folder: Path) -> dict[str, Member]:
    sizes = {"features": setup.features, "hidden": setup.hidden, "batch": setup.batch, "threads": setup.threads}
    common = {**sizes, "rendezvous": str(folder / "rendezvous"), "interface": _loopback()}
    return {f"crypten-{rank}": Member("crypten_party", {**common, "rank": rank}) for rank in (0, 1)}


def _loopback() -> str:
    """The name of the loopback interface, which gloo wants to know."""
    names = [name for _, name in socket.if_nameindex()]
    return next((name for name in names if name.startswith("lo")), "lo")
