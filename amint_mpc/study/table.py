"""study.md: the results of a study for a reader, with what they must not be taken for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

from amint_mpc.pages.study import PRICE, Row, Spread, Variant
from amint_mpc.study.paper import SOURCE, paper_sizes
from amint_mpc.study.plan import StudyPlan

Cells = list[str]

_HIGH = {
    "mint_accuracy_calibrated": "MINT accuracy, calibrated",
    "mint_accuracy_at_half": "at 0.5",
    "mint_auc": "AUC",
    "tpr_at_1pct_fpr": "found at 1 % false alarms",
    "task_accuracy": "task accuracy",
}
_VARYING = {"backbone": "backbone", "taps": "taps", "mint_weight": "MINT weight", "head_input": "head input"}
_BASELINES = {
    "task_accuracy_without_mint": "task alone",
    "task_accuracy_with_distillation_alone": "task + distillation",
}


def markdown(plan: StudyPlan, rows: Sequence[Row], entries: Sequence[Variant], command: str) -> str:
    """The whole page."""
    study = plan.study
    counts = {status: sum(row.status == status for row in rows) for status in ("done", "failed", "pending")}
    state = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    parts = [f"# {study.title}", f"`{command}`", f"Runs: {len(rows)} ({state}). Seeds: {_listed(study.seeds)}."]
    heads = [entry for entry in entries if entry.row.method.startswith("amint")]
    for section, found in groupby(sorted(heads, key=lambda entry: entry.section), key=lambda entry: entry.section):
        parts += _section(section, list(found))
    parts += _without_head([entry for entry in entries if not entry.row.method.startswith("amint")])
    failed = [f"- {row.run}: {' '.join(row.message.split())}" for row in rows if row.status == "failed"]
    if failed:
        parts += ["## Failed", "\n".join(failed)]
    return "\n\n".join([*parts, "## How to read this", "\n".join(f"- {note}" for note in _notes(plan, heads))]) + "\n"


def _section(section: tuple[str, str, str], entries: list[Variant]) -> list[str]:
    dataset, mode, method = section
    names = [key for key in _VARYING if key in ("backbone", "taps") or len({getattr(e.row, key) for e in entries}) > 1]
    if len({tuple(getattr(entry.row, key) for key in names) for entry in entries}) < len(entries):
        names.append("variant")
    columns = [[_VARYING.get(key, key), *(str(getattr(entry.row, key)) for entry in entries)] for key in names]
    for key, title in _HIGH.items():
        columns.append([title, *_best(entries, key, max)])
        if key in ("mint_accuracy_at_half", "task_accuracy") and any(entry.paper for entry in entries):
            title = "paper, task" if key == "task_accuracy" else "paper, at 0.5"
            columns.append([title, *(_paper(entry, key) for entry in entries)])
    for key, title in _BASELINES.items():
        if any(key in entry.measures for entry in entries):
            columns.append([title, *(_shown(entry.measures.get(key)) for entry in entries)])
    if any(PRICE in entry.measures for entry in entries):
        columns.append(["price, points", *_best(entries, PRICE, min, _points)])
    columns.append(["s a run", *(f"{entry.measures['seconds'].mean:.0f}" for entry in entries)])
    columns.append(["runs", *(str(len(entry.runs)) for entry in entries)])
    return [f"## {dataset}, {mode}, method `{method}`", _grid(columns)]


def _without_head(entries: list[Variant]) -> list[str]:
    if not entries:
        return []
    columns = [
        ["backbone", *(entry.row.backbone for entry in entries)],
        ["data set", *(entry.row.dataset for entry in entries)],
        ["training", *(entry.row.variant for entry in entries)],
        ["task accuracy", *(_shown(entry.measures.get("task_accuracy")) for entry in entries)],
        ["s a run", *(f"{entry.measures['seconds'].mean:.0f}" for entry in entries)],
        ["runs", *(str(len(entry.runs)) for entry in entries)],
    ]
    return ["## Without a head", _grid(columns)]


def _notes(plan: StudyPlan, entries: Sequence[Variant]) -> list[str]:
    runs = max((len(entry.runs) for entry in entries), default=0)
    few = "" if runs >= 5 else "; fewer than five seeds are no ground for a comparison"
    spread = (
        f"Mean ± standard deviation over seeds (n - 1; `runs` says how many). A seed changes the split, the first "
        f"weights and the order of batches{few}."
        if runs > 1
        else "One seed: no spread over seeds is known, so small differences mean nothing. study.csv has 95 % intervals "
        "over images."
    )
    notes = [
        "MINT accuracy is balanced accuracy on the report halves, members against unseen images. `calibrated`: the "
        "threshold was chosen on the calibration halves; `at 0.5`: it was not chosen at all.",
        spread,
        "Bold is the best mean of a column, no more.",
        "External images shape the classifier too: a low score never means that an image was not used.",
    ]
    if any(PRICE in entry.measures for entry in entries):
        notes.append(
            "Price: accuracy of the task alone minus that beside the head, in points, seed by seed. Cells whose "
            "baseline would be the same training share one run of it."
        )
    if any(entry.paper for entry in entries):
        notes.append(_distance(plan, entries))
    return notes


def _distance(plan: StudyPlan, entries: Sequence[Variant]) -> str:
    """How far the study is from the paper: what must stand beside its values."""
    beside = [entry.row for entry in entries if entry.paper]
    paper = sorted({paper_sizes(row.dataset) or "" for row in beside})
    ours = sorted(
        {
            f"{row.dataset}: {row.members:,} members, {row.external:,} external and {row.unseen:,} unseen "
            f"images, {row.epochs} epochs"
            for row in beside
        }
    )
    models = {cell.experiment.model for cell in plan.cells if not cell.baseline}
    sizes = sorted(
        {
            f"{model.backbone} ({', '.join(f'{key} {value}' for key, value in rest.items())})"
            for model in models
            if (rest := model.model_dump(mode="json", exclude={"backbone", "taps"}, exclude_none=True))
        }
    )
    return (
        f"Paper: {SOURCE}, threshold 0.5. Its sizes were others: it took {'; '.join(paper)}, and full-size networks. "
        f"Here: {'; '.join(ours)}; {', '.join(sizes)}. Its values stand beside ours for orientation; this is no "
        "reproduction of them."
    )


def _best(
    entries: list[Variant],
    key: str,
    best: Callable[[list[float]], float],
    show: Callable[[Spread | None], str] | None = None,
) -> Cells:
    show = show or _shown
    means = [round(entry.measures[key].mean, 3) for entry in entries if key in entry.measures]
    cells = []
    for entry in entries:
        found = entry.measures.get(key)
        bold = found is not None and len(set(means)) > 1 and round(found.mean, 3) == best(means)
        cells.append(f"**{show(found)}**" if bold else show(found))
    return cells


def _shown(spread: Spread | None) -> str:
    if spread is None:
        return "-"
    return _fraction(spread.mean) + ("" if spread.deviation is None else f" ± {_fraction(spread.deviation)}")


def _points(spread: Spread | None) -> str:
    if spread is None:
        return "-"
    return f"{100 * spread.mean:.1f}" + ("" if spread.deviation is None else f" ± {100 * spread.deviation:.1f}")


def _fraction(value: float, digits: int = 3) -> str:
    text = f"{value:.{digits}f}"
    return text.removeprefix("0") if text.startswith("0.") else text


def _paper(entry: Variant, key: str) -> str:
    return "-" if entry.paper is None else _fraction(getattr(entry.paper, key), 2)


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))


def _grid(columns: list[Cells]) -> str:
    """A Markdown table from columns, each with its title first."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in zip(*columns, strict=True)]
    return "\n".join([lines[0], "|" + "---|" * len(columns), *lines[1:]])
