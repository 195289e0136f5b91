"""Results on the screen: figures with their 95 % intervals, in words that need no glossary."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table
from rich.text import Text

from amint_mpc.results import Figure, Outcome

MEMBERSHIP = {
    "mint_accuracy_calibrated": "accuracy (calibrated)",
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


def table(columns: Mapping[str, Mapping[str, Figure]]) -> Table:
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


def _cell(figure: Figure | None, between: str) -> Text:
    if figure is None:
        return Text("-", style="dim")
    text = Text(f"{figure.value:.3f}")
    if (ends := figure.interval) is not None:
        text.append(f"{between}{ends[0]:.3f}-{ends[1]:.3f}", style="dim")
    return text


def values(found: Mapping[str, Figure]) -> dict[str, float]:
    """The main figures, as far as they are known, as flat keys of a JSON object."""
    return {key: found[key].value for key in (*MEMBERSHIP, *TASK) if key in found}


def intervals(found: Mapping[str, Figure]) -> dict[str, list[float]]:
    """The 95 % interval of each figure that has one."""
    return {key: list(figure.interval) for key, figure in found.items() if figure.interval is not None}


def cost(found: Outcome) -> list[str]:
    """Steps, time and rounds of a run, as far as they are known."""
    parts = []
    if found.steps is not None:
        sealed = f" joint and {found.sealed_steps} sealed" if found.sealed_steps else ""
        parts.append(f"{found.steps}{sealed} steps")
    if found.seconds is not None:
        parts.append(f"{found.seconds:.1f} s")
    if found.seconds_per_step is not None:
        parts.append(f"{1000 * found.seconds_per_step:.1f} ms a {'joint ' if found.sealed_steps else ''}step")
    if found.rounds_per_step:
        parts.append(f"{found.rounds_per_step:g} rounds a step")
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
