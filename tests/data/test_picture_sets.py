"""GTSRB and Tiny ImageNet in their official layouts, whole and damaged."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from amint_mpc.data import DATASETS
from amint_mpc.errors import DataError
from tests.data.written_sets import SIGNS, WORDS, gtsrb, tiny_imagenet


@pytest.mark.parametrize("place", [".", "gtsrb"])
def test_traffic_signs_of_all_sizes_come_in_one(tmp_path: Path, place: str) -> None:
    gtsrb(tmp_path / place)
    found = DATASETS["gtsrb"].read(tmp_path)
    assert found.images.shape == (SIGNS + 3, 3, 32, 32)
    assert found.labels.tolist() == [*range(SIGNS), 42, 7, 0]
    for label in range(SIGNS):
        colour = torch.tensor([label, 2 * label, 3 * label], dtype=torch.uint8)
        assert torch.equal(found.images[label], colour.view(3, 1, 1).expand(3, 32, 32))


@pytest.mark.parametrize("place", [".", "tiny-imagenet-200"])
def test_tiny_imagenet_is_numbered_as_its_list_says(tmp_path: Path, place: str) -> None:
    tiny_imagenet(tmp_path / place)
    found = DATASETS["tiny-imagenet"].read(tmp_path)
    assert found.images.shape == (WORDS + 2, 3, 64, 64)
    assert found.labels.tolist() == [*range(WORDS), 3, 199]
    brightness = found.images[:WORDS].float().mean((1, 2, 3))
    assert (brightness - torch.arange(WORDS)).abs().max() < 2  # JPEG


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    gtsrb(folder / "gtsrb")
    tiny_imagenet(folder / "tiny-imagenet")
    return folder


def append(line: str):
    return lambda path: path.write_text(path.read_text() + line)


def empty(path: Path) -> None:
    shutil.rmtree(path)
    path.mkdir()


SIGN, TEST = "GTSRB/Training/00017/00000_00000.ppm", "GT-final_test.csv"
WORD = "train/n00000017/images"


@pytest.mark.parametrize(
    ("name", "path", "damage", "complaint"),
    [
        ("gtsrb", "GTSRB/Training/00042", shutil.rmtree, "cannot be listed: No such file"),
        ("gtsrb", SIGN, Path.unlink, r"00017 holds no images \(.ppm\)"),
        ("gtsrb", SIGN, lambda path: path.write_bytes(path.read_bytes()[:-20]), "cannot be read: image file is trunc"),
        ("gtsrb", SIGN, lambda path: path.write_bytes(b""), "is not an image that is read here: an empty file"),
        ("gtsrb", SIGN, lambda path: path.write_text("no image"), "here: a file that starts with b'no image'"),
        ("gtsrb", "GTSRB/Final_Test/Images/00001.ppm", Path.unlink, "named in GT-final_test.csv, and there is nothing"),
        ("gtsrb", "GTSRB/Final_Test", shutil.rmtree, "and there is nothing"),
        ("gtsrb", TEST, Path.unlink, "GT-final_test.csv cannot be read: No such file"),
        ("gtsrb", TEST, append("../../Training/00000/00000_00000.ppm;;;;;;;3\n"), "which is not a plain file name"),
        ("gtsrb", TEST, append("..;;;;;;;3\n"), "named in GT-final_test.csv, and there is a folder"),
        ("gtsrb", TEST, append("00000.ppm;;;;;;;three\n"), "a line without Filename and ClassId: '00000.ppm;"),
        ("gtsrb", TEST, append("00000.ppm\n"), "a line without Filename and ClassId: '00000.ppm'"),
        ("gtsrb", TEST, append("00000.ppm;;;;;;;43\n"), "a label is outside 0 to 42"),
        ("gtsrb", TEST, lambda path: path.write_bytes(b"\xff\xfe\x00"), "is not text"),
        ("gtsrb", TEST, lambda path: path.write_bytes(bytes(1 << 23) + b"x"), "is longer than"),
        ("tiny-imagenet", WORD, empty, r"n00000017/images holds no images \(.jpeg\)"),
        ("tiny-imagenet", "train/n00000017", shutil.rmtree, "cannot be listed"),
        ("tiny-imagenet", "wnids.txt", append("n99999999\n"), "names 201 classes; 200 plain names are expected"),
        ("tiny-imagenet", "wnids.txt", lambda path: path.write_text("../x\n" * 200), "names 1 classes"),
        ("tiny-imagenet", "val/images/val_1.JPEG", Path.unlink, "named in val_annotations.txt, and there is nothing"),
        ("tiny-imagenet", "val/val_annotations.txt", append("val_0.JPEG\tn9\n"), "a line of no known class"),
        ("tiny-imagenet", "val/val_annotations.txt", append("val_0.JPEG\n"), "a line of no known class"),
        ("tiny-imagenet", "val", shutil.rmtree, "val_annotations.txt cannot be read"),
    ],
)
def test_damage_is_named(whole: Path, tmp_path: Path, name: str, path: str, damage, complaint: str) -> None:
    root = tmp_path / name
    shutil.copytree(whole / name, root)
    damage(root / path)
    before = sorted(root.rglob("*"))
    with pytest.raises(DataError, match=complaint) as raised:
        DATASETS[name].read(root)
    assert raised.value.hint
    assert sorted(root.rglob("*")) == before
