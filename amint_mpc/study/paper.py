"""The values of the aMINT paper (paper.csv names the source), to stand beside measured ones."""

from __future__ import annotations

import csv
from functools import cache
from importlib import resources

from amint_mpc.pages.study import PaperValue

SOURCE = "arXiv 2509.07879"
_NAMES = {
    "mnist-5k": "MNIST",
    "mnist": "MNIST",
    "cifar-10": "CIFAR-10",
    "gtsrb": "GTSRB",
    "tiny-imagenet": "Tiny ImageNet",
}
"""Dataset of this program -> of the paper."""

SIZES = {
    "MNIST": "25,000 members, 35,000 external and 10,000 test images",
    "CIFAR-10": "20,000 members, 30,000 external and 10,000 test images",
    "GTSRB": "11,000 members, 15,600 external and 12,600 test images",
    "Tiny ImageNet": "40,000 members, 60,000 external and 10,000 test images",
}
"""How many images the paper took."""


def paper_value(dataset: str, backbone: str, taps: str) -> PaperValue | None:
    """What the paper reports for the same data set, architecture and taps; None where it has nothing."""
    found = _table().get((_NAMES.get(dataset, ""), backbone, taps))
    if found is None:
        return None
    return PaperValue(
        dataset=dataset, backbone=backbone, taps=taps, mint_accuracy_at_half=found[0], task_accuracy=found[1]
    )


def paper_sizes(dataset: str) -> str | None:
    """The paper's name of a data set and how many images it took; None where it has nothing."""
    name = _NAMES.get(dataset)
    return None if name is None else f"{name}: {SIZES[name]}"


@cache
def _table() -> dict[tuple[str, str, str], tuple[float, float]]:
    """MINT and task accuracy by the paper's data set, backbone and taps."""
    text = resources.files("amint_mpc.study").joinpath("paper.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return {
        (row["dataset"], row["backbone"], row["taps"]): (
            float(row["mint_accuracy_at_half"]),
            float(row["task_accuracy"]),
        )
        for row in rows
    }
