"""Rows of one variant, over its seeds: mean and spread of every figure, and the paper's value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from amint_mpc.pages.study import Row
from amint_mpc.study.paper import PaperValue, paper_value

MEASURES = (
    *("mint_accuracy_calibrated", "mint_accuracy_at_half", "mint_auc", "tpr_at_1pct_fpr", "task_accuracy"),
    *("task_accuracy_without_mint", "task_accuracy_with_distillation_alone", "seconds", "ms_per_step"),
)
PRICE = "price"
"""Task accuracy alone minus that with the head, seed by seed: what the head costs."""


@dataclass(frozen=True)
class Spread:
    """Mean over `runs` seeds, and their standard deviation (n - 1); None with one seed."""

    mean: float
    deviation: float | None
    runs: int


@dataclass(frozen=True)
class VariantSummary:
    """One variant in one mode.

    Args:
        row: what is the same for all its seeds.
        runs: how many seeds are done.
        measures: by name, as far as known.
        paper: for results of the paper's own method only: with distillation the name is another.
    """

    row: Row
    runs: int
    measures: Mapping[str, Spread]
    paper: PaperValue | None

    @property
    def section(self) -> tuple[str, str, str]:
        """Data set, mode and method: what stands in one table."""
        return self.row.dataset, self.row.mode, self.row.method


def summarise(rows: Sequence[Row]) -> list[VariantSummary]:
    """One for each variant and mode with a finished run, in the order of the study."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        if row.status == "done":  # a baseline's variant is its kind, the same for all backbones
            groups.setdefault((row.variant, row.mode, row.run.rpartition("-s")[0]), []).append(row)
    return [_entry(group) for group in groups.values()]


def _entry(group: list[Row]) -> VariantSummary:
    found = {name: [value for row in group if (value := getattr(row, name)) is not None] for name in MEASURES}
    found[PRICE] = [
        row.task_accuracy_without_mint - row.task_accuracy
        for row in group
        if row.task_accuracy_without_mint is not None and row.task_accuracy is not None
    ]
    first = group[0]
    paper = None
    if first.method == "amint":
        paper = paper_value(first.dataset, first.backbone, first.taps)
    return VariantSummary(first, len(group), {name: _spread(values) for name, values in found.items() if values}, paper)


def _spread(values: Sequence[float]) -> Spread:
    return Spread(mean(values), stdev(values) if len(values) > 1 else None, len(values))
