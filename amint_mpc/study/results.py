"""All that a study shows, made anew from its run folders: study.csv, study.json, study.md and figures/.

It is cheap, so it is done after every cell: a running study can be looked at.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amint_mpc.pages.study import Row, Variant
from amint_mpc.runfolder import versions
from amint_mpc.study import paper
from amint_mpc.study.figures import draw
from amint_mpc.study.folder import StudyFolder, write
from amint_mpc.study.plan import StudyPlan
from amint_mpc.study.rows import read_rows, to_csv
from amint_mpc.study.table import markdown


@dataclass(frozen=True)
class Results:
    """What was found, and the files that say it."""

    rows: list[Row]
    entries: list[Variant]
    files: list[Path]

    @property
    def counts(self) -> Counter[str]:
        """How many runs are done, failed and pending."""
        return Counter(row.status for row in self.rows)


def rebuild(plan: StudyPlan, folder: StudyFolder, command: str) -> Results:
    """Read the run folders and write every file."""
    rows = read_rows(plan, folder)
    entries = _variants(rows)
    write(folder.path / "study.csv", to_csv(rows))
    write(folder.path / "study.json", json.dumps(_about(plan, rows, entries, command), indent=2) + "\n")
    write(folder.path / "study.md", markdown(plan, rows, entries, command))
    files = [folder.path / name for name in ("study.csv", "study.json", "study.md")]
    return Results(rows, entries, files + draw(entries, folder.path / "figures"))


def _variants(rows: Sequence[Row]) -> list[Variant]:
    """One for each variant and mode with a finished run, in the order of the study."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        if row.status == "done":  # a baseline's variant is its kind, the same for all backbones
            groups.setdefault((row.variant, row.mode, row.run.rpartition("-s")[0]), []).append(row)
    return [Variant.of(group, paper.paper_value) for group in groups.values()]


def _about(plan: StudyPlan, rows: list[Row], entries: list[Variant], command: str) -> dict[str, Any]:
    used = {(e.row.dataset, e.row.backbone, e.row.taps): e.paper.as_json() for e in entries if e.paper is not None}
    return {
        "name": plan.study.name,
        "title": plan.study.title,
        "command": command,
        "study": plan.study.model_dump(mode="json"),
        "versions": versions(),
        "runs": Counter(row.status for row in rows),
        "spread": "standard deviation over seeds (n - 1)",
        "paper": {
            "source": paper.SOURCE,
            "threshold": 0.5,
            "values": list(used.values()),
        },
        "results": [
            {
                **{
                    key: getattr(entry.row, key)
                    for key in ("variant", "backbone", "dataset", "mode", "method", "mint_weight")
                },
                **{key: value for key in ("taps", "head_input") if (value := getattr(entry.row, key))},
                "runs": len(entry.runs),
                **{key: {"mean": spread.mean, "deviation": spread.deviation} for key, spread in entry.measures.items()},
            }
            for entry in entries
        ],
    }
