"""Membership verdicts on images, in plaintext: for whoever has the classifier and the head of a finished run.

The private query, in which the auditor has no classifier and the developer no head, is `amint-mpc audit --role ...`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from amint_mpc import tables
from amint_mpc.afterwards import parties
from amint_mpc.afterwards.common import check_own_model
from amint_mpc.amint.verdicts import NOTE, Calibrated, Verdict, verdicts
from amint_mpc.api.folders import RunLike, folder_of, party_folders
from amint_mpc.config import Experiment, load_experiment
from amint_mpc.data.registry import dataset
from amint_mpc.errors import DataError, EvidenceError, UsageError
from amint_mpc.evidence.canonical import tensors_digest
from amint_mpc.evidence.files import EXPERIMENT, LOG
from amint_mpc.evidence.verify import Verified, verify
from amint_mpc.runlog.expected import ExpectedEntries

BACKBONE = "backbone.safetensors"

Images = Tensor | NDArray[np.uint8] | Path | str
"""uint8 [n, C, H, W], or [n, H, W] where images are grey; or a folder of image files."""


@dataclass(frozen=True)
class Audited:
    """What an audit says of each image, in the order in which they came (`amint_mpc.amint.verdicts`).

    Args:
        names: of the files, or their numbers.
        scores: membership probabilities, float64 [n].
        calibrated: threshold and error rates, from the run's own calibration and report images.
        evidence: of the run, which holds; None: the run has no log, and nothing was verified.
        left_out: what else lay in the folder of images, in words.
    """

    names: tuple[str, ...]
    scores: Tensor = field(repr=False)
    verdicts: tuple[Verdict, ...] = field(repr=False)
    calibrated: Calibrated = field(repr=False)
    evidence: Verified | None = field(repr=False)
    left_out: str = ""
    note: str = NOTE

    @property
    def verified(self) -> bool:
        """Whether the run has a log and its evidence holds."""
        return self.evidence is not None

    @property
    def p(self) -> NDArray[np.float64]:
        """Of the hypothesis that an image is like the unseen ones, [n]."""
        return np.array([verdict.p for verdict in self.verdicts])

    @property
    def q(self) -> NDArray[np.float64]:
        """p adjusted for the number of images (Benjamini and Hochberg), [n]."""
        return np.array([verdict.q for verdict in self.verdicts])

    @property
    def member_like(self) -> NDArray[np.bool_]:
        """Whether the score is at or above the threshold, [n]."""
        return np.array([verdict.member_like for verdict in self.verdicts], dtype=bool)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One for each image, as `pandas.DataFrame` takes them."""
        return [{"image": name, **vars(verdict)} for name, verdict in zip(self.names, self.verdicts, strict=True)]

    def __len__(self) -> int:
        return len(self.verdicts)

    def _repr_html_(self) -> str:
        at = self.calibrated
        rates = (
            f"Member-like: a score of at least {at.threshold:.4f}. In the run {at.false_positives:.1%} of the unseen "
            f"report images were above it, and {at.found:.1%} of the members. p is never below 1/{len(at.unseen) + 1}."
        )
        unverified = "" if self.verified else "The run keeps no log: nothing was verified."
        rows = [list(row.values()) for row in self.rows]
        return tables.table(
            ("image", "score", "member-like", "p", "q"), rows, (rates, self.note, unverified, self.left_out)
        )


def audit(run: RunLike, images: Images, *, backbone: Path | str | None = None) -> Audited:
    """Ask of images whether they look like those that a classifier was trained on.

    In plaintext: classifier and head of the run are at hand. No peer is asked, nothing is private, nothing is logged.

    Args:
        run: what `run_in_process` or `train` returned; or a folder: of a twin, one that holds the folders `developer`
            and `auditor`, or an auditor's run folder with `backbone`.
        images: uint8 [n, C, H, W], or [n, H, W] where they are grey; or a folder of image files.
        backbone: a backbone.safetensors, or the developer's run folder; None: the one that lies there.

    Raises:
        UsageError: this is not a finished run, or there is no classifier.
        DataError: images are not of the experiment's shape, or a file is damaged.
        EvidenceError: the run has a log, and it does not hold, or it is not about this classifier.
    """
    both = party_folders(run)
    home = both.get("auditor", folder_of(run))
    file = Path(backbone) if backbone is not None else both.get("developer", home)
    file = file / BACKBONE if file.is_dir() else file
    if not (home / EXPERIMENT).is_file():
        raise UsageError(f"{home} holds no run", "Name a run folder: it has experiment.yaml")
    if not file.is_file():
        raise UsageError(f"there is no classifier {file}", "Give backbone: the developer's folder, or its file")
    evidence = verify(home, ExpectedEntries) if (home / LOG).is_file() else None
    experiment = load_experiment(home / EXPERIMENT) if evidence is None else evidence.experiment
    check_own_model(experiment, parties.ANOTHER_MODEL)
    if evidence is not None and tensors_digest(parties.tensors(file)) != evidence.log.end["backbone"]:
        raise EvidenceError(f"{file} is not the classifier of the log's end", "Give the one of this very run")
    names, pixels, others = _pixels(experiment, images)
    calibrated = Calibrated.of(parties.scores(experiment, home))
    scores = parties.plaintext_scores(experiment, home, file, pixels)
    return Audited(names, scores, tuple(verdicts(scores, calibrated)), calibrated, evidence, others)


def _pixels(experiment: Experiment, images: Images) -> tuple[tuple[str, ...], Tensor, str]:
    """Names, uint8 [n, C, H, W], and what else lies in a folder."""
    if isinstance(images, Path | str):
        files, pixels, others = parties.read_images(experiment, Path(images), lambda *_: None)
        return tuple(file.name for file in files), pixels, others
    shape = dataset(experiment.data).shape
    try:
        found = images if isinstance(images, Tensor) else torch.tensor(np.asarray(images))
    except (TypeError, ValueError, RuntimeError):
        raise DataError(
            "these are not images", "Give a folder of image files, or pixels as uint8 [n, C, H, W]"
        ) from None
    if found.dim() == 3 and shape[0] == 1:
        found = found.unsqueeze(1)
    if found.dtype != torch.uint8 or found.shape[1:] != shape or not len(found):
        raise DataError(
            f"images are {found.dtype} {list(found.shape)}, the run has uint8 {['n', *shape]}",
            "Give pixels from 0 to 255, channels first, at least one image",
        )
    return tuple(map(str, range(len(found)))), found.cpu(), ""
