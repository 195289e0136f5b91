"""Identical pictures: found in every pair of sets, counted, and dropped where the experiment says so."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import pytest
import torch

from amint_mpc.config import Data, Experiment, Training
from amint_mpc.data import DATASETS, SETS, LabelledImages, load_split, split_images
from amint_mpc.data.duplicates import alike
from amint_mpc.data.registry import Dataset
from amint_mpc.errors import DataError

DATA = Data(members=40, external=50, unseen=30)


def copies(count: int = 200, different: int = 150) -> LabelledImages:
    """2 x 3 pictures in two channels, of which some stand twice or more often; the first two values say which it is."""
    which = torch.randint(different, (count,), generator=torch.Generator().manual_seed(1))
    images = torch.zeros(count, 2, 2, 3, dtype=torch.uint8)
    images[:, 0, 0, 0], images[:, 1, 1, 2] = which.to(torch.uint8), 7
    return LabelledImages(images, which % 4)


def pictures(images: torch.Tensor) -> list[bytes]:
    return [image.numpy().tobytes() for image in images]


def test_numbers_are_equal_just_where_the_pixels_are() -> None:
    source = copies()
    numbers, content = alike(source.images), pictures(source.images)
    for one, other in combinations(range(60), 2):
        assert (numbers[one] == numbers[other]) == (content[one] == content[other])
    assert len(alike(torch.zeros(0, 1, 2, 2, dtype=torch.uint8))) == 0
    upside_down = source.images.flip(2)  # not contiguous in the same way, other pictures
    assert len(set(alike(torch.cat([source.images, upside_down])))) == 2 * len(set(content))


@pytest.mark.parametrize("seed", range(3))
def test_pictures_in_two_sets_are_counted_by_pair(seed: int) -> None:
    split = split_images(copies(), DATA, 4, seed)
    assert split.counts is not None
    sets = {name: set(pictures(split.images(name))) for name in SETS}
    wanted = {f"{one} and {other}": len(sets[one] & sets[other]) for one, other in combinations(SETS, 2)}
    assert split.counts.duplicates == {pair: count for pair, count in wanted.items() if count}
    assert len(split.counts.duplicates) > 5


@pytest.mark.parametrize("seed", range(3))
def test_with_drop_one_copy_of_each_picture_takes_part(seed: int) -> None:
    source, data = copies(), DATA.model_copy(update={"duplicates": "drop", "members": 20})
    split = split_images(source, data, 4, seed)
    every = Counter(content for name in SETS for content in pictures(split.images(name)))
    assert len(every) == 100
    assert max(every.values()) == 1
    assert split.counts is not None
    assert split.counts.duplicates == {}
    # The first copies in the order of "keep": nobody's place depends on more than that.
    keep = split_images(source, data.model_copy(update={"duplicates": "keep", "members": 150, "external": 20}), 4, seed)
    assert list(dict.fromkeys(pictures(keep.members)))[:20] == pictures(split.members)


def test_dropped_copies_are_told_when_too_few_remain() -> None:
    source = copies(count=125, different=50)
    left = len(set(pictures(source.images)))
    data = DATA.model_copy(update={"duplicates": "drop"})
    with pytest.raises(DataError, match=f"has {left} images and {125 - left} further copies of them, 120 are asked"):
        split_images(source, data, 4, seed=1)


def test_classes_are_counted_by_role() -> None:
    source = copies()
    split = split_images(source, DATA, 5, seed=1)
    assert split.counts is not None
    counts = split.counts.class_counts
    assert counts["members"] == split.member_labels.bincount(minlength=5).tolist()
    assert counts["unseen"] == split.unseen_labels.bincount(minlength=5).tolist()
    of_external = split.external[:, 0, 0, 0].long() % 4
    assert counts["external"] == of_external.bincount(minlength=5).tolist()
    assert counts["external"][4] == 0


def test_what_was_counted_is_told_and_stands_in_the_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    source = copies()
    known = Dataset("copied", (2, 2, 3), 4, lambda *_: (source.images, source.labels))
    monkeypatch.setitem(DATASETS, "copied", known)
    told: list[str] = []
    data = DATA.model_copy(update={"dataset": "copied"})
    split = load_split(Experiment(data=data, training=Training(batch=4)), None, told.append)
    assert split.counts is not None
    assert told == [split.counts.sentence()]
    for pair, count in split.counts.duplicates.items():
        assert f"{pair} {count}" in told[0]
    assert "data.duplicates=drop" in told[0]
    assert split.summary().as_json() == {
        "images": split.digest(),
        "duplicates": split.counts.duplicates,
        "class_counts": split.counts.class_counts,
    }
