"""How a training went, from metrics.jsonl: losses by epoch, and figures on calibration images."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from amint_mpc.events import Phase
from amint_mpc.pages.files import damaged, read_lines
from amint_mpc.results import Amount, Count, EpochFigures, Record

Points = list[tuple[int, float]]
"""(epoch, value), by epoch."""

LOSSES = ("task", "distillation")
FIGURES = ("mint_auc", "mint_accuracy_at_half", "task_accuracy")
MAX_EPOCHS = 100_000


class _Step(Record):
    event: Literal["step"]
    epoch: Count
    phase: Phase
    losses: dict[str, Annotated[float, Field(ge=-1e12, le=1e12)] | None] = Field(default_factory=dict)


class _Epoch(Record):
    event: Literal["epoch"]
    epoch: Count
    seconds: Amount
    figures: EpochFigures = Field(default_factory=dict)


@dataclass(frozen=True)
class History:
    """Args: losses: name -> mean of each epoch. figures: name -> values on calibration images.
    warmup: the last epoch of the task alone, 0 for none."""

    losses: dict[str, Points] = field(default_factory=dict)
    figures: dict[str, Points] = field(default_factory=dict)
    warmup: int = 0


def read_history(path: Path) -> History:
    """The history of a run.

    Args:
        path: its metrics.jsonl.

    Raises:
        DataError: missing, damaged, or too long.
    """
    sums: dict[str, dict[int, tuple[float, int]]] = defaultdict(dict)
    figures: dict[str, dict[int, float]] = defaultdict(dict)
    warmup, epochs = 0, 0
    for line in read_lines(path):
        event = _event(line, path)
        if event is None:
            continue
        epochs = max(epochs, event.epoch)
        if epochs > MAX_EPOCHS:
            damaged(path, "it has too many epochs")
        if isinstance(event, _Epoch):
            for name in FIGURES:
                if (value := event.figures.get(name)) is not None:
                    figures[name][event.epoch] = value
            continue
        warmup = max(warmup, event.epoch) if event.phase == "warm-up" else warmup
        for name in LOSSES:
            if (value := event.losses.get(name)) is not None and math.isfinite(value):
                total, count = sums[name].get(event.epoch, (0.0, 0))
                sums[name][event.epoch] = total + value, count + 1
    losses = {name: sorted((at, total / count) for at, (total, count) in by.items()) for name, by in sums.items()}
    return History(losses, {name: sorted(by.items()) for name, by in figures.items()}, warmup)


def _event(line: dict[str, Any], path: Path) -> _Step | _Epoch | None:
    try:
        if line.get("event") == "step":
            return _Step.model_validate(line)
        return _Epoch.model_validate(line) if line.get("event") == "epoch" else None
    except ValidationError:
        damaged(path, "a line is not an event")
