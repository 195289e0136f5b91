"""`amint-mpc study`: a grid of runs, resumed where it stopped, with one table and one figure at the end."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from amint_mpc.cli import options, terminal
from amint_mpc.cli.failures import end_as_interrupted
from amint_mpc.cli.figures import duration
from amint_mpc.cli.machine import busy, warn_without_kernel
from amint_mpc.cli.progress import progress
from amint_mpc.cli.study_screen import StudyScreen
from amint_mpc.cli.terminal import echo
from amint_mpc.errors import AmintError
from amint_mpc.eventlines import json_line

if TYPE_CHECKING:
    from amint_mpc.study.folder import StudyFolder
    from amint_mpc.study.plan import Cell, StudyPlan
    from amint_mpc.study.results import Results


@click.command()
@click.option(
    "--config",
    "-c",
    "source",
    metavar="STUDY",
    required=True,
    help="A YAML file, or the name of a study from `amint-mpc config list`.",
)
@click.option(
    "--out",
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where runs and results go; the same folder goes on where it stopped.  [default: runs/ and the study's name]",
)
@click.option("--jobs", type=click.IntRange(1, 64), default=1, show_default=True, help="Runs at once.")
@options.data
@click.option("--dry-run", is_flag=True, help="Name the runs and estimate their time; run nothing.")
@options.as_json
def study(source: str, out: Path | None, jobs: int, data: Path | None, dry_run: bool, as_json: bool) -> None:
    """Run a grid of experiments, and put their results side by side.

    Every run has a folder of its own. Start the same command again and it goes on: what is finished stays, what was cut
    short or failed runs again. study.md, study.csv and figures/ are made anew after each run.
    """
    from amint_mpc.study.check import check  # loads torch
    from amint_mpc.study.folder import StudyFolder
    from amint_mpc.study.plan import load_study, make_plan

    end_as_interrupted()
    found, path = load_study(source)
    plan = make_plan(found, path.parent)
    images = options.images_folder(data)
    check(plan, images)
    folder = StudyFolder(out or Path("runs") / found.name)
    console = terminal.console(as_json)
    if dry_run:
        _dry_run(plan, folder, jobs, console, as_json)
        return
    command = shlex.join(
        [
            *("amint-mpc", "study", "--config", source),
            *(["--out", str(out)] if out else []),
            *(["--jobs", str(jobs)] if jobs > 1 else []),
            *(["--data", str(data)] if data else []),
        ]
    )
    if any(cell.mode == "secure" for cell in plan.cells):
        warn_without_kernel(console)
    results = _run(plan, folder, jobs, images, command, console)
    _print(plan, folder, results, console, as_json)
    if results.counts["failed"]:
        raise _failed(results, folder, plan)


def _run(plan: StudyPlan, folder: StudyFolder, jobs: int, data: Path | None, command: str, console: Console) -> Results:
    from amint_mpc.study.pool import CellEnded, Pool, accelerators
    from amint_mpc.study.results import rebuild
    from amint_mpc.study.timing import Pace

    with folder.locked(plan):
        results = rebuild(plan, folder, command)
        todo = [cell for cell in plan.cells if folder.summary(cell) is None]
        with StudyScreen(console, len(plan.cells), len(plan.cells) - len(todo)) as screen:
            pace = Pace(todo, jobs)
            try:
                with Pool(folder, jobs, data, accelerators()) as pool:
                    for event in pool.run(todo):
                        if isinstance(event, CellEnded):
                            results = rebuild(plan, folder, command)
                            pace.ended(event.cell, event.seconds)
                        screen.show(event, pace.left(), results)
            except KeyboardInterrupt:
                rebuild(plan, folder, command)
                console.print("stopped; the same command goes on from here")
                raise
        return results


def _print(plan: StudyPlan, folder: StudyFolder, results: Results, console: Console, as_json: bool) -> None:
    if as_json:
        counts = {status: results.counts[status] for status in ("done", "failed", "pending")}
        files = [str(path) for path in results.files]
        echo(json_line({"study": plan.study.name, "folder": str(folder.path), "runs": counts, "files": files}))
        return
    text = (folder.path / "study.md").read_text(encoding="utf-8")
    console.print()
    console.print(text.partition("## How to read this")[0].rstrip(), markup=False, soft_wrap=True)
    console.print()
    console.print("files:", style="bold")
    for path in results.files:
        console.print(f"  {path}", markup=False, soft_wrap=True)


def _failed(results: Results, folder: StudyFolder, plan: StudyPlan) -> AmintError:
    """The error at the end, with the exit code of the failures where they have one in common."""
    records = [record for cell in plan.cells if (record := folder.failure(cell))]
    messages = [f"{row.run}: {row.message}" for row in results.rows if row.status == "failed"]
    shown = messages[:5] + ([f"and {len(messages) - 5} more, in study.md"] if len(messages) > 5 else [])
    error = AmintError(
        f"{len(messages)} of {len(results.rows)} runs failed\n" + "\n".join(shown), "The same command tries them again"
    )
    codes = {record.code for record in records}
    error.exit_code = codes.pop() if len(codes) == 1 else 1
    return error


def _dry_run(plan: StudyPlan, folder: StudyFolder, jobs: int, console: Console, as_json: bool) -> None:
    import torch

    from amint_mpc.bench.estimate import estimate, load_average, plaintext_seconds
    from amint_mpc.study.pool import threads
    from amint_mpc.study.timing import expect

    torch.set_num_threads(threads(jobs))

    def measure(cell: Cell) -> float:
        if cell.mode != "secure":
            return plaintext_seconds(cell.experiment)
        return float(estimate(cell.experiment)["ways"][cell.experiment.security.correlations]["seconds"])

    load = load_average()
    with progress(console) as on_progress:
        seconds = expect(plan.cells, measure, on_progress)
    done = {cell.name for cell in plan.cells if folder.summary(cell) is not None}
    left = sum(value for name, value in seconds.items() if name not in done) / jobs
    if as_json:
        runs = [{"run": cell.name, "seconds": seconds[cell.name], "done": cell.name in done} for cell in plan.cells]
        echo(json_line({"study": plan.study.name, "runs": runs, "jobs": jobs, "seconds_left": left}))
        return
    width = max(len(cell.name) for cell in plan.cells)
    for cell in plan.cells:
        shown = "done" if cell.name in done else duration(seconds[cell.name])
        console.print(f"{cell.name:{width}}  {shown}", markup=False)
    console.print(f"\n{len(plan.cells)} runs, {len(done)} done; about {duration(left)} left, {jobs} at once")
    console.print(
        "From a few steps of each kind in this process, on noise, on the CPU. Left out: starting, reading images, and "
        "what runs at once takes from each other.",
        style="dim",
        soft_wrap=True,
    )
    if slowed := busy(load, os.cpu_count() or 1):
        console.print(slowed, style="yellow", soft_wrap=True)
