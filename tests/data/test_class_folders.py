"""`folder`: pictures of one's own, in one folder for each class."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from amint_mpc.config import Data, Experiment, load_experiment
from amint_mpc.data import dataset, load_split
from amint_mpc.errors import DataError, UsageError

STATED = {"dataset": "folder", "image_size": 8, "channels": 3, "classes": 3}


def pictures(root: Path, count: int = 8) -> None:
    """Three classes; the red of a picture is its class, the green its number."""
    for label, name in enumerate(("ant", "bee", "cat")):
        (root / name).mkdir(parents=True)
        for number in range(count):
            image = Image.new("RGB", (8 + number, 20), (label, number, 0))
            image.save(root / name / f"{number:03}.{('png', 'bmp')[number % 2]}")


def read(root: Path, said: list[str] | None = None, **changes: Any):
    return dataset(Data(**{**STATED, **changes})).read(root, [].append if said is None else said.append)


def test_class_folders_are_numbered_by_name(tmp_path: Path) -> None:
    pictures(tmp_path)
    (tmp_path / "README.txt").write_text("files beside the class folders play no part")
    for hidden in (".DS_Store", "bee/.DS_Store"):
        (tmp_path / hidden).write_bytes(b"\0")
    (tmp_path / ".git").mkdir()
    (tmp_path / "gone").symlink_to("nowhere")
    said: list[str] = []
    found = read(tmp_path, said)
    assert said == ["left out beside the images: 1 broken link or device, 1 file, 3 hidden files"]
    assert found.images.shape == (24, 3, 8, 8)
    assert found.labels.tolist() == found.images[:, 0, 0, 0].tolist() == [0] * 8 + [1] * 8 + [2] * 8
    assert found.images[:, 1, 0, 0].tolist() == [*range(8)] * 3
    assert read(tmp_path, channels=1, image_size=16).images.shape == (24, 1, 16, 16)


def test_nothing_is_said_where_nothing_is_left_out(tmp_path: Path) -> None:
    pictures(tmp_path)
    said: list[str] = []
    read(tmp_path, said)
    assert said == []


def test_an_experiment_on_a_folder_is_split(tmp_path: Path) -> None:
    pictures(tmp_path)
    data = Data(**STATED, members=12, external=6, unseen=6)
    split = load_split(Experiment(data=data, training={"batch": 4}), tmp_path)
    assert split.members.shape == (12, 3, 8, 8)
    assert torch.equal(split.member_labels, split.members[:, 0, 0, 0].long())


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda root: (root / "dog").mkdir(), r"4 class folders \(ant, bee, cat, dog\), data.classes is 3"),
        (lambda root: (root / "cat").rename(root.parent / "cat"), r"2 class folders \(ant, bee\)"),
        (lambda root: [path.unlink() for path in (root / "bee").iterdir()], "bee holds no images"),
        (lambda root: (root / "bee/more").mkdir(), "bee/more is not an image: a folder"),
        (lambda root: os.mkfifo(root / "bee/pipe"), "bee/pipe is not an image: neither a file nor a folder"),
        (lambda root: (root / "bee/link").symlink_to("nowhere"), "bee/link is not an image: nothing"),
        (lambda root: (root / "bee/notes.txt").write_text("no image"), "notes.txt is not an image .* b'no image'"),
        (lambda root: (root / "bee/Thumbs.db").write_bytes(b""), "Thumbs.db is not an image .* an empty file"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, damage, complaint: str) -> None:
    root = tmp_path / "pictures"
    pictures(root)
    damage(root)
    with pytest.raises(DataError, match=complaint) as raised:
        read(root)
    assert raised.value.hint


def test_a_root_that_is_no_folder_of_class_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no folder"):
        read(tmp_path / "absent")
    with pytest.raises(DataError, match=r"holds 0 class folders \(none\)"):
        read(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="file cannot be listed: Not a directory"):
        read(tmp_path / "file")
    with pytest.raises(DataError, match="folder needs a data folder") as raised:
        dataset(Data(**STATED)).read(None)
    assert "one folder of images for each class" in raised.value.hint


def test_pictures_that_do_not_fit_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise MemoryError

    pictures(tmp_path)
    monkeypatch.setattr("amint_mpc.data.pictures.np.empty", refuse)
    with pytest.raises(DataError, match="do not fit into memory"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["data.dataset=folder"], "needs data.image_size"),
        (["data.dataset=folder", "data.image_size=32", "data.channels=3"], "needs data.classes"),
        (["data.image_size=32"], "data.image_size is for the dataset folder; leave it out"),
        (["data.dataset=mnist", "data.classes=10"], "data.classes is for the dataset folder; leave it out"),
        (["data.dataset=folder", "data.image_size=513", "data.channels=3", "data.classes=2"], "data.image_size: 513"),
        (["data.dataset=folder", "data.image_size=32", "data.channels=2", "data.classes=2"], "none of 1 or 3"),
        (["data.duplicates=some"], "none of keep or drop"),
    ],
)
def test_shape_and_classes_are_stated_for_a_folder_and_nowhere_else(settings: list[str], message: str) -> None:
    with pytest.raises(UsageError) as raised:
        load_experiment("smoke", settings)
    assert message in raised.value.message


def test_every_party_knows_the_shape_from_the_experiment() -> None:
    settings = [f"data.{key}={value}" for key, value in STATED.items()]
    kind = dataset(load_experiment("smoke", settings).data)
    assert (kind.shape, kind.classes) == ((3, 8, 8), 3)
