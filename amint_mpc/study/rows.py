"""A study as rows, one a run: what study.csv holds, made from the run folders alone."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from amint_mpc.study.folder import StudyFolder
from amint_mpc.study.plan import Cell, StudyPlan

COLUMNS = (
    *("backbone", "variant", "taps", "dataset", "mint_weight", "head_input", "mode", "method", "seed", "status"),
    *("mint_accuracy", "mint_accuracy_low", "mint_accuracy_high", "mint_accuracy_at_half", "mint_auc"),
    *("tpr_at_1pct_fpr", "task_accuracy", "task_accuracy_low", "task_accuracy_high"),
    *("task_accuracy_without_mint", "task_accuracy_with_distillation_alone"),
    *("mean_score_members", "mean_score_external", "mean_score_unseen"),
    *("seconds", "ms_per_step", "rounds_per_step", "mb_sent_developer", "mb_sent_auditor", "mb_dealer"),
    *("members", "external", "unseen", "epochs", "digest", "message", "run"),
)
"""An empty field is a value that there is not (yet). Times in s and ms, sizes in MB (a million bytes) a step."""

Row = dict[str, Any]
_BASELINES = {
    "task_accuracy_without_mint": "task-alone",
    "task_accuracy_with_distillation_alone": "task-with-distillation",
}
_VALUES = (
    *("mint_accuracy", "mint_accuracy_at_half", "mint_auc", "tpr_at_1pct_fpr", "task_accuracy"),
    *("mean_score_members", "mean_score_external", "mean_score_unseen"),
)
_WITH_INTERVAL = ("mint_accuracy", "task_accuracy")


def read_rows(plan: StudyPlan, folder: StudyFolder) -> list[Row]:
    """A row for every cell, whether it is `done`, `failed` or `pending`; missing values are absent keys."""
    by_name = {cell.name: cell for cell in plan.cells}
    rows = []
    for cell in plan.cells:
        row = _row(cell, folder)
        for column, kind in _BASELINES.items():
            baseline = by_name.get(plan.baseline_of.get((cell.name, kind), ""))
            found = baseline and folder.summary(baseline)
            if found:
                row[column] = found["figures"]["task_accuracy"]["value"]
        rows.append(row)
    return rows


def to_csv(rows: Sequence[Row]) -> str:
    """RFC 4180 text with a header line."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _short(value) for key, value in row.items()} for row in rows)
    return text.getvalue()


def _short(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _row(cell: Cell, folder: StudyFolder) -> Row:
    summary, failure = folder.summary(cell), folder.failure(cell)
    row = _settings(cell) | {"run": str(folder.run(cell).relative_to(folder.path))}
    if summary is not None:
        return {**row, "status": "done", **_results(summary)}
    if failure is not None:
        return {**row, "status": "failed", "message": failure["message"]}
    return {**row, "status": "pending"}


def _settings(cell: Cell) -> Row:
    experiment = cell.experiment
    row = {
        "backbone": experiment.model.backbone,
        "variant": cell.variant,
        "dataset": experiment.data.dataset,
        "mint_weight": experiment.training.mint_weight,
        "mode": cell.mode,
        "method": experiment.method,
        "seed": experiment.seed,
        "members": experiment.data.members,
        "external": experiment.data.external,
        "unseen": experiment.data.unseen,
        "epochs": experiment.last_epoch,
        "digest": experiment.digest(),
    }
    if not cell.baseline:  # a baseline has neither, and stands for cells that differ in them
        row |= {"taps": experiment.model.taps, "head_input": experiment.head.input}
    return row


def _results(summary: Mapping[str, Any]) -> Row:
    figures = summary["figures"]
    row: Row = {name: figures[name]["value"] for name in _VALUES if name in figures}
    for name in _WITH_INTERVAL:
        if name in figures:
            row |= {f"{name}_{end}": figures[name][end] for end in ("low", "high")}
    row["seconds"] = summary["seconds"]
    row["ms_per_step"] = 1e3 * summary["seconds_per_step"]
    if "rounds_per_step" in summary:
        row["rounds_per_step"] = summary["rounds_per_step"]
    sent = summary.get("mb_sent_per_step", {})
    columns = {"developer": "mb_sent_developer", "auditor": "mb_sent_auditor", "dealer": "mb_dealer"}
    return row | {columns[role]: value for role, value in sent.items()}
