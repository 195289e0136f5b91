"""Small studies, and run folders made by hand: a summary as a run writes it, without the run."""

import json
from pathlib import Path
from typing import Any

import yaml

from amint_mpc.study.folder import StudyFolder
from amint_mpc.study.plan import Cell, StudyPlan, load_study, make_plan

TINY = {"training.batch": 32, "training.epochs": 1, "training.warmup_epochs": 0}  # two steps of the smoke experiment


def plan_of(folder: Path, **settings: Any) -> StudyPlan:
    """The plan of a study file with these keys, written into `folder`."""
    values = {"name": "tiny", "title": "Tiny", "base": "smoke", "set": TINY, "baselines": [], **settings}
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    study, path = load_study(str(path))
    return make_plan(study, path.parent)


def finish(folder: StudyFolder, cell: Cell, task: float, mint: float | None = None, **more: Any) -> None:
    """A finished run of this cell; every figure's interval is the value and .05 to both sides."""
    figures = {"task_accuracy": task}
    if mint is not None:
        figures |= {"mint_accuracy_calibrated": mint, "mint_accuracy_at_half": mint - 0.1, "mint_auc": mint + 0.02}
    summary = {
        "role": "secure" if cell.mode == "secure" else "twin",
        "digest": cell.experiment.digest(),
        "seconds": 12.0,
        "seconds_per_step": 0.025,
        "figures": {
            name: {"value": value, "low": value - 0.05, "high": value + 0.05} for name, value in figures.items()
        },
        **more,
    }
    folder.run(cell).mkdir(parents=True)
    (folder.run(cell) / "summary.json").write_text(json.dumps(summary))
