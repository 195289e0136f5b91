"""Sets of a loop of one's own: read when they are asked for, and hashed once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, Subset, TensorDataset

from amint_mpc.config import Experiment
from amint_mpc.data import LabelledImages, split_images
from amint_mpc.data.own_sets import own_sets
from amint_mpc.errors import DataError, UsageError
from amint_mpc.evidence.commitments import Commitments

SECRET = bytes(range(32))
AGREED = Experiment.model_validate(
    {"data": {"members": 8, "external": 10, "unseen": 6}, "training": {"batch": 4, "sealed_epochs": 0}}
)


class Counted(Dataset[tuple[Any, int]]):
    """Counts how often an item is read."""

    def __init__(self, images: Tensor, labels: Tensor, known: bool = True) -> None:
        self.images, self.labels, self.read = images, labels, 0
        if known:
            self.targets = labels.tolist()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[Any, int]:
        self.read += 1
        return self.images[row], int(self.labels[row])


@pytest.fixture
def tensors() -> LabelledImages:
    random = torch.Generator().manual_seed(1)
    images = torch.randint(256, (24, 3, 6, 6), dtype=torch.uint8, generator=random)
    return LabelledImages(images, torch.arange(24) % 3)


def three(source: LabelledImages, **how: Any) -> list[Counted]:
    cuts = torch.split(torch.arange(24), [8, 10, 6])
    return [Counted(source.images[rows], source.labels[rows], **how) for rows in cuts]


@pytest.mark.parametrize("workers", [0, 2])
def test_they_are_what_tensors_are(tensors: LabelledImages, workers: int) -> None:
    split = split_images(tensors, AGREED.data, 3, AGREED.seed)
    lazy = own_sets(
        AGREED,
        TensorDataset(split.members, split.member_labels),
        split.external,
        TensorDataset(split.unseen, split.unseen_labels),
        workers,
    )
    assert lazy.digest() == split.digest()
    assert Commitments(lazy, SECRET).record() == Commitments(split, SECRET).record()
    assert tuple(lazy.members.shape) == (8, 3, 6, 6)
    for name in ("members_report", "external", "unseen_calibration"):
        assert torch.equal(torch.stack(list(lazy.images(name))), split.images(name))


def test_a_commitment_reads_each_image_once(tensors: LabelledImages) -> None:
    sets = three(tensors)
    images = own_sets(AGREED, *sets)
    assert [each.read for each in sets] == [1, 0, 0], "the first one is looked at for its size"
    Commitments(images, SECRET)
    images.digest()
    assert [each.read for each in sets] == [9, 10, 6]


def test_labels_come_from_where_they_are(tensors: LabelledImages) -> None:
    wanted = own_sets(AGREED, *three(tensors)).member_labels
    unknown = own_sets(AGREED, *three(tensors, known=False))
    assert torch.equal(unknown.member_labels, wanted)
    assert wanted.dtype == torch.int64
    whole = Counted(tensors.images, tensors.labels)
    part = own_sets(AGREED, Subset(whole, [5, *range(7)]), *three(tensors)[1:])
    assert part.member_labels.tolist() == [2, 0, 1, 2, 0, 1, 2, 0]
    assert whole.read == 1


def test_pictures_of_pillow_are_taken(tensors: LabelledImages) -> None:
    class Pillow(Counted):
        def __getitem__(self, row: int) -> tuple[Any, int]:
            image, label = super().__getitem__(row)
            return Image.fromarray(image.permute(1, 2, 0).numpy()), label

    members = Pillow(tensors.images[:8], tensors.labels[:8])
    assert own_sets(AGREED, members, *three(tensors)[1:]).digest() == own_sets(AGREED, *three(tensors)).digest()


def test_what_is_no_image_is_named(tensors: LabelledImages) -> None:
    members, external, unseen = three(tensors)
    scaled = Counted(tensors.images[:8] / 255, tensors.labels[:8])
    with pytest.raises(DataError, match=r"image 0 of the members is torch\.float32") as error:
        own_sets(AGREED, scaled, external, unseen)
    assert "transform" in error.value.hint
    odd: Any = Counted(tensors.images[8:18], tensors.labels[8:18])
    odd.images = [*tensors.images[8:17], tensors.images[17][:, :5]]
    for workers in (0, 2):
        images = own_sets(AGREED, members, odd, unseen, workers)
        with pytest.raises(
            DataError, match=r"^image 9 of the external is \[3, 5, 6\], others are \[3, 6, 6\]$"
        ) as found:
            images.digest()
        assert found.value.hint
    with pytest.raises(UsageError, match="there are 10 unseen, the experiment has 6"):
        own_sets(AGREED, members, external, external)
    alone: Any = list(tensors.images[:8])
    with pytest.raises(DataError, match="item 0 of the members has no whole number"):
        own_sets(AGREED, [(image, "cat") for image in alone], external, unseen)
