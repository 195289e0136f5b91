"""The three measured parties of one experiment: their settings, the slices they take, and what a slice says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from amint_mpc.bench.workers import Answers, Worker, Workers, seconds
from amint_mpc.config import PARTIES, ROLES, Role
from amint_mpc.errors import UsageError

WARM_UP = 3
LEAD = 2  # blocks that the dealer is ahead of the developer, as in a run that is under way
SLICES = 5


@dataclass(frozen=True)
class EmulatedLink:
    """A link between developer and auditor that is slower than loopback (see `delay`)."""

    rtt_ms: float = 0.0
    mbit: float | None = None

    def __post_init__(self) -> None:
        if self.rtt_ms < 0 or (self.mbit is not None and self.mbit <= 0):
            raise UsageError("a round trip takes 0 ms or more, and a link carries more than 0 Mbit/s")

    @property
    def command(self) -> dict[str, Any]:
        return {"rtt_ms": self.rtt_ms, "mbit": self.mbit}


def parties(
    folder: Path, work: str, threads: Sequence[int], delayed: bool, roles: Sequence[Role] = ROLES
) -> dict[str, Worker]:
    """The parties of a folder that `host.processes.prepare` made. threads: of each."""
    common = {"folder": str(folder), "work": work, "delayed": delayed}
    return {
        role: Worker("party", {**common, "role": role, "threads": count})
        for role, count in zip(roles, threads, strict=True)
    }


def warm_up(workers: Workers, link: EmulatedLink | None = None) -> None:
    """The first steps, and the dealer's lead."""
    run_slice(workers, WARM_UP, link, lead=LEAD, log=True)


def run_slice(
    workers: Workers, steps: int, link: EmulatedLink | None = None, lead: int = 0, log: bool = False
) -> Answers:
    """Some steps of all parties. The next slice has the same link unless it is told another.

    Args:
        lead: blocks that the dealer makes besides. log: developer and auditor keep the log of these steps.
    """
    command: dict[str, Any] = {"steps": steps, "log": log} | (link.command if link else {})
    commands: dict[str, dict[str, Any]] = {role: dict(command) for role in ROLES if role in workers.names}
    if "dealer" in commands:
        commands["dealer"]["steps"] += lead
    return workers.ask(commands)


def slices(steps: int) -> list[int]:
    """The steps of each slice."""
    count = min(SLICES, steps)
    return [steps // count + (number < steps % count) for number in range(count)]


def ms_per_step(answers: Answers, steps: int) -> float:
    """All that a slice took, until the last party was done with it, for each of its steps."""
    return 1e3 * seconds(answers) / steps


def middle(values: Sequence[float]) -> dict[str, float]:
    """Median and spread of what the slices said."""
    return {"median": median(values), "min": min(values), "max": max(values)}


def log_share(with_log: Sequence[float], without: Sequence[float]) -> float:
    """Which part of a step with a log the log is: the median over slices that were taken side by side."""
    return median((logged - plain) / logged for logged, plain in zip(with_log, without, strict=True))


def rounds(parties: Iterable[Mapping[str, Any]]) -> int:
    """Of a slice, as both parties answered it.

    Each party's clock now and then runs ahead of the other's by one, so the later of the two counts.
    """
    before, after = zip(*(answer["clock"] for answer in parties), strict=True)
    return int(max(after)) - int(max(before))


def costs(done: Sequence[Answers]) -> dict[str, Any]:
    """What crossed the links, and where the time went, for each step of some slices; MB are a million bytes."""
    steps = sum(len(answers["developer"]["seconds"]) for answers in done)
    roles = [role for role in ROLES if role in done[0]]

    def each(role: str, key: str) -> float:
        return sum(float(answers[role][key]) for answers in done) / steps

    whole = 1e3 * sum(sum(answers["developer"]["seconds"]) for answers in done) / steps
    blocked = 1e3 * sum(sum(answers["developer"]["blocked"]) for answers in done) / steps
    in_head = 1e3 * each("developer", "in_head")
    peer, masks = 1e3 * each("developer", "waiting_for_peer"), 1e3 * each("developer", "waiting_for_dealer")
    return {
        "rounds": sum(rounds(said[role] for role in PARTIES) for said in done) // steps,  # the same in every step
        "mb_sent_developer": each("developer", "bytes_sent") / 1e6,
        "mb_sent_auditor": each("auditor", "bytes_sent") / 1e6,
        "mb_dealer": each("dealer", "bytes_sent") / 1e6 if "dealer" in roles else 0.0,
        "developer_ms": {
            "backbone": whole - blocked,
            "secure_computing": in_head - peer - masks,
            "waiting_for_peer": peer,
            "waiting_for_dealer": masks,
            "at_the_same_time": in_head - blocked,  # the head's, in another thread than the backbone's
        },
        "auditor_waiting_ms": 1e3 * each("auditor", "waiting_for_peer"),
        "cpu_ms": {role: 1e3 * each(role, "cpu") for role in roles},
        "peak_mb": {role: max(answers[role]["peak_mb"] for answers in done) for role in roles},
    }
