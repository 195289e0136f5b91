"""Which run folders are told together on one page, and from whose side.

A party's folder is told from that party's side: what the others hold does not come in, even where it lies beside it.
Only trainings in the clear do (the twin, and the classifier alone), for comparison. A folder that holds the folders of
all parties, as a demo leaves it, is told as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from amint_mpc.errors import DataError, UsageError
from amint_mpc.pages.comparison import Comparison, read_comparison
from amint_mpc.pages.files import regular
from amint_mpc.pages.history import History, read_history
from amint_mpc.pages.run import Run, is_run, read_run
from amint_mpc.pages.statistics import Scores
from amint_mpc.results import Figure

Side = Literal["auditor", "developer", "twin", "all"]
TWIN, ALONE, DISTILLED = "twin", "task-alone", "task-with-distillation"
_PARTIES = ("auditor", "developer", "dealer")
_INSECURE = "-insecure"


@dataclass(frozen=True)
class AuditedRun:
    """One training and its audit.

    Args:
        side: who tells; "all": the folders of all parties lay together.
        parties: the folders that are told, by role.
        beside: trainings in the clear for comparison: `TWIN`, `ALONE`, `DISTILLED`.
    """

    side: Side
    parties: dict[str, Run]
    beside: dict[str, Run]
    comparison: Comparison | None = None

    @property
    def main(self) -> Run:
        """The folder that knows most of the audit."""
        return next(self.parties[role] for role in ("auditor", "developer", "twin") if role in self.parties)

    @property
    def secure(self) -> bool:
        return self.side != "twin"

    @property
    def insecure(self) -> bool:
        return any(run.insecure for run in self.parties.values())

    @property
    def scores(self) -> Scores | None:
        return self.main.scores

    @property
    def figures(self) -> dict[str, Figure]:
        """Of membership as the auditor has them, of the task as the developer has them."""
        task = self.parties.get("developer", self.main).summary.figures
        return {**task, **self.main.summary.figures}

    @cached_property
    def history(self) -> History:
        """Losses as the developer saw them, membership on calibration images as the auditor did."""
        found = {role: read_history(run.path / "metrics.jsonl") for role, run in self.parties.items()}
        of_task = found.get("developer", found.get("twin", History()))
        of_head = found.get("auditor", of_task)
        return History(of_task.losses, {**of_task.figures, **of_head.figures}, of_task.warmup)


def gather(path: Path, comparison: Path | None = None, beside: Sequence[Path] = ()) -> AuditedRun:
    """Read what `path` holds, and what belongs to it.

    Args:
        path: a run folder, or one with the run folders of all parties.
        comparison: a comparison.json; None: the one in the folder, if there is one.
        beside: further run folders for comparison.

    Raises:
        UsageError: no run, an unfinished one, or one that was no audit; a folder that does not belong to it.
        DataError: a file is damaged, or of a newer version.
    """
    side, parties, home = _parties(path)
    audit = AuditedRun(side, parties, {})
    if audit.main.experiment.training.mint_weight == 0:
        raise UsageError(
            f"the run in {path} has no membership head: nothing was audited",
            "Name the run with the head; with --beside this one is shown there for comparison",
        )
    others = {name: run for name, run in _siblings(home).items() if name not in parties and _alike(audit.main, run)}
    others |= _named(beside, audit.main)
    file = comparison or next((f for f in (path / "comparison.json", home / "comparison.json") if regular(f)), None)
    return AuditedRun(side, parties, others, None if file is None else _comparison(file, audit.main))


def _parties(path: Path) -> tuple[Side, dict[str, Run], Path]:
    """From whose side it is told, the parties' runs, and the folder in which others may lie beside them."""
    if not path.is_dir():
        raise UsageError(f"{path} is not a folder", "Name the run folder that amint-mpc run, train or demo printed")
    if (path / "comparison.json").is_file() and is_run(path / "joint"):
        return "twin", {"twin": _told(path / "joint", "twin")}, path
    if not is_run(path):
        for home in (path, path / "runs"):
            found = {role: folder for role in _PARTIES if (folder := _at(home, role)) is not None}
            if "auditor" in found:
                return "all", _together(found), home
        raise UsageError(
            f"{path} holds no run and no study",
            "A run folder has experiment.yaml and versions.json, a study's folder study.csv",
        )
    run = read_run(path)
    role = run.summary.role
    if role == "auditor" or role == "developer" or role == "twin":
        return role, {role: run}, path.parent
    raise UsageError(
        f"{path} is the {role}'s folder, which holds no result of an audit",
        "Name the folder of the auditor, of the developer, or of a twin",
    )


def _together(folders: dict[str, Path]) -> dict[str, Run]:
    runs = {role: _told(folder, role) for role, folder in folders.items()}
    digests = {run.summary.digest for run in runs.values()}
    if len(digests) > 1:
        raise DataError(
            f"{', '.join(map(str, folders.values()))} are of different experiments", "Name one of these folders alone"
        )
    return runs


def _told(folder: Path, role: str) -> Run:
    run = read_run(folder)
    if run.summary.role != role:
        raise DataError(f"{folder} is the {run.summary.role}'s folder, not the {role}'s", "Was it renamed?")
    return run


def _at(home: Path, name: str) -> Path | None:
    return next((home / n for n in (name, name + _INSECURE) if is_run(home / n)), None)


def _siblings(home: Path) -> dict[str, Run]:
    """Finished trainings in the clear, under the names that a demo or a comparison gives them."""
    places = {TWIN: TWIN, ALONE: ALONE, DISTILLED: DISTILLED, "plain": ALONE}
    found: dict[str, Run] = {}
    for folder, name in places.items():
        at = _at(home, folder)
        if at is not None and regular(at / "summary.json"):
            found.setdefault(name, read_run(at))
    return found


def _named(folders: Sequence[Path], main: Run) -> dict[str, Run]:
    found = {}
    for folder in folders:
        run = read_run(folder)
        if not _alike(main, run):
            raise UsageError(
                f"{folder} is not a training in the clear on the same images with the same classifier and seed",
                "Compare runs that differ in nothing but the head",
            )
        training = run.experiment.training
        found[TWIN if training.mint_weight else DISTILLED if training.distillation else ALONE] = run
    return found


def _alike(main: Run, other: Run) -> bool:
    """Whether `other` is a training in the clear that differs in nothing but the head, or in nothing at all."""
    ours, theirs = main.experiment, other.experiment
    if other.summary.role != "twin" or "task_accuracy" not in other.summary.figures:
        return False
    if theirs.training.mint_weight:
        return other.summary.digest == main.summary.digest
    same = ours.data == theirs.data and ours.seed == theirs.seed
    return same and _layers(main) == _layers(other)


def _layers(run: Run) -> dict[str, object]:
    return run.experiment.model.model_dump(exclude={"taps"})  # they only say where the same layers are cut


def _comparison(path: Path, main: Run) -> Comparison:
    found = read_comparison(path)
    if found.digest not in (None, main.summary.digest):
        raise DataError(f"{path} is of another experiment than {main.path}", "Name the run that it was made from")
    return found
