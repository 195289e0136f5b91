"""The classifier and the head of a finished plaintext twin, read back from its run folder."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open

from amint_mpc.afterwards import parties
from amint_mpc.config import Experiment
from amint_mpc.data.split import SplitImages
from amint_mpc.errors import DataError, UsageError
from amint_mpc.models.classifier import Classifier
from amint_mpc.models.head_weights import HeadWeights, load_head
from amint_mpc.printable import excerpt
from amint_mpc.results import Summary

MAX_SUMMARY_BYTES = 2**20
_HINT = "Name the run folder of a finished amint-mpc train"


def load_classifier(folder: Path, experiment: Experiment, images: SplitImages, device: str = "auto") -> Classifier:
    """The classifier of a finished run, if it is of this experiment and these images.

    Raises:
        UsageError: the run is not finished, or is of another experiment.
        DataError: of other images, or its file is damaged.
    """
    summary = _summary(folder)
    if summary.digest != experiment.digest():
        raise UsageError(
            f"{folder} is a run of another experiment than {experiment.name} as it is given here",
            "Leave --config and --set out: the run folder knows its experiment",
        )
    if summary.images != images.digest():
        raise DataError(f"{folder} was trained on other images than these", "Name the same --data as for that run")
    path = folder / "backbone.safetensors"
    try:
        with safe_open(path, "pt") as file:
            written = (file.metadata() or {}).get("experiment")
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path} cannot be read: {excerpt(str(error), 200)}", _HINT) from None
    if written != experiment.digest():
        raise DataError(f"{path} belongs to another experiment than its folder", _HINT)
    return parties.classifier(experiment, path, device)


def load_twin(
    folder: Path, experiment: Experiment, images: SplitImages, device: str = "auto"
) -> tuple[Classifier, HeadWeights]:
    """The classifier and the head beside it: a plaintext twin has both, in a secure run nobody has.

    Raises:
        UsageError, DataError: as `load_classifier`; there is no head, or it is damaged or does not fit.
    """
    classifier = load_classifier(folder, experiment, images, device)
    path = folder / "head.safetensors"
    if not path.is_file():
        raise UsageError(
            f"{folder} has no head: in a secure run the developer holds the classifier and the auditor the head", _HINT
        )
    head = load_head(path)
    if head.w1.shape[0] != classifier.features.count:
        raise DataError(f"{path} works on {head.w1.shape[0]} features, not on this classifier's", _HINT)
    return classifier, head


def _summary(folder: Path) -> Summary:
    try:
        with (folder / "summary.json").open("rb") as file:
            return Summary.model_validate_json(file.read(MAX_SUMMARY_BYTES))
    except (OSError, ValueError):
        raise UsageError(f"{folder} is not a finished run: its summary.json cannot be read", _HINT) from None
