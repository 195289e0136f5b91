"""A study as rows, one a run: what study.csv holds, made from the run folders alone."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from amint_mpc.pages.study import MAX_MESSAGE, Row
from amint_mpc.results import MEMBERSHIP, Summary
from amint_mpc.study.folder import StudyFolder
from amint_mpc.study.plan import Cell, StudyPlan

COLUMNS = tuple(Row.model_fields)

_BASELINES = {
    "task_accuracy_without_mint": "task-alone",
    "task_accuracy_with_distillation_alone": "task-with-distillation",
}
_WITH_INTERVAL = ("mint_accuracy_calibrated", "task_accuracy")


def read_rows(plan: StudyPlan, folder: StudyFolder) -> list[Row]:
    """A row for every cell, whether it is `done`, `failed` or `pending`."""
    by_name = {cell.name: cell for cell in plan.cells}
    rows = []
    for cell in plan.cells:
        found = _settings(cell) | {"run": str(folder.run(cell).relative_to(folder.path))} | _results(cell, folder)
        for column, kind in _BASELINES.items():
            baseline = by_name.get(plan.baseline_of.get((cell.name, kind), ""))
            summary = baseline and folder.summary(baseline)
            if summary:
                found[column] = summary.figures["task_accuracy"].value
        rows.append(Row.model_validate(found))
    return rows


def to_csv(rows: Sequence[Row]) -> str:
    """RFC 4180 text with a header line."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _short(value) for key, value in row.model_dump().items()} for row in rows)
    return text.getvalue()


def _short(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _settings(cell: Cell) -> dict[str, Any]:
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


def _results(cell: Cell, folder: StudyFolder) -> dict[str, Any]:
    summary, failure = folder.summary(cell), folder.failure(cell)
    if summary is not None:
        return {"status": "done", **_figures(summary), **_costs(summary)}
    if failure is not None:
        return {"status": "failed", "message": failure.message[:MAX_MESSAGE]}
    return {"status": "pending"}


def _figures(summary: Summary) -> dict[str, float]:
    names = (*MEMBERSHIP, "task_accuracy")
    row = {name: summary.figures[name].value for name in names if name in summary.figures}
    for name in _WITH_INTERVAL:
        if name in summary.figures and (ends := summary.figures[name].interval) is not None:
            row |= {f"{name}_low": ends[0], f"{name}_high": ends[1]}
    return row


def _costs(summary: Summary) -> dict[str, Any]:
    row: dict[str, Any] = {"seconds": summary.seconds, "rounds_per_step": summary.rounds_per_step}
    if summary.seconds_per_step is not None:
        row["ms_per_step"] = 1e3 * summary.seconds_per_step
    sent = summary.mb_sent_per_step
    columns = {"developer": "mb_sent_developer", "auditor": "mb_sent_auditor", "dealer": "mb_dealer"}
    return row | ({columns[role]: value for role, value in sent.items()} if isinstance(sent, dict) else {})
