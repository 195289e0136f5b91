"""CIFAR's binary version is read; its pickles are not."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from amint_mpc.data import DATASETS
from amint_mpc.data.cifar import CIFAR_10, CIFAR_100
from amint_mpc.errors import DataError
from tests.data.written_sets import cifar


@pytest.mark.parametrize("place", [".", "usual"])
@pytest.mark.parametrize(
    ("name", "files", "label_bytes", "usual"),
    [("cifar-10", CIFAR_10, 1, "cifar-10-batches-bin"), ("cifar-100", CIFAR_100, 2, "cifar-100-binary")],
)
def test_binary_files_are_read(
    tmp_path: Path, name: str, files: tuple[str, ...], label_bytes: int, usual: str, place: str
) -> None:
    root = tmp_path / "images"
    pixels, labels = cifar(root / (usual if place == "usual" else place), files, label_bytes)
    found = DATASETS[name].read(root)
    assert found.images.dtype == torch.uint8
    assert np.array_equal(found.images.numpy(), pixels)
    assert found.labels.tolist() == labels.tolist()  # of CIFAR-100 the fine ones: the coarse one here is 99


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> object:
        return Path.touch, (self.path,)


@pytest.mark.parametrize(("name", "folder"), [("cifar-10", "cifar-10-batches-py"), ("cifar-100", "cifar-100-python")])
def test_pickles_are_refused_and_not_loaded(tmp_path: Path, name: str, folder: str) -> None:
    (tmp_path / folder).mkdir()
    for batch in ("data_batch_1", "train"):
        (tmp_path / folder / batch).write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    for root in (tmp_path, tmp_path / folder):
        with pytest.raises(DataError, match="Python pickles") as raised:
            DATASETS[name].read(root)
        assert f"{name}-binary.tar.gz" in raised.value.hint
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda path: path.unlink(), "No such file"),
        (lambda path: path.write_bytes(b""), "it has 0 and 0 bytes more"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "it has 2 and 3072 bytes more"),
        (lambda path: path.write_bytes(b"\x0a" + path.read_bytes()[1:]), "a label is outside 0 to 9"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, change, complaint: str) -> None:
    cifar(tmp_path / "cifar-10-batches-bin", CIFAR_10, 1)
    change(tmp_path / "cifar-10-batches-bin/data_batch_3.bin")
    with pytest.raises(DataError, match=complaint):
        DATASETS["cifar-10"].read(tmp_path)


def test_a_file_that_is_far_too_long_is_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cifar(tmp_path / "cifar-100-binary", CIFAR_100, 2)
    with (tmp_path / "cifar-100-binary/test.bin").open("r+b") as file:
        file.truncate(1 << 40)  # sparse: a terabyte of zeros
    monkeypatch.setattr("amint_mpc.data.cifar._MOST_RECORDS", 5)
    with pytest.raises(DataError, match="it has 5 and 1 bytes more"):
        DATASETS["cifar-100"].read(tmp_path)
