"""How `run` and `train` end: the figures for a person, or one JSON line for a program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from amint_mpc.cli import figures
from amint_mpc.cli.terminal import console as console
from amint_mpc.cli.terminal import echo
from amint_mpc.eventlines import json_line


def show(screen: Console, summary: dict[str, Any], folder: Path, as_json: bool) -> None:
    """Print a finished run."""
    if as_json:
        found = summary.get("figures", {})
        flat = {**figures.values(found), "intervals": figures.intervals(found)} if found else {}
        echo(json_line({**summary, **flat, "folder": str(folder)}))
        return
    screen.print()
    if summary.get("figures"):
        screen.print(figures.table({summary["role"]: summary["figures"]}))
        screen.print()
    if cost := figures.cost(summary):
        screen.print(", ".join(cost), soft_wrap=True)
    if summary.get("mb_sent_per_step"):
        screen.print(f"sent: {figures.size(summary['mb_sent_per_step'])} a step")
    screen.print(f"files: {folder}", soft_wrap=True, markup=False)
    if "insecure" in summary:
        screen.print(summary["insecure"], style="bold red", soft_wrap=True)
