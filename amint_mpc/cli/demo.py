"""`amint-mpc demo`: a secure run of all parties on this machine, beside the same training in the clear."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from amint_mpc.cli import figures, options, terminal
from amint_mpc.cli.failures import end_as_interrupted
from amint_mpc.cli.machine import warn_without_kernel
from amint_mpc.cli.screen import Screen
from amint_mpc.cli.terminal import echo
from amint_mpc.config import Experiment, Party, load_experiment
from amint_mpc.errors import UsageError
from amint_mpc.eventlines import json_line
from amint_mpc.events import Event
from amint_mpc.results import Figure, SecureRun, Summary

if TYPE_CHECKING:
    from amint_mpc.afterwards.agreement import Agreement

TITLES = {
    "secure": "\nsecure",
    "twin": "\nplaintext",
    "task-alone": "task\nalone",
    "task-with-distillation": "task +\ndistillation",
}
LEGEND = (
    "secure: head and classifier trained by two parties, in secure computation.\n"
    "plaintext: the same training in the clear; both should agree, within their intervals.\n"
    "task alone, task + distillation: no head, to show what the head costs.\n"
    "Progress shows calibration images, on which thresholds are chosen; the table shows other ones.\n"
    "Ranges are 95 % intervals; few unseen images make those at 1 % false alarms wide."
)


@click.command()
@options.config
@options.overrides
@options.data
@click.option(
    "--dealer",
    is_flag=True,
    help="With a dealer, a third process that makes all masks; without it the two parties make them themselves.",
)
@click.option(
    "--keep",
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep party files, keys and run folders in this new folder.  [default: run folders alone, in runs/]",
)
@options.as_json
def demo(
    source: str | None,
    overrides: tuple[str, ...],
    data: Path | None,
    dealer: bool,
    keep: Path | None,
    as_json: bool,
) -> None:
    """Run developer and auditor on this machine, then compare.

    Processes with throw-away keys train one classifier over loopback; then the same training runs in the clear, from
    the same first head, and the classifier alone, without and with distillation. All of it ends with one table.
    """
    experiment = load_experiment(source, (*overrides, "security.correlations=dealer") if dealer else overrides)
    if experiment.insecure:
        raise UsageError("the demo does not run without security", "Leave security.correlations as it is")
    if keep is not None and keep.exists():
        raise UsageError(f"{keep} exists already", "Give --keep a new folder")
    end_as_interrupted()

    import torch

    from amint_mpc import plaintext_run
    from amint_mpc.afterwards import agreement
    from amint_mpc.roles.heads import check_experiment

    check_experiment(experiment)
    console = terminal.console(as_json)
    data = options.images_folder(data)
    party = Party(role="developer", data=data)
    plaintext_run.check(experiment, party)
    warn_without_kernel(console)
    with _workplace(keep) as folder:
        runs = keep / "runs" if keep else Path("runs") / time.strftime("demo-%Y%m%d-%H%M%S")
        secure = _secure(console, folder, experiment, data, runs)
        plain = _plain(console, experiment, party, runs, secure.paths["auditor"])
    columns = {"secure": secure.figures, **{key: summary.figures for key, (summary, _) in plain.items()}}
    paths = {**secure.paths, **{key: path for key, (_, path) in plain.items()}}
    agreed = None
    if experiment.evidence.replay:
        console.print("[bold]The same steps[/] with a plaintext head beside the secure one", markup=True)
        torch.set_num_threads(os.cpu_count() or 1)  # the developer's: other sums are rounded in another order
        agreed = agreement.compare(paths["auditor"], paths["developer"], data)
    if as_json:
        found = _as_object(experiment, secure, columns, paths)
        echo(json_line(found | {"agreement": agreed and asdict(agreed)}))
    else:
        _print(console, experiment, secure, columns, runs, agreed)


@contextmanager
def _workplace(keep: Path | None) -> Iterator[Path]:
    """The folder of keys and party files, entered by this user alone; gone afterwards unless it is to be kept."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="amint-mpc-demo-") as folder:
            yield Path(folder)
        return
    keep.mkdir(parents=True, mode=0o700)
    yield keep


def _secure(console: Console, folder: Path, experiment: Experiment, data: Path | None, runs: Path) -> SecureRun:
    """The parties as processes."""
    from amint_mpc.host import processes

    roles, engine = experiment.roles, experiment.head_engine
    console.print(
        f"[bold]Secure run[/] {experiment.name}: {', '.join(roles)} as processes, head under {engine}, loopback, TLS, "
        "throw-away keys",
        soft_wrap=True,
        markup=True,
    )
    with Screen(console, roles) as screen:
        try:
            return processes.run(folder, experiment, data, runs, screen.show)
        except KeyboardInterrupt:
            console.print("the processes are stopped")
            raise


def _plain(
    console: Console, experiment: Experiment, party: Party, runs: Path, auditor: Path
) -> dict[str, tuple[Summary, Path]]:
    """The same experiment in the clear, from the auditor's first head, and its two baselines, one after another."""
    from safetensors.torch import load_file

    from amint_mpc import plaintext_run
    from amint_mpc.roles.auditor import FIRST_HEAD
    from amint_mpc.runfolder import RunFolder

    experiments = {"twin": experiment, **plaintext_run.baselines(experiment)}
    done: dict[str, tuple[Summary, Path]] = {}
    console.print("[bold]For comparison[/] in the clear, one after another", markup=True)
    with Screen(console, list(experiments)) as screen:
        for key, variant in experiments.items():
            with RunFolder.create(runs, variant, "twin", key) as folder:

                def on_event(event: Event, key: str = key, folder: RunFolder = folder) -> None:
                    folder.record(event)
                    screen.show(key, event)

                first = load_file(auditor / FIRST_HEAD) if key == "twin" else None
                done[key] = plaintext_run.run(variant, party, folder, on_event, first), folder.path
    return done


def _print(
    console: Console,
    experiment: Experiment,
    secure: SecureRun,
    columns: dict[str, dict[str, Figure]],
    runs: Path,
    agreed: Agreement | None,
) -> None:
    reports = secure.reports
    console.print()
    console.print(figures.table({TITLES[key]: found for key, found in columns.items()}))
    console.print()
    console.print(LEGEND, style="dim", soft_wrap=True)
    console.print()
    developer = reports["developer"]
    console.print(
        f"secure    {', '.join(figures.cost(developer))}, head under {experiment.head_engine}", soft_wrap=True
    )
    if agreed is not None:
        console.print(
            f"checked   with a plaintext head on the same steps: weights differ by {agreed.weights:.2%}, scores by "
            f"{agreed.scores:.2%}; membership loss {2 * math.log(2):.3f} before, {agreed.loss:.3f} after",
            soft_wrap=True,
        )
    sent = ", ".join(f"{role} {figures.size(reports[role].own_mb_sent or 0)}" for role in experiment.roles)
    console.print(f"sent      {sent} a step")
    console.print(f"method    {experiment.method}, seed {experiment.seed}")
    console.print(
        f"files     {runs}{os.sep}: {', '.join([*experiment.roles, *list(columns)[1:]])}", soft_wrap=True, markup=False
    )
    auditor = runs / "auditor"
    if experiment.evidence.log:
        console.print(f"log       amint-mpc verify {auditor}", soft_wrap=True, markup=False)
    console.print(f"page      amint-mpc report {auditor}", soft_wrap=True, markup=False)


def _as_object(
    experiment: Experiment, secure: SecureRun, columns: dict[str, dict[str, Figure]], paths: dict[str, Path]
) -> dict[str, Any]:
    reports, developer = secure.reports, secure.reports["developer"]
    return {
        "experiment": experiment.name,
        "method": experiment.method,
        "seed": experiment.seed,
        "digest": experiment.digest(),
        **figures.values(secure.figures),
        "task_accuracy_without_mint": columns["task-alone"]["task_accuracy"].value,
        "task_accuracy_with_distillation_alone": columns["task-with-distillation"]["task_accuracy"].value,
        "twin_mint_auc": columns["twin"]["mint_auc"].value,
        "twin_task_accuracy": columns["twin"]["task_accuracy"].value,
        "steps": developer.steps,
        "seconds": developer.seconds,
        "rounds_per_step": developer.rounds_per_step,
        "mb_sent_per_step": {role: reports[role].mb_sent_per_step for role in experiment.roles},
        "head_engine": experiment.head_engine,
        "runs": {key: str(path) for key, path in paths.items()},
        "intervals": {run: figures.intervals(found) for run, found in columns.items()},
    }
