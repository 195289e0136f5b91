"""The whole training: joint steps of the secure run and of its plaintext twin, in turns on one machine.

A step is everything that a run does between two batches: classifier forward, head, classifier backward, optimizer,
and the log where the experiment keeps one. Left out: the warm-up on the task alone, scoring at the end of epochs, and
what is done once.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from amint_mpc.bench import ours
from amint_mpc.bench.noise import on_noise
from amint_mpc.bench.ours import LEAD, WARM_UP, EmulatedLink
from amint_mpc.bench.workers import Answers, Worker, Workers
from amint_mpc.config import ROLES, Experiment
from amint_mpc.errors import UsageError
from amint_mpc.events import OnProgress
from amint_mpc.host import processes


def measure(
    experiment: Experiment,
    steps: int,
    data: Path | None = None,
    threads: int = 1,
    link: EmulatedLink | None = None,
    on_progress: OnProgress = lambda *_: None,
    device: str = "auto",
    noise: int | None = None,
) -> dict[str, Any]:
    """Run the comparison.

    Args:
        steps: of the secure run, over all slices; the twin takes as many with one thread and as many with all.
        data: where image files lie.
        threads: of the developer's torch; the others have one each.
        device: of the classifier, the developer's and the twin's.
        noise: train on images of noise, of so many pixels a side, in place of the experiment's.

    Returns:
        the figures, in milliseconds and MB a step.
    """
    if noise is not None:
        experiment = on_noise(experiment, noise)
    if experiment.insecure or experiment.head.features is not None:
        raise UsageError("this experiment cannot be run securely with the program's own loop")
    if min(steps, threads) < 1:
        raise UsageError("steps and threads are 1 or more")
    with tempfile.TemporaryDirectory(prefix="amint-mpc-bench-") as name:
        folder = Path(name)
        processes.prepare(folder, shortened(experiment, 2 * (WARM_UP + LEAD + steps)), data, device=device)
        work = "train" if noise is None else "noise"
        roles = experiment.roles
        by_name = ours.parties(folder, work, [threads, 1, 1][: len(roles)], link is not None, roles)
        by_name["twin"] = Worker("plaintext", {"folder": name, "work": work})
        on_progress("starting the processes", 0, 1)
        with Workers(by_name, folder) as workers:
            return _contest(workers, ours.slices(steps), threads, link, experiment.evidence.log, on_progress) | {
                "experiment": experiment.name,
                "digest": experiment.digest(),
                "steps": steps,
            }


def shortened(experiment: Experiment, steps: int) -> Experiment:
    """The same experiment with just enough epochs for so many joint steps, and nothing scored before the last.

    No block is checked: a check costs what a step does, and is none. A warm-up epoch stays only where distillation
    needs a teacher.
    """
    changes = {
        "epochs": -(-steps // experiment.steps_per_epoch),
        "warmup_epochs": 1 if experiment.training.distillation else 0,
        "evaluate_every": 0,
        "sealed_epochs": 0,
    }
    security = experiment.security.model_copy(update={"checked_blocks": 0.0})
    training = experiment.training.model_copy(update=changes)
    return experiment.model_copy(update={"training": training, "security": security})


def _contest(
    workers: Workers, parts: list[int], threads: int, link: EmulatedLink | None, log: bool, on_progress: OnProgress
) -> dict[str, Any]:
    choices = sorted({1, os.cpu_count() or 1})
    ours.warm_up(workers, link)
    for count in choices:
        workers.ask({"twin": {"steps": WARM_UP, "threads": count}})
    done: list[Answers] = []
    secure: list[float] = []
    unlogged: list[float] = []
    twins: dict[int, list[Answers]] = {count: [] for count in choices}
    for number, steps in enumerate(parts, start=1):
        done.append(ours.run_slice(workers, steps, log=log))
        secure.append(ours.ms_per_step(done[-1], steps))
        if log:
            unlogged.append(ours.ms_per_step(ours.run_slice(workers, steps), steps))
        for count in choices:
            twins[count].append(workers.ask({"twin": {"steps": steps, "threads": count}}))
        on_progress("slices", number, len(parts))
    own, twin = ours.middle(secure), {}
    for count, answers in twins.items():
        twin[count] = ours.middle([ours.ms_per_step(a, steps) for a, steps in zip(answers, parts, strict=True)])
    best = min(choices, key=lambda count: twin[count]["median"])
    plain = twin[best]
    return {
        "secure_step_ms": own["median"],
        "plaintext_step_ms": plain["median"],
        "overhead": own["median"] / plain["median"],
        "log_share": ours.log_share(secure, unlogged) if log else None,
        **ours.costs(done),
        **_of_device({"developer": done, "twin": twins[best]}),
        "spread": {
            "secure_step_ms": [own["min"], own["max"]],
            "plaintext_step_ms": [plain["min"], plain["max"]],
        },
        "threads": {"developer": threads, **{role: 1 for role in ROLES[1:] if role in workers.names}, "twin": best},
        "plaintext_step_ms_by_threads": {str(count): found["median"] for count, found in twin.items()},
        "slices": len(parts),
        "link": link.command if link else None,
    }


def _of_device(slices: dict[str, list[Answers]]) -> dict[str, Any]:
    """Of the classifier's device, for each process: the share of the steps in which it waits, and its most memory.

    On the CPU there is no such memory: that of the process counts (`peak_mb`).
    """
    waits, peak = {}, {}
    for name, answers in slices.items():
        own = [each[name] for each in answers]
        waits[name] = sum(each["device_waits"] for each in own) / sum(sum(each["seconds"]) for each in own)
        peak[name] = own[-1]["peak_device_mb"]
    return {"device_waits_share": waits, "peak_device_mb": None if None in peak.values() else peak}
