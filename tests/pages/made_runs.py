"""Run folders made by the real RunFolder, with scores drawn at random instead of a training."""

import json
import re
import unicodedata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from amint_mpc.amint.metrics import membership_figures
from amint_mpc.config import Experiment, load_experiment
from amint_mpc.data.split import set_counts
from amint_mpc.events import EpochEvent, Notice, StepEvent
from amint_mpc.results import Figure, Outcome
from amint_mpc.runfolder import RunFolder

SMOKE = load_experiment("smoke")
TASK = Figure(value=0.9, low=0.85, high=0.94)


def scores(experiment: Experiment, apart: float = 3.0) -> dict[str, Tensor]:
    """Members around a logit of `apart`, unseen images around 0, external ones around -3."""
    generator = torch.Generator().manual_seed(5)
    centres = {"members": apart, "external": -3.0, "unseen": 0.0}
    return {
        name: (torch.randn(count, generator=generator, dtype=torch.float64) + centres[name.split("_")[0]]).sigmoid()
        for name, count in set_counts(experiment.data).items()
    }


def made_run(
    root: Path,
    role: str = "twin",
    experiment: Experiment = SMOKE,
    name: str | None = None,
    apart: float = 3.0,
    **summary: Any,
) -> Path:
    """A finished run of this party: what its folder holds of the audit, two epochs of events, and its costs."""
    with RunFolder.create(root, experiment, role, name or role) as folder:
        for event in _events(role):
            folder.record(event)
        figures: dict[str, Figure] = {} if role in ("auditor", "dealer") else {"task_accuracy": TASK}
        if experiment.training.mint_weight and role != "dealer":
            found = scores(experiment, apart)
            membership = membership_figures(found, experiment.seed)
            figures |= membership.figures
            if role != "developer":
                folder.save_tensors("scores.safetensors", found)
                summary = {"threshold": membership.threshold, **summary}
        if role != "twin":
            summary = {
                "rounds_per_step": 9.0,
                "mb_sent_per_step": {"developer": 2.0, "auditor": 1.5}.get(role, 4.0),
                **summary,
            }
        costs = Outcome(steps=100, seconds=80.0, seconds_per_step=0.25, figures=figures)
        folder.finish(costs | Outcome(**summary))
    return folder.path


def _events(role: str) -> list[Notice | StepEvent | EpochEvent]:
    losses = {"task": 1.25} if role in ("developer", "twin") else {}
    found = {"mint_auc": 0.75} if role in ("auditor", "twin") else {}
    steps = [StepEvent(n, 3, n, "joint" if n > 1 else "warm-up", 0.1, losses) for n in (1, 2, 3)]
    return [Notice("reading"), *steps, *(EpochEvent(n, 3, "joint", 1.0, found) for n in (2, 3))]


def without_head(experiment: Experiment = SMOKE) -> Experiment:
    training = experiment.training.model_copy(update={"mint_weight": 0.0})
    return experiment.model_copy(update={"training": training})


def made_demo(root: Path, experiment: Experiment = SMOKE) -> Path:
    """The folder that a demo leaves."""
    for role in ("developer", "auditor", "dealer"):
        made_run(root, role, experiment)
    made_run(root, "twin", experiment, seconds_per_step=0.1)
    made_run(root, "twin", without_head(experiment), "task-alone")
    return root


def figure(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.02, "high": value + 0.02}


def comparison(path: Path, title: str = "Loss threshold", **changes: Any) -> Path:
    """A comparison.json with two detectors."""
    record = {
        "classifiers": {"joint": {"task_accuracy": figure(0.9)}, "plain": {"task_accuracy": figure(0.92)}},
        "detectors": [
            {"name": "active", "title": "Active MINT", "on": "joint", "figures": {"mint_auc": figure(0.95)}},
            {"name": "loss", "title": title, "on": "joint", "needs": "outputs", "figures": {"mint_auc": figure(0.61)}},
            {"name": "loss", "title": title, "on": "plain", "needs": "outputs", "figures": {"mint_auc": figure(0.68)}},
        ],
        "price": [
            {"name": "loss", "title": title, "auc_joint": 0.61, "auc_plain": 0.68, "difference": figure(-0.07)},
        ],
        "robustness": [
            {"name": "none", "title": "Untouched", "figures": {"members_found": figure(0.9), "mint_auc": figure(0.95)}},
        ],
        **changes,
    }
    path.write_text(json.dumps(record))
    return path


def plain(text: str) -> str:
    """With the dashes, quotes and spaces of a keyboard."""
    signs = {"EN DASH": "-", "MINUS SIGN": "-", "RIGHT SINGLE QUOTATION MARK": "'"}
    table = {unicodedata.lookup(name): sign for name, sign in signs.items()}
    return re.sub(r"\s+", " ", text.translate(str.maketrans(table)))
