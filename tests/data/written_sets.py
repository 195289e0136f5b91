"""Tiny datasets in the layouts of the real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SIGNS, WORDS = 43, 200
HEADER = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def cifar(folder: Path, files: tuple[str, ...], label_bytes: int, count: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Returns pixels [N, 3, 32, 32] and fine labels [N]."""
    folder.mkdir(parents=True)
    pixels = noise(0, len(files) * count, 3, 32, 32)
    labels = np.arange(len(pixels)) % 10
    for at, name in enumerate(files):
        rows = range(at * count, (at + 1) * count)
        coarse = b"\x63" if label_bytes == 2 else b""
        (folder / name).write_bytes(b"".join(coarse + bytes([labels[row]]) + pixels[row].tobytes() for row in rows))
    return pixels, labels


def gtsrb(folder: Path) -> None:
    """A training image of each class, of another size each, its pixels equal to its class; three test images."""
    for label in range(SIGNS):
        place = folder / f"GTSRB/Training/{label:05}"
        place.mkdir(parents=True)
        size = (15 + label, 50 - label)
        Image.new("RGB", size, (label, 2 * label, 3 * label)).save(place / "00000_00000.ppm")
        (place / f"GT-{label:05}.csv").write_text(f"{HEADER}\n00000_00000.ppm;{size[0]};{size[1]};5;5;9;9;{label}\n")
    place = folder / "GTSRB/Final_Test/Images"
    place.mkdir(parents=True)
    lines = [HEADER]
    for number, label in enumerate((42, 7, 0)):
        Image.new("RGB", (32, 32), (200, 0, number)).save(place / f"{number:05}.ppm")
        lines.append(f"{number:05}.ppm;32;32;5;5;27;27;{label}")
    (folder / "GT-final_test.csv").write_text("\r\n".join(lines) + "\r\n")


def tiny_imagenet(folder: Path) -> None:
    """A training image of each class, every second one grey; two validation images; test images without labels."""
    names = [f"n{number:08}" for number in np.random.default_rng(0).permutation(WORDS)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "wnids.txt").write_text("\n".join(names) + "\n")
    for number, name in enumerate(names):
        place = folder / "train" / name
        (place / "images").mkdir(parents=True)
        grey = Image.new("L", (64, 64), number)
        (grey if number % 2 else grey.convert("RGB")).save(place / f"images/{name}_0.JPEG", quality=95)
        (place / f"{name}_boxes.txt").write_text(f"{name}_0.JPEG\t0\t0\t62\t62\n")
    lines = []
    for number, label in enumerate((3, 199)):
        (folder / "val/images").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 64), (255, 0, 0)).save(folder / f"val/images/val_{number}.JPEG")
        lines.append(f"val_{number}.JPEG\t{names[label]}\t0\t32\t44\t62\n")
    (folder / "val/val_annotations.txt").write_text("".join(lines))
    (folder / "test/images").mkdir(parents=True)
    (folder / "test/images/test_0.JPEG").write_bytes(b"")
