"""One run folder: what was agreed, which versions ran, what came out, and, where the party has them, its scores.

Only a finished run is read, and only one whose parts fit together: summary and scores carry the digest of the
experiment, every set has the agreed number of images, and the scores give the figures of the summary.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import RootModel, ValidationError
from safetensors import SafetensorError, safe_open

from amint_mpc import __version__
from amint_mpc.config import Experiment
from amint_mpc.errors import DataError, UsageError
from amint_mpc.pages.files import damaged, read_record, regular
from amint_mpc.pages.statistics import Array, Scores, balanced_accuracy
from amint_mpc.reading import complain, read_mapping
from amint_mpc.results import CALIBRATED, Summary, Text

MAX_SCORES_BYTES = 2**26  # eight million images
_FITS = 1e-6  # how far a figure may lie from what the scores give


class Versions(RootModel[dict[Text, Text | int | None]]):
    """versions.json: what ran, by name."""


@dataclass(frozen=True)
class Run:
    """A finished run of one party.

    Args:
        experiment: with the defaults of this version for settings that its file does not have.
        scores: None where the party has none, or no threshold was noted.
    """

    path: Path
    experiment: Experiment
    summary: Summary
    versions: dict[str, str]
    scores: Scores | None

    @property
    def insecure(self) -> bool:
        return self.experiment.insecure or self.summary.insecure is not None


def is_run(path: Path) -> bool:
    """Whether a run began there: from the start it has these two files."""
    return regular(path / "experiment.yaml") and regular(path / "versions.json")


def read_run(path: Path) -> Run:
    """The run in `path`.

    Raises:
        UsageError: there is none, or it has not finished.
        DataError: it is of a newer version, or damaged.
    """
    if not is_run(path):
        raise UsageError(
            f"{path} is not a run folder",
            "A run folder has experiment.yaml and versions.json; amint-mpc run makes one",
        )
    versions = known_versions(read_record(path / "versions.json", Versions).root, path)
    settings, experiment = _experiment(path / "experiment.yaml")
    if not regular(path / "summary.json"):
        raise UsageError(
            f"the run in {path} has no summary: it goes on, or was cut short",
            "The file log.txt in it says how it ended",
        )
    summary = read_record(path / "summary.json", Summary)
    if summary.digest != _digest(settings, path / "experiment.yaml"):
        damaged(path / "summary.json", "it is of another experiment than experiment.yaml beside it")
    found = path / "scores.safetensors"
    wanted = summary.threshold is not None and summary.role in ("auditor", "twin")
    return Run(path, experiment, summary, versions, _scores(found, experiment, summary) if wanted else None)


def known_versions(found: Mapping[str, object], path: Path) -> dict[str, str]:
    """Versions as text. Raises: DataError: the folder is of a newer amint-mpc than this one."""
    versions = {name: str(value)[:100] for name, value in found.items() if name != "insecure"}
    theirs = versions.get("amint-mpc", "")
    if _number(theirs) > _number(__version__):
        raise DataError(
            f"{path} was made by amint-mpc {theirs}, and this is {__version__}", "Install that version, or a later one"
        )
    return versions


def _number(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d{1,9}", version)[:3]]


def _experiment(path: Path) -> tuple[dict[str, Any], Experiment]:
    try:
        settings = read_mapping(path)
    except UsageError as error:
        raise DataError(error.message, "Was the folder copied whole?") from None
    try:
        return settings, Experiment.model_validate(settings)
    except ValidationError as error:
        raise DataError(
            complain(error, Experiment, str(path)).message, "It may be of a newer amint-mpc, or was changed by hand"
        ) from None


def _digest(settings: dict[str, Any], path: Path) -> str:
    """`Experiment.digest` of the settings as they stand in the file, so that a new setting changes no old digest."""
    try:
        text = json.dumps(settings, sort_keys=True, separators=(",", ":"))
    except (TypeError, ValueError):
        damaged(path, "it holds something else than settings")
    return hashlib.sha256(text.encode()).hexdigest()


def _scores(path: Path, experiment: Experiment, summary: Summary) -> Scores:
    from amint_mpc.data.split import set_counts  # loads torch

    if not regular(path) or path.stat().st_size > MAX_SCORES_BYTES:
        damaged(path, "it is missing, no regular file, or too large")
    try:
        with safe_open(path, "np") as file:
            if (file.metadata() or {}).get("experiment") != summary.digest:
                damaged(path, "it is of another experiment than the summary beside it")
            sets = {name: _one_set(file, path, name, count) for name, count in set_counts(experiment.data).items()}
    except (OSError, SafetensorError) as error:
        damaged(path, str(error)[:100])
    assert summary.threshold is not None
    scores = Scores(threshold=summary.threshold, **sets)
    noted = summary.figures.get(CALIBRATED)
    given = balanced_accuracy(scores.members_report, scores.unseen_report, scores.threshold)
    if noted is None or not abs(noted.value - given) <= _FITS:
        damaged(path, "the scores do not give the figures of summary.json")
    return scores


def _one_set(file: Any, path: Path, name: str, count: int) -> Array:
    if name not in file.keys():  # noqa: SIM118 - it is not a mapping
        damaged(path, f"there are no scores of {name}")
    part = file.get_slice(name)
    if part.get_dtype() != "F64" or list(part.get_shape()) != [count]:
        damaged(path, f"the scores of {name} are not {count} numbers")
    values: Array = file.get_tensor(name)
    if not (np.isfinite(values) & (values >= 0) & (values <= 1)).all():
        damaged(path, f"a score of {name} is not a probability")
    return values
