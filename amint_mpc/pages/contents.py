"""What the templates are filled with."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from amint_mpc.pages import charts, formatting, scatter
from amint_mpc.pages.perspective import ALONE, DISTILLED, TWIN, AuditedRun
from amint_mpc.pages.statistics import Scores, called_members, found_at
from amint_mpc.pages.study import PRICE, Section, Study
from amint_mpc.results import AT_HALF, CALIBRATED, Figure

_PARTIES = ("developer", "auditor", "dealer")
_MEASURES = {
    "mint_auc": "Area under the ROC curve",
    "tpr_at_1pct_fpr": f"Members found at 1{formatting.NBSP}% false alarms",
    "mint_accuracy_at_half": "Right answers at threshold 0.5",
    "mean_score_members": "Mean score, members",
    "mean_score_external": "Mean score, external images",
    "mean_score_unseen": "Mean score, unseen images",
}
_SHARES = ("mint_auc", "mean_score_members", "mean_score_external", "mean_score_unseen")
_HEADINGS = {
    "backbone": "backbone",
    "variant": "variant",
    "taps": "taps",
    "mint_weight": "MINT weight",
    "head_input": "head input",
    "mint_accuracy_calibrated": "right, calibrated",
    "mint_accuracy_at_half": "right at 0.5",
    "mint_auc": "AUC",
    "tpr_at_1pct_fpr": f"found at 1{formatting.NBSP}% false alarms",
    "task_accuracy": "task",
    "task_accuracy_without_mint": "task alone",
    PRICE: "price, points",
    "seconds": "time a run",
}
_PAPERS = (AT_HALF, "task_accuracy")
Marks = list[tuple[Any, str]]


def run_contents(audit: AuditedRun) -> dict[str, Any]:
    """For run.html."""
    main, scores, figures = audit.main, audit.scores, audit.figures
    found: dict[str, Any] = {
        "audit": audit,
        "experiment": main.experiment,
        "summary": audit.parties.get("developer", main).summary if audit.side == "all" else main.summary,
        "figures": figures,
        "accuracy": figures.get(CALIBRATED),
        "measures": [(title, _measure(name, figures[name])) for name, title in _MEASURES.items() if name in figures],
        "classes": formatting.classes(main.experiment),
        "counts": _counts(audit),
        "scores": scores,
        "history": audit.history,
        "charts": {
            "losses": charts.losses(audit.history),
            "watched": charts.watched(audit.history),
            **(_evidence(scores) if scores is not None else {}),
        },
        "time_words": _time(audit),
        "traffic": list(_traffic(audit)),
        "folders": _folders(audit),
        "settings_pairs": list(_flat(main.experiment.model_dump(mode="json", exclude_none=True))),
        "digests": _digests(audit),
        **_tasks(audit),
        **_compared(audit),
    }
    return found | (_scored(scores) if scores is not None else {})


def study_contents(study: Study, folder: Path) -> dict[str, Any]:
    """For study.html."""
    about = study.about
    failed = list(dict.fromkeys(row.message for row in study.rows if row.status == "failed" and row.message))

    def has_paper(section: Section) -> bool:
        return any(each.paper is not None for each in section.variants)

    return {
        "study": study,
        "title": about.title or about.name or "A study",
        "state": ", ".join(f"{count} {status}" for status, count in study.counts.items()),
        "failures": " · ".join(failed[:3]) + (f" · and {len(failed) - 3} more" if len(failed) > 3 else ""),
        "sections": [(each, scatter.multiples(each, f"s{n}")) for n, each in enumerate(study.sections)],
        "headings": _HEADINGS,
        "papers": _PAPERS,
        "has_paper": has_paper,
        "any_paper": any(map(has_paper, study.sections)),
        "priced": any(PRICE in section.known for section in study.sections),
        "versions": sorted(study.versions.items()),
        "folder": folder.absolute().name,
    }


def _scored(scores: Scores) -> dict[str, Any]:
    """What takes scores."""
    at = scores.threshold
    return {
        "threshold": charts.shown_threshold(at),
        "found": called_members(scores.members_report, at),
        "wrong": called_members(scores.unseen_report, at),
        "external": called_members(scores.external, at),
        "worth": formatting.worth(scores),
        "low_rates": _low_rates(scores),
    }


def _evidence(scores: Scores) -> dict[str, Any]:
    return {
        "histogram": charts.histogram(scores),
        "roc": charts.roc_curve(scores),
        "threshold": charts.threshold_curve(scores),
        "reliability": charts.reliability_curve(scores),
    }


def _measure(name: str, found: Figure) -> str:
    if name in _SHARES:
        return str(found)
    value, ends = formatting.percent(found.value), formatting.interval(found)
    return f"{value} ({ends})" if ends else value


def _counts(audit: AuditedRun) -> dict[str, int]:
    from amint_mpc.data.split import set_counts  # loads torch

    return set_counts(audit.main.experiment.data)


def _low_rates(scores: Scores) -> str:
    """Members found at 1 % and .1 % false alarms, or why that cannot be said."""
    count, parts = len(scores.unseen_report), []
    for limit in (0.01, 0.001):
        share = found_at(scores.members_report, scores.unseen_report, limit)
        at = f"{100 * limit:g}{formatting.NBSP}%"
        if share is None:
            parts.append(f"Nothing can be said about {at} false alarms: one of {count:,} unseen images is more.")
        else:
            allowed = math.floor(count * limit + 1e-9)
            rests = f"{allowed} unseen image{'s' if allowed != 1 else ''}"
            parts.append(f"At {at} false alarms {formatting.percent(share)} are found; that rests on {rests}.")
    return " ".join(parts)


def _tasks(audit: AuditedRun) -> dict[str, Any]:
    """Task accuracy with and without the head, as far as known, and the ends of their axis."""
    rows = []
    if (own := audit.figures.get("task_accuracy")) is not None:
        rows.append(
            ("With the head, secure" if audit.secure else "With the head, in the clear", "this run", own, "joint")
        )
    for name, title, note in (
        (TWIN, "With the head, in the clear", "the plaintext twin of this experiment"),
        (ALONE, "The task alone", "no head, no external images"),
        (DISTILLED, "The task with distillation", "no head; external images with soft labels"),
    ):
        if name in audit.beside:
            figure = audit.beside[name].summary.figures["task_accuracy"]
            rows.append((title, note, figure, "joint" if name == TWIN else "plain"))
    if not rows:
        return {"tasks": []}
    ends = [end for _, _, figure, _ in rows for end in figure.ends]
    low, high = math.floor(20 * min(ends)) / 20, math.ceil(20 * max(ends)) / 20
    return {"tasks": rows, "tasks_low": low, "tasks_high": max(high, low + 0.05)}


def _time(audit: AuditedRun) -> str:
    summary = audit.parties.get("developer", audit.main).summary
    parts = [f"The run took {formatting.duration(summary.seconds)}"]
    if summary.steps and summary.seconds_per_step is not None:
        each = formatting.duration(summary.seconds_per_step)
        parts[0] += f", with {formatting.number(summary.steps)} joint steps of {each} each"
        if summary.sealed_steps:
            sealed = formatting.duration(summary.sealed_seconds or 0.0)
            parts.append(
                f"Then the classifier stood still, and a fresh head, the one that was kept, was trained in "
                f"{formatting.number(summary.sealed_steps)} sealed steps ({sealed}), of which the developer "
                "learned nothing"
            )
    if summary.rounds_per_step:
        parts.append(f"A step of the head takes {summary.rounds_per_step:g} rounds between developer and auditor")
    twin = audit.beside.get(TWIN)
    if audit.secure and twin is not None and twin.summary.seconds_per_step and summary.seconds_per_step:
        ratio = summary.seconds_per_step / twin.summary.seconds_per_step
        parts.append(
            f"The twin in the clear took {formatting.duration(twin.summary.seconds_per_step)} a step: "
            f"a secure step took {ratio:.1f} times as long, on the same or another machine"
        )
    return ". ".join(parts) + "."


def _traffic(audit: AuditedRun) -> Iterator[tuple[str, float, float]]:
    """Role, MB sent a step, and in all."""
    for role in _PARTIES:
        run = audit.parties.get(role)
        sent = None if run is None else run.summary.own_mb_sent
        if run is not None and sent:
            yield role, sent, sent * (run.summary.steps or 0)


def _compared(audit: AuditedRun) -> dict[str, Any]:
    if audit.comparison is None:
        return {}
    ends = [end for row in audit.comparison.price for end in row.difference.ends]

    def marks(on: dict[str, dict[str, Figure]]) -> Marks:
        order = ("plain", "joint", "untrained")
        return [(on[each]["mint_auc"], each) for each in order if each in on and "mint_auc" in on[each]]

    def changed(figures: dict[str, Figure]) -> Marks:
        kinds = {"false_positives": "plain", "members_found": "joint"}
        return [(figures[name], kind) for name, kind in kinds.items() if name in figures]

    return {
        "marks": marks,
        "changed": changed,
        "price_low": min([-0.1, *(math.floor(10 * end) / 10 for end in ends)]),
        "price_high": max([0.1, *(math.ceil(10 * end) / 10 for end in ends)]),
    }


def _folders(audit: AuditedRun) -> str:
    whose = [f"the {role}'s" for role in audit.parties]
    names = ", ".join(run.path.absolute().name for run in audit.parties.values())
    return f"{formatting.listed(whose)} folder{'s' if len(whose) > 1 else ''} ({names})"


def _digests(audit: AuditedRun) -> list[tuple[str, str]]:
    main = audit.main
    pairs = [("experiment, SHA-256", main.summary.digest)]
    images = [run.summary.images for run in audit.parties.values() if run.summary.images]
    pairs += [("images, SHA-256", images[0])] if images else []
    pairs += [("seed", str(main.experiment.seed))]
    return pairs + sorted(main.versions.items())


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, str(value)
