"""Which image takes which part: member, external or unseen.

Members are trained on with their labels. External images go through the same forward passes without labels. Unseen
images take part in nothing until evaluation. Members and unseen images are each halved: thresholds are chosen on the
calibration half, the report half is read at the end.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from amint_mpc.config import Data, Experiment
from amint_mpc.data.registry import LabelledImages, dataset
from amint_mpc.errors import DataError

SETS = ("members_calibration", "members_report", "external", "unseen_calibration", "unseen_report")


@dataclass(frozen=True)
class SplitImages:
    """The images of one experiment, by role. There is no place for the labels of external images.

    Args:
        members, external, unseen: uint8 [count, C, H, W].
        member_labels, unseen_labels: int64 [count].
        classes: number of classes of the task.
    """

    members: Tensor
    member_labels: Tensor
    external: Tensor
    unseen: Tensor
    unseen_labels: Tensor
    classes: int

    def images(self, name: str) -> Tensor:
        """The images of one of `SETS`, uint8 [count, C, H, W]."""
        return _halves(self.members, self.external, self.unseen)[name]

    def unseen_label_half(self, name: str) -> Tensor:
        """The labels of `unseen_calibration` or `unseen_report`, int64 [count]."""
        half = len(self.unseen_labels) // 2
        return self.unseen_labels[:half] if name == "unseen_calibration" else self.unseen_labels[half:]

    def digest(self) -> str:
        """SHA-256 (hex) of the pixels in order, with their roles and the labels that are used.

        For each role in the order members, external, unseen: its name, a zero byte, count, channels, height and width
        as unsigned 32-bit little-endian numbers, the pixels (uint8, NCHW), and, for members and unseen images,
        the labels as one byte each.
        """
        digest = hashlib.sha256(b"amint-mpc split 1\0")
        parts = (
            ("members", self.members, self.member_labels),
            ("external", self.external, None),
            ("unseen", self.unseen, self.unseen_labels),
        )
        for name, images, labels in parts:
            digest.update(name.encode() + b"\0" + np.asarray(images.shape, dtype="<u4").tobytes())
            digest.update(images.contiguous().numpy().tobytes())
            if labels is not None:
                digest.update(labels.to(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


def set_counts(data: Data) -> dict[str, int]:
    """How many images each of `SETS` holds: public, and the same for both parties."""
    members, unseen = data.members // 2, data.unseen // 2
    counts = (members, data.members - members, data.external, unseen, data.unseen - unseen)
    return dict(zip(SETS, counts, strict=True))


def split_images(source: LabelledImages, data: Data, classes: int, seed: int) -> SplitImages:
    """Draw members, external and unseen images, disjoint, from one random order of all images.

    Args:
        source: all images of the dataset.
        data: how many of each.
        seed: of the order; the same seed gives the same split.

    Raises:
        DataError: fewer images than asked for.
    """
    wanted, found = data.members + data.external + data.unseen, len(source.images)
    if wanted > found:
        raise DataError(
            f"{data.dataset} has {found} images, {wanted} are asked for "
            f"({data.members} members, {data.external} external, {data.unseen} unseen)",
            "Lower data.members, data.external or data.unseen.",
        )
    # NumPy keeps the streams of its bit generators stable between versions; torch.randperm promises no such thing.
    order = torch.from_numpy(np.random.Generator(np.random.PCG64(seed)).permutation(found))
    members, external, unseen = torch.split(order[:wanted], [data.members, data.external, data.unseen])
    return SplitImages(
        members=source.images[members],
        member_labels=source.labels[members],
        external=source.images[external],
        unseen=source.images[unseen],
        unseen_labels=source.labels[unseen],
        classes=classes,
    )


def load_split(experiment: Experiment, root: Path | None) -> SplitImages:
    """Read the experiment's dataset from `root` and split it.

    Raises:
        UsageError: no such dataset.
        DataError: images are missing, damaged or too few.
    """
    kind = dataset(experiment.data.dataset)
    return split_images(kind.read(root), experiment.data, kind.classes, experiment.seed)


def _halves(members: Tensor, external: Tensor, unseen: Tensor) -> dict[str, Tensor]:
    m, u = len(members) // 2, len(unseen) // 2
    return dict(zip(SETS, (members[:m], members[m:], external, unseen[:u], unseen[u:]), strict=True))
