"""The plaintext twin as a function call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from amint_mpc import plaintext_run
from amint_mpc.amint.audit import Audit
from amint_mpc.config import Experiment, Party
from amint_mpc.errors import UsageError
from amint_mpc.eventlines import epoch_line
from amint_mpc.events import EpochEvent, Event
from amint_mpc.results import Figure, Summary, figures_table
from amint_mpc.roles.heads import check_experiment
from amint_mpc.runfolder import RunFolder, new_folder

IN_THE_CLEAR = "Trained in the clear: one process held images, classifier and head."


@dataclass(frozen=True)
class TwinRun:
    """A finished training in the clear; see `train`.

    Args:
        folder: of the run; it holds classifier, head and scores.
        summary: as in summary.json.
        scores: membership probabilities of the five sets (`amint_mpc.data.SETS`), float64 [count] each; none without a
            head (`training.mint_weight: 0`).
    """

    experiment: Experiment = field(repr=False)
    folder: Path
    summary: Summary = field(repr=False)
    scores: Mapping[str, Tensor] = field(repr=False)
    note: str = IN_THE_CLEAR

    @property
    def figures(self) -> dict[str, Figure]:
        """Of membership and of the task, each with its 95 % interval."""
        return self.summary.figures

    def _repr_html_(self) -> str:
        return figures_table(self.figures, (self.note,))


def train(
    experiment: Experiment,
    folder: Path | str | None = None,
    *,
    data: Path | str | None = None,
    device: str = "auto",
    first: Mapping[str, Tensor] | None = None,
    on_event: Callable[[Event], None] | None = None,
    progress: bool = False,
    loop: Callable[[Audit], object] | None = None,
) -> TwinRun:
    """Train the plaintext twin of an experiment: what a secure run of it should reach. Nothing is hidden from anybody.

    Args:
        folder: of the run, a new one; None: one under runs/.
        data: folder of images; data sets that come with a package need none.
        device: of the classifier.
        first: first weights of the head by name, such as those of a secure run's first-head.safetensors; None: drawn by
            the experiment's seed.
        on_event: told each step and epoch.
        progress: print a line an epoch.
        loop: a training loop of one's own, which is given the `Audit` that `amint_mpc.join` would give it.

    Raises:
        UsageError: the experiment does not fit, or the folder exists.
        DataError: images are missing, damaged or too few.
    """
    check_experiment(experiment)
    place = new_folder(f"{experiment.name}-twin") if folder is None else Path(folder)
    if place.exists():
        raise UsageError(f"{place} exists already", "Give another folder; a run never writes over another")
    party = Party(role="developer", data=None if data is None else Path(data), device=device)
    with RunFolder.create(place.parent, experiment, "twin", place.name) as kept:

        def tell(event: Event) -> None:
            kept.record(event)
            if progress and isinstance(event, EpochEvent):
                print(epoch_line(event))
            if on_event is not None:
                on_event(event)

        summary = plaintext_run.run(experiment, party, kept, tell, first, loop)
    scores = kept.path / "scores.safetensors"
    return TwinRun(experiment, kept.path, summary, load_file(scores) if scores.is_file() else {})
