"""`amint-mpc estimate`: what a run will take, before it is started."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from rich.table import Table

from amint_mpc.cli import figures, options, terminal
from amint_mpc.cli.failures import end_as_interrupted
from amint_mpc.cli.machine import busy, warn_without_kernel
from amint_mpc.cli.progress import progress
from amint_mpc.cli.terminal import echo
from amint_mpc.config import load_experiment
from amint_mpc.eventlines import json_line

PARTS = {
    "warm_up": "warm-up on the task alone",
    "classifier": "classifier, in joint steps",
    "head": "head, in secure computation",
    "scoring": "scoring",
    "round_trips": "round trips",
    "sending": "sending",
}


@click.command()
@options.config
@options.overrides
@click.option("--rtt-ms", type=float, default=0.0, help="A round trip on every link, in milliseconds.")
@click.option("--mbit", type=float, help="Millions of bits a second that a link carries.  [default: no limit]")
@options.as_json
def estimate(source: str | None, overrides: tuple[str, ...], rtt_ms: float, mbit: float | None, as_json: bool) -> None:
    """Rounds, bytes and time of a whole run, before it is started.

    Rounds and bytes are exact; time comes from a few steps of each kind in this process. Both ways of making masks are
    shown: by the two parties, and by a dealer. Needs no images.
    """
    experiment = load_experiment(source, overrides)

    from amint_mpc.bench.estimate import estimate as measure  # loads torch

    end_as_interrupted()
    console = terminal.console(as_json)
    warn_without_kernel(console)
    with progress(console) as on_progress:
        found = measure(experiment, rtt_ms, on_progress=on_progress, mbit=mbit)
    if as_json:
        echo(json_line(found))
        return
    console.print(f"\n{experiment.name}: {found['steps']} steps, {found['score_batches']} scoring batches\n")
    grid = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for number, title in enumerate(("", "a step", "whole run")):
        grid.add_column(title, justify="right" if number else "left", no_wrap=True)
    step = found["step"]
    grid.add_row("time", f"{step['ms']:.0f} ms", figures.duration(found["seconds"]))
    grid.add_row("rounds", str(step["rounds"]), str(found["rounds"]))
    for key, label in (("mb_sent_developer", "developer"), ("mb_sent_auditor", "auditor")):
        grid.add_row(f"{label} sends", figures.size(step[key]), figures.size(found[key]))
    for way, cost in found["ways"].items():
        agreed = " (agreed)" if way == experiment.security.correlations else ""
        grid.add_row("")
        link = f", link: {experiment.security.link}" if way == "two-party" else ""
        grid.add_row(f"masks: {way}{link}{agreed}")
        ms, seconds = cost["step"]["masks_ms"], cost["masks_seconds"]
        grid.add_row("  made in", f"{ms:.0f} ms", figures.duration(seconds))
        for role, size in cost["masks_mb"].items():
            grid.add_row(f"  {role} sends", figures.size(cost["step"]["masks_mb"][role]), figures.size(size))
        grid.add_row("  run with them", "", figures.duration(cost["seconds"]))
    console.print(grid)
    if found["links"]:
        console.print(f"\n{_links(found)}", soft_wrap=True)
    console.print()
    for key, label in PARTS.items():
        if found["seconds_by_part"][key]:
            console.print(f"{label}: {figures.duration(found['seconds_by_part'][key])}")
    console.print("\nThe time is as measured on this machine at this moment.", style="dim")
    if slowed := busy(found["load_average"], found["cores"]):
        console.print(slowed, style="yellow", soft_wrap=True)
    console.print("\nleft out:", style="dim")
    for line in found["leaves_out"]:
        console.print(f"  {line}", style="dim", soft_wrap=True)


def _links(found: Mapping[str, Any]) -> str:
    """What security.link is worth."""
    said = []
    for name, cost in found["links"].items():
        sent = ", ".join(f"{role} {figures.size(size)}" for role, size in cost["step"]["masks_mb"].items())
        said.append(f"security.link {name}: {cost['step']['masks_ms']:.0f} ms a step; {sent}")
    crossing = found["wan_below_mbit"]
    said.append("wan is quicker at no rate" if crossing is None else f"wan is quicker below {crossing:.0f} Mbit/s")
    return "\n".join(said)
