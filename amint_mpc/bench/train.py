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
from amint_mpc.bench.ours import LEAD, WARM_UP, EmulatedLink
from amint_mpc.bench.workers import Worker, Workers
from amint_mpc.config import Experiment
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
) -> dict[str, Any]:
    """Run the comparison.

    Args:
        steps: of the secure run, over all slices; the twin takes as many with one thread and as many with all.
        data: where image files lie.
        threads: of the developer's torch; auditor and dealer have one each.

    Returns:
        the figures, in milliseconds and MB a step.
    """
    if experiment.insecure or experiment.head.features is not None:
        raise UsageError("this experiment cannot be run by three parties with the program's own loop")
    if min(steps, threads) < 1:
        raise UsageError("steps and threads are 1 or more")
    with tempfile.TemporaryDirectory(prefix="amint-mpc-bench-") as name:
        folder = Path(name)
        processes.prepare(folder, shortened(experiment, 2 * (WARM_UP + LEAD + steps)), data)
        by_name = ours.parties(folder, "train", [threads, 1, 1], link is not None)
        by_name["twin"] = Worker("plaintext", {"folder": name, "work": "train"})
        on_progress("starting the processes", 0, 1)
        with Workers(by_name, folder) as workers:
            return _contest(workers, ours.slices(steps), threads, link, experiment.evidence.log, on_progress) | {
                "experiment": experiment.name,
                "digest": experiment.digest(),
                "steps": steps,
            }


def shortened(experiment: Experiment, steps: int) -> Experiment:
    """The same experiment with just enough epochs for so many joint steps, and nothing scored before the last.

    A warm-up epoch stays only where distillation needs a teacher.
    """
    changes = {
        "epochs": -(-steps // experiment.steps_per_epoch),
        "warmup_epochs": 1 if experiment.training.distillation else 0,
        "evaluate_every": 0,
        "sealed_epochs": 0,
    }
    return experiment.model_copy(update={"training": experiment.training.model_copy(update=changes)})


def _contest(
    workers: Workers, parts: list[int], threads: int, link: EmulatedLink | None, log: bool, on_progress: OnProgress
) -> dict[str, Any]:
    choices = sorted({1, os.cpu_count() or 1})
    ours.warm_up(workers, link)
    for count in choices:
        workers.ask({"twin": {"steps": WARM_UP, "threads": count}})
    done: list[dict[str, dict[str, Any]]] = []
    secure: list[float] = []
    unlogged: list[float] = []
    twins: dict[int, list[float]] = {count: [] for count in choices}
    for number, steps in enumerate(parts, start=1):
        done.append(ours.run_slice(workers, steps, log=log))
        secure.append(ours.ms_per_step(done[-1], steps))
        if log:
            unlogged.append(ours.ms_per_step(ours.run_slice(workers, steps), steps))
        for count in choices:
            answers = workers.ask({"twin": {"steps": steps, "threads": count}})
            twins[count].append(ours.ms_per_step(answers, steps))
        on_progress("slices", number, len(parts))
    own, twin = ours.middle(secure), {count: ours.middle(values) for count, values in twins.items()}
    best = min(choices, key=lambda count: twin[count]["median"])
    plain = twin[best]
    return {
        "secure_step_ms": own["median"],
        "plaintext_step_ms": plain["median"],
        "overhead": own["median"] / plain["median"],
        "log_share": ours.log_share(secure, unlogged) if log else None,
        **ours.costs(done),
        "spread": {
            "secure_step_ms": [own["min"], own["max"]],
            "plaintext_step_ms": [plain["min"], plain["max"]],
        },
        "threads": {"developer": threads, "auditor": 1, "dealer": 1, "twin": best},
        "plaintext_step_ms_by_threads": {str(count): found["median"] for count, found in twin.items()},
        "slices": len(parts),
        "link": link.command if link else None,
    }
