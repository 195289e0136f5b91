"""The split into members, external and unseen images."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest
import torch

from amint_mpc.config import Data, Experiment, Training
from amint_mpc.data import DATASETS, SETS, LabelledImages, SplitImages, dataset, load_split, set_counts, split_images
from amint_mpc.errors import DataError, UsageError

DATA = Data(members=8, external=13, unseen=7)


def numbered(count: int = 30) -> LabelledImages:
    """Images that carry their own number in their only pixel."""
    numbers = torch.arange(count)
    return LabelledImages(numbers.to(torch.uint8).view(-1, 1, 1, 1), numbers % 10)


def test_roles_are_disjoint_and_as_many_as_asked_for() -> None:
    split = split_images(numbered(), DATA, 10, seed=1)
    counts = set_counts(DATA)
    assert counts == dict(zip(SETS, (4, 4, 13, 3, 4), strict=True))
    numbers = [split.images(name).flatten().tolist() for name in SETS]
    assert [len(part) for part in numbers] == list(counts.values())
    together = [number for part in numbers for number in part]
    assert len(set(together)) == len(together) == 28


@pytest.mark.parametrize("duplicates", ["keep", "drop"])
@pytest.mark.parametrize("seed", range(5))
def test_no_image_stands_in_two_sets(duplicates: str, seed: int) -> None:
    """By index: every image of the source is another, so a pixel says which one it is."""
    data = DATA.model_copy(update={"duplicates": duplicates})
    split = split_images(numbered(), data, 10, seed)
    assert split.counts is not None
    assert split.counts.duplicates == {}
    for one, other in combinations(SETS, 2):
        assert not set(split.images(one).flatten().tolist()) & set(split.images(other).flatten().tolist())


def test_labels_stay_with_their_images() -> None:
    split = split_images(numbered(), DATA, 10, seed=1)
    assert torch.equal(split.member_labels, split.members.flatten().long() % 10)
    for name in ("unseen_calibration", "unseen_report"):
        assert torch.equal(split.unseen_label_half(name), split.images(name).flatten().long() % 10)


def test_seed_and_nothing_else_decides_the_split() -> None:
    first = split_images(numbered(), DATA, 10, seed=1)
    again = split_images(numbered(), DATA, 10, seed=1)
    other = split_images(numbered(), DATA, 10, seed=2)
    assert torch.equal(first.members, again.members)
    assert first.digest() == again.digest() != other.digest()
    # Fixed: a change of the order or of the encoding would make old digests worthless.
    assert first.digest() == "5c8fcd1bd36796f6adf45190bf0cd79f0a639bf672825f9fd83dd93f916a4a48"


def test_digest_tells_pixels_roles_and_used_labels_apart() -> None:
    split = split_images(numbered(), DATA, 10, seed=1)
    pixels = split.external.clone()
    pixels[3] += 1
    changed = (
        replace(split, external=pixels),
        replace(split, members=split.members.flip(0)),
        replace(split, members=split.unseen, unseen=split.members),
        replace(split, member_labels=(split.member_labels + 1) % 10),
        replace(split, members=split.members.view(2, 4, 1, 1)),
    )
    assert len({other.digest() for other in (split, *changed)}) == len(changed) + 1


def test_external_labels_change_nothing() -> None:
    source = numbered()
    split = split_images(source, DATA, 10, seed=1)
    labels = source.labels.clone()
    labels[split.external.flatten().long()] = 9 - labels[split.external.flatten().long()]
    other = split_images(LabelledImages(source.images, labels), DATA, 10, seed=1)
    assert other.digest() == split.digest()
    assert torch.equal(other.member_labels, split.member_labels)
    assert torch.equal(other.unseen_labels, split.unseen_labels)


def test_too_few_images_are_counted_in_the_error() -> None:
    with pytest.raises(DataError, match=r"27 images, 28 are asked for \(8 members, 13 external, 7 unseen\)"):
        split_images(numbered(27), DATA, 10, seed=1)


def test_mnist_5k_needs_no_folder() -> None:
    split = load_split(Experiment(), None)
    assert split.members.shape == (1500, 1, 28, 28)
    assert split.members.dtype == torch.uint8
    assert split.members.max() == 255
    assert split.member_labels.bincount(minlength=10).min() > 100
    # That of the quickstart: published runs must stay comparable.
    assert split.digest() == "b694a726fa462b730b77d061b2d982fcfd06f5ed89672f52409b619f1d282565"
    assert load_split(Experiment(data=Data(duplicates="drop")), None).digest() == split.digest()  # all are different


def test_labels_beyond_a_byte_count_in_the_digest() -> None:
    pixels, labels = torch.zeros(8, 1, 1, 1, dtype=torch.uint8), torch.arange(8)
    splits = [
        SplitImages(pixels, labels + more, pixels, pixels, labels, classes)
        for more, classes in ((0, 10), (0, 300), (256, 300))
    ]
    assert len({split.digest() for split in splits}) == 3


def test_a_class_without_a_member_is_an_error() -> None:
    few = Experiment(data=Data(members=4, external=4, unseen=4), training=Training(batch=4))
    with pytest.raises(
        DataError, match=r"of the 10 classes of mnist-5k have no member \(\d, \d, \d, \d, \d, \.\.\.\)"
    ) as raised:
        load_split(few, None)
    assert "data.members" in raised.value.hint


def test_unknown_dataset_lists_the_known_ones() -> None:
    with pytest.raises(UsageError) as raised:
        dataset(Data(dataset="imagenet"))
    assert all(name in raised.value.hint for name in (*DATASETS, "folder"))
