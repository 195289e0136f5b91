"""How long a study takes: before it starts from a timed step of each kind, while it runs from its finished cells."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from statistics import mean

from amint_mpc.config import Experiment
from amint_mpc.events import OnProgress
from amint_mpc.study.plan import Cell

Measure = Callable[[Cell], float]
"""Seconds that a cell will take."""


def expect(cells: Sequence[Cell], measure: Measure, on_progress: OnProgress) -> dict[str, float]:
    """Seconds of each cell by name; cells that differ in nothing that takes time are measured once.

    Args:
        on_progress: told what is measured, how many are, of how many.
    """
    kinds: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        kinds[_kind(cell)].append(cell)
    found: dict[str, float] = {}
    for number, alike in enumerate(kinds.values()):
        on_progress("timing steps", number, len(kinds))
        seconds = measure(alike[0])
        found |= {cell.name: seconds for cell in alike}
    on_progress("timing steps", len(kinds), len(kinds))
    return found


def _kind(cell: Cell) -> str:
    """The experiment without what takes no time: name, seed, rates, and weights as far as they are not 0."""
    experiment, training = cell.experiment, cell.experiment.training
    weights = {"mint_weight": float(training.mint_weight > 0), "distillation": float(training.distillation > 0)}
    alike: Experiment = experiment.model_copy(
        update={
            "name": "alike",
            "seed": 0,
            "head": experiment.head.model_copy(update={"learning_rate": 0.05}),
            "training": training.model_copy(update={**weights, "learning_rate": 0.001}),
        }
    )
    return f"{cell.mode} {alike.digest()}"


class Pace:
    """The time left, from the cells that have ended.

    Args:
        cells: that are to run.
        jobs: how many at once.
    """

    def __init__(self, cells: Sequence[Cell], jobs: int) -> None:
        self._left = {cell.name: cell for cell in cells}
        self._jobs = jobs
        self._measured: dict[tuple[str, str, str], list[float]] = defaultdict(list)

    def ended(self, cell: Cell, seconds: float) -> None:
        """A cell has ended well or not; its time counts for others like it."""
        self._left.pop(cell.name, None)
        self._measured[_alike(cell)].append(seconds)

    def left(self) -> float | None:
        """Seconds, or None while nothing has ended. Cells of a kind not met yet count as the mean of the others."""
        known = {kind: mean(seconds) for kind, seconds in self._measured.items()}
        if not known:
            return None
        usual = mean(known.values())
        return sum(known.get(_alike(cell), usual) for cell in self._left.values()) / self._jobs


def _alike(cell: Cell) -> tuple[str, str, str]:
    return cell.experiment.model.backbone, cell.mode, cell.experiment.method
