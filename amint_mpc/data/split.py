"""Which image takes which part: member, external or unseen.

Members are trained on with their labels. External images go through the same forward passes without labels. Unseen
images take part in nothing until evaluation. Members and unseen images are each halved: thresholds are chosen on the
calibration half, the report half is read at the end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from torch import Tensor

from amint_mpc.config import Data, Experiment
from amint_mpc.data.duplicates import Rows, SplitCounts, alike, first_copies, shared
from amint_mpc.data.registry import LabelledImages, dataset
from amint_mpc.errors import DataError
from amint_mpc.events import OnNotice
from amint_mpc.results import Outcome

SETS = ("members_calibration", "members_report", "external", "unseen_calibration", "unseen_report")
IMAGE_ROLES = ("members", "external", "unseen")


@dataclass(frozen=True)
class SplitImages:
    """The images of one experiment, by role. There is no place for the labels of external images.

    Args:
        members, external, unseen: uint8 [count, C, H, W]; or `own_sets.Pictures`, which read an image when it is asked
            for, and have of a tensor what is used here: length, shape, items, slices.
        member_labels, unseen_labels: int64 [count].
        classes: number of classes of the task.
        counts: what was counted when the split was drawn.
    """

    members: Tensor
    member_labels: Tensor
    external: Tensor
    unseen: Tensor
    unseen_labels: Tensor
    classes: int
    counts: SplitCounts | None = None
    _digest: list[str] = field(default_factory=list, init=False, repr=False, compare=False)

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
        the labels as one byte each; with more than 256 classes as unsigned 32-bit little-endian numbers.
        """
        if not self._digest:
            for _ in self.each():
                pass
        return self._digest[0]

    def each(self) -> Iterator[tuple[str, Tensor]]:
        """Every image once, with its role; the digest is known afterwards."""
        label = "<u1" if self.classes <= 256 else "<u4"
        digest = hashlib.sha256(b"amint-mpc split 1\0")
        parts = (
            ("members", self.members, self.member_labels),
            ("external", self.external, None),
            ("unseen", self.unseen, self.unseen_labels),
        )
        for name, images, labels in parts:
            digest.update(name.encode() + b"\0" + np.asarray(images.shape, dtype="<u4").tobytes())
            for image in images:
                digest.update(image.contiguous().numpy().tobytes())
                yield name, image
            if labels is not None:
                digest.update(labels.numpy().astype(label).tobytes())
        self._digest[:] = [digest.hexdigest()]

    def summary(self) -> Outcome:
        """For summary.json: the digest, and what was counted."""
        counted = {} if self.counts is None else vars(self.counts)
        return Outcome(images=self.digest(), **counted)


def set_counts(data: Data) -> dict[str, int]:
    """How many images each of `SETS` holds: public, and the same for both parties."""
    members, unseen = data.members // 2, data.unseen // 2
    counts = (members, data.members - members, data.external, unseen, data.unseen - unseen)
    return dict(zip(SETS, counts, strict=True))


def split_images(source: LabelledImages, data: Data, classes: int, seed: int) -> SplitImages:
    """Draw members, external and unseen images, disjoint, from one random order of all images.

    With `data.duplicates` "drop", only the first copy of each picture in that order takes part; where no picture
    stands twice, the split is the same as with "keep".

    Args:
        source: all images of the dataset.
        data: how many of each.
        seed: of the order; the same seed gives the same split.

    Raises:
        DataError: fewer images than asked for.
    """
    numbers = alike(source.images)
    # NumPy keeps the streams of its bit generators stable between versions; torch.randperm promises no such thing.
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(numbers))
    if data.duplicates == "drop":
        order = first_copies(order, numbers)
    wanted = data.members + data.external + data.unseen
    if wanted > len(order):
        dropped = len(numbers) - len(order)
        raise DataError(
            f"{data.dataset} has {len(order)} images{f' and {dropped} further copies of them' if dropped else ''}, "
            f"{wanted} are asked for ({data.members} members, {data.external} external, {data.unseen} unseen)",
            "Lower data.members, data.external or data.unseen.",
        )
    roles = dict(zip(IMAGE_ROLES, np.split(order[:wanted], [data.members, data.members + data.external]), strict=True))
    members, external, unseen = roles.values()
    class_counts = {
        role: np.bincount(source.labels.numpy()[rows], minlength=classes).tolist() for role, rows in roles.items()
    }
    return SplitImages(
        members=source.images[members],
        member_labels=source.labels[members],
        external=source.images[external],
        unseen=source.images[unseen],
        unseen_labels=source.labels[unseen],
        classes=classes,
        counts=SplitCounts(shared(_halves(members, external, unseen), numbers), class_counts),
    )


def load_split(experiment: Experiment, root: Path | None, on_notice: OnNotice = lambda _: None) -> SplitImages:
    """Read the experiment's dataset from `root` and split it.

    Args:
        on_notice: told how it goes on, and at last what was counted.

    Raises:
        UsageError: no such dataset.
        DataError: images are missing, damaged or too few, or a class has no member.
    """
    kind = dataset(experiment.data)
    images = split_images(kind.read(root, on_notice), experiment.data, kind.classes, experiment.seed)
    assert images.counts is not None
    absent = [number for number, count in enumerate(images.counts.class_counts["members"]) if not count]
    if absent:
        named = ", ".join(map(str, absent[:5])) + (", ..." if len(absent) > 5 else "")
        raise DataError(
            f"{len(absent)} of the {kind.classes} classes of {kind.name} have no member ({named})",
            "Raise data.members, take another seed, or add images of these classes.",
        )
    on_notice(images.counts.sentence())
    return images


_Rows = TypeVar("_Rows", Tensor, Rows)


def _halves(members: _Rows, external: _Rows, unseen: _Rows) -> dict[str, _Rows]:
    m, u = len(members) // 2, len(unseen) // 2
    return dict(zip(SETS, (members[:m], members[m:], external, unseen[:u], unseen[u:]), strict=True))
