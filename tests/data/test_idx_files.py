"""IDX files, plain and compressed, good and damaged; the folders in which they are found."""

from __future__ import annotations

import gzip
import random
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from amint_mpc.data import DATASETS
from amint_mpc.data.idx import read_idx
from amint_mpc.errors import DataError


def idx(values: np.ndarray) -> bytes:
    header = bytes((0, 0, 8, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape)
    return header + values.astype(np.uint8).tobytes()


def write_set(folder: Path, *, compressed: bool, train: int = 3, test: int = 2, size: int = 28) -> np.ndarray:
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (train + test, size, size))
    labels = np.arange(train + test) % 10
    parts = {
        "train-images-idx3-ubyte": pixels[:train],
        "train-labels-idx1-ubyte": labels[:train],
        "t10k-images-idx3-ubyte": pixels[train:],
        "t10k-labels-idx1-ubyte": labels[train:],
    }
    for name, values in parts.items():
        if compressed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx(values)))
        else:
            (folder / name).write_bytes(idx(values))
    return pixels


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("place", [".", "raw", "FashionMNIST/raw"])
def test_files_that_are_there_are_read_as_they_are(tmp_path: Path, compressed: bool, place: str) -> None:
    pixels = write_set(tmp_path / place, compressed=compressed)
    before = sorted(tmp_path.rglob("*"))
    found = DATASETS["fashion-mnist"].read(tmp_path)
    assert found.images.dtype == torch.uint8
    assert found.images.shape == (5, 1, 28, 28)
    assert np.array_equal(found.images[:, 0].numpy(), pixels)
    assert found.labels.tolist() == [0, 1, 2, 3, 4]
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "not an IDX file"),
        (b"\x89PNG" + bytes(20), "not an IDX file"),
        (idx(np.zeros((2, 2, 2)))[:-1], "fewer values than the 8"),
        (idx(np.zeros((2, 2, 2))) + b"x", "more values than the 8"),
        (bytes((0, 0, 8, 3)) + b"\xff" * 12, "more than is read here"),
        (bytes.fromhex("00000803 ffffffff 80007b00 00000000"), "more than is read here"),
        (bytes.fromhex("00000803 00000000 ffffffff ffffffff"), "more than is read here"),
        (idx(np.zeros(4)), "not an IDX file"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, content: bytes, complaint: str) -> None:
    for path in (tmp_path / "set", tmp_path / "set.gz"):
        path.write_bytes(gzip.compress(content) if path.suffix else content)
        with pytest.raises(DataError, match=complaint):
            read_idx(path, 3)


@pytest.mark.parametrize("seed", range(3))
def test_any_header_gives_its_shape_or_one_clear_error(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    sizes = [0, 1, 2, 3, 28, 255, 256, 2**16, 2**31 - 1, 2**31, 0x80007B00, 2**32 - 1]
    path = tmp_path / "set"
    for _ in range(300):
        start = draw.choice([b"\x00\x00\x08\x03", b"\x00\x00\x08\x01", draw.randbytes(4)])
        body = struct.pack(">3I", *draw.choices(sizes, k=3)) + bytes(draw.choice([0, 1, 8, 12, 27]))
        raw = (start + body)[: draw.choice([3, 4, 8, 16, 100])]
        path.write_bytes(raw)
        for dimensions in (1, 3):
            try:
                found = read_idx(path, dimensions)
            except DataError:
                continue
            assert found.dtype == torch.uint8
            assert found.shape == struct.unpack(f">{dimensions}I", raw[4 : 4 + 4 * dimensions])
            assert found.numel() == len(raw) - 4 - 4 * dimensions


def test_damaged_compression_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress(idx(np.arange(27).reshape(3, 3, 3)))
    for number, content in enumerate((whole[:-12], b"plain", whole[:14] + b"\xff\xff\xff" + whole[17:])):
        path = tmp_path / f"{number}.gz"
        path.write_bytes(content)
        with pytest.raises(DataError, match="cannot be read"):
            read_idx(path, 3)


def test_missing_parts_and_missing_folder_are_named(tmp_path: Path) -> None:
    write_set(tmp_path, compressed=True)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match="t10k-labels-idx1-ubyte"):
        DATASETS["mnist"].read(tmp_path)
    with pytest.raises(DataError, match="needs a data folder"):
        DATASETS["mnist"].read(None)


def test_files_of_another_set_are_refused(tmp_path: Path) -> None:
    write_set(tmp_path, compressed=False, size=8)
    with pytest.raises(DataError, match=r"\(1, 8, 8\)"):
        DATASETS["mnist"].read(tmp_path)


def test_failed_download_ends_in_a_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets

    monkeypatch.setattr(datasets.MNIST, "mirrors", [])  # nowhere to download from
    with pytest.raises(DataError, match="cannot be downloaded") as raised:
        DATASETS["mnist"].read(tmp_path)
    assert "four IDX files" in raised.value.hint
