"""Tiny ImageNet in the layout of its official archive.

Source: http://cs231n.stanford.edu/tiny-imagenet-200.zip. 200 classes named by WordNet; 64 x 64 JPEG files. Its test
images have no labels and are left out.
"""

from __future__ import annotations

from pathlib import Path

from amint_mpc.data.files import Listing, image_files, named_file, text_lines
from amint_mpc.errors import DataError


def list_tiny_imagenet(folder: Path, classes: int) -> Listing:
    """Training images by class (in the order of wnids.txt) and name, then validation images in the order of their list.

    Raises:
        DataError: a class, an image or a list is missing or damaged.
    """
    names, hint = folder / "wnids.txt", "Replace it with an intact copy."
    numbers = {line.strip(): number for number, line in enumerate(text_lines(names))}
    if len(numbers) != classes or not all(name.isascii() and name.isalnum() for name in numbers):
        raise DataError(f"{names} names {len(numbers)} classes; {classes} plain names are expected", hint)
    listing = Listing()
    for name, number in numbers.items():
        listing.add(image_files(folder / "train" / name / "images", ".jpeg"), number)
    table = folder / "val" / "val_annotations.txt"
    for line in text_lines(table):
        image, name, *_ = [*line.split("\t"), ""]
        if name not in numbers:
            raise DataError(f"{table} has a line of no known class: {line[:60]!r}", hint)
        listing.add([named_file(folder / "val" / "images", image, table)], numbers[name])
    return listing
