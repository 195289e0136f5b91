"""Results on the screen: figures with their 95 % intervals, in words that need no glossary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

MEMBERSHIP = {
    "mint_accuracy": "accuracy (calibrated)",
    "mint_accuracy_at_half": "accuracy at 0.5",
    "mint_auc": "area under ROC curve",
    "tpr_at_1pct_fpr": "found at 1 % false alarms",
}
TASK = {"task_accuracy": "accuracy, unseen images"}
SCORES = {
    "mean_score_members": "members",
    "mean_score_external": "external images",
    "mean_score_unseen": "unseen images",
}
GROUPS = {"Was an image trained on?": MEMBERSHIP, "Mean membership score": SCORES, "The classifier's own task": TASK}

Figures = Mapping[str, Mapping[str, float]]  # name -> value, low, high


def table(columns: Mapping[str, Figures]) -> Table:
    """One column a run; each value with its interval, under it where there are many. Unknown rows are left out."""
    between = "\n" if len(columns) > 1 else "  "
    grid = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    grid.add_column("", no_wrap=True)
    for title in columns:
        grid.add_column(title, justify="right", no_wrap=True)
    for heading, rows in GROUPS.items():
        known = {key: label for key, label in rows.items() if any(key in figures for figures in columns.values())}
        if known:
            grid.add_row(Text(heading, style="bold"))
        for key, label in known.items():
            grid.add_row("  " + label, *(_cell(figures.get(key), between) for figures in columns.values()))
    return grid


def _cell(figure: Mapping[str, float] | None, between: str) -> Text:
    if figure is None:
        return Text("-", style="dim")
    text = Text(f"{figure['value']:.3f}")
    return text.append(f"{between}{figure['low']:.3f}-{figure['high']:.3f}", style="dim")


def values(found: Figures) -> dict[str, float]:
    """The main figures, as far as they are known, as flat keys of a JSON object."""
    return {key: found[key]["value"] for key in (*MEMBERSHIP, *TASK) if key in found}


def intervals(found: Figures) -> dict[str, list[float]]:
    """The 95 % interval of each figure."""
    return {key: [figure["low"], figure["high"]] for key, figure in found.items()}


def cost(summary: Mapping[str, Any]) -> list[str]:
    """Steps, time, rounds and bytes of a run, as far as its summary knows them."""
    parts = []
    if "steps" in summary:
        parts.append(f"{summary['steps']} steps")
    if "seconds" in summary:
        parts.append(f"{summary['seconds']:.1f} s")
    if "seconds_per_step" in summary:
        parts.append(f"{1000 * summary['seconds_per_step']:.1f} ms a step")
    if summary.get("rounds_per_step"):
        parts.append(f"{summary['rounds_per_step']:g} rounds a step")
    return parts


def size(megabytes: float) -> str:
    """Bytes in a unit that suits them; 1 MB is a million bytes."""
    return f"{megabytes:.1f} MB" if megabytes >= 1 else f"{1000 * megabytes:.0f} kB"


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    return (
        f"{whole // 3600}:{whole % 3600 // 60:02}:{whole % 60:02} h"
        if whole >= 3600
        else f"{whole // 60}:{whole % 60:02} min"
    )
