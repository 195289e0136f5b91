"""How `run` and `train` end: the figures for a person, or one JSON line for a program."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from amint_mpc.cli import figures
from amint_mpc.cli.terminal import echo
from amint_mpc.eventlines import json_line
from amint_mpc.results import Summary


def show(screen: Console, summary: Summary, folder: Path, as_json: bool) -> None:
    """Print a finished run."""
    if as_json:
        found = summary.figures
        flat = {**figures.values(found), "intervals": figures.intervals(found)} if found else {}
        echo(json_line({**summary.as_json(), **flat, "folder": str(folder)}))
        return
    screen.print()
    if summary.figures:
        screen.print(figures.table({summary.role: summary.figures}))
        screen.print()
    if cost := figures.cost(summary):
        screen.print(", ".join(cost), soft_wrap=True)
    if summary.own_mb_sent:
        screen.print(f"sent: {figures.size(summary.own_mb_sent)} a step")
    screen.print(f"files: {folder}", soft_wrap=True, markup=False)
    if summary.insecure is not None:
        screen.print(summary.insecure, style="bold red", soft_wrap=True)
