"""Whether every cell of a study can run: asked before the first one starts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from amint_mpc.data.registry import dataset
from amint_mpc.data.split import load_split
from amint_mpc.errors import AmintError, UsageError
from amint_mpc.models.classifier import feature_count
from amint_mpc.roles.heads import check_experiment
from amint_mpc.study.plan import Cell, StudyPlan, together


def check(plan: StudyPlan, data: Path | None, *, images: bool = True) -> None:
    """Look at every cell's dataset, backbone and rate, size its head, and read its images.

    Args:
        data: where image files lie.
        images: False leaves them unread.

    Raises:
        AmintError: what is wrong, all at once; a UsageError where the kinds differ.
    """
    wrong: dict[str, list[str]] = defaultdict(list)
    errors: list[AmintError] = []
    known: dict[str, AmintError | None] = {}  # what was looked at, so that it is looked at once
    for cell in plan.cells:
        for key, look in _looks(cell, data, images):
            if key not in known:
                known[key] = _complaint(look)
            error = known[key]
            if error is not None:
                errors.append(error)
                wrong[error.message].append(cell.variant)
                break
    if errors:
        kinds = {type(error) for error in errors}
        kind = kinds.pop() if len(kinds) == 1 else UsageError
        raise kind(together(plan.study, wrong), errors[0].hint)


def _looks(cell: Cell, root: Path | None, images: bool) -> list[tuple[str, Callable[[], Any]]]:
    """What to look at, one after another, each under a key that cells share for which it is the same."""
    experiment = cell.experiment
    data, rest = experiment.data, (experiment.model, experiment.head, experiment.training.batch)
    settings = f"{data.dataset} {data.image_size} {data.channels} {rest}"
    looks: list[tuple[str, Callable[[], Any]]] = [
        (f"settings {settings}", lambda: check_experiment(experiment)),
        (f"head {settings}", lambda: feature_count(experiment, dataset(data).shape)),
    ]
    return [*looks, (f"images {data}", lambda: load_split(experiment, root))] if images else looks


def _complaint(look: Callable[[], Any]) -> AmintError | None:
    try:
        look()
    except AmintError as error:
        return error
    return None
