"""The German Traffic Sign Recognition Benchmark, in the layout of its official archives as torchvision unpacks them.

Source: Stallkamp et al., "Man vs. computer", Neural Networks 32 (2012); https://benchmark.ini.rub.de. Images are PPM
of 15 to 250 pixels a side; training images lie in a folder for each class, test images in one folder beside a table.
"""

from __future__ import annotations

from pathlib import Path

from amint_mpc.data.files import Listing, image_files, named_file, text_lines
from amint_mpc.errors import DataError


def list_gtsrb(folder: Path, classes: int) -> Listing:
    """Training images by class and name, then test images in the order of their table.

    Args:
        folder: holds GTSRB/ and GT-final_test.csv.

    Raises:
        DataError: a class folder, an image or the table is missing or damaged.
    """
    listing = Listing()
    for label in range(classes):
        listing.add(image_files(folder / "GTSRB" / "Training" / f"{label:05}", ".ppm"), label)
    table, images = folder / "GT-final_test.csv", folder / "GTSRB" / "Final_Test" / "Images"
    head, *lines = [line.split(";") for line in text_lines(table)] or [[]]
    for line in lines:
        row = dict(zip(head, line, strict=False))
        name, number = row.get("Filename", ""), row.get("ClassId", "").strip()
        if not (name and number.isascii() and number.isdigit() and len(number) < 6):
            raise DataError(
                f"{table} has a line without Filename and ClassId: {';'.join(line)[:60]!r}",
                "Replace it with an intact copy.",
            )
        listing.add([named_file(images, name, table)], int(number))
    return listing


def download_gtsrb(folder: Path) -> None:
    """By torchvision, which checks the archives' sums, into folder/gtsrb."""
    from torchvision import datasets

    datasets.GTSRB(folder, split="train", download=True)
    datasets.GTSRB(folder, split="test", download=True)
