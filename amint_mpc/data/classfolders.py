"""Pictures of one's own: a folder that holds one folder of images for each class."""

from __future__ import annotations

from pathlib import Path

from amint_mpc.data.files import Listing, entries, image_files
from amint_mpc.errors import DataError


def list_class_folders(folder: Path, classes: int) -> Listing:
    """The images of each class folder, both sorted by name: the first class folder is class 0.

    Files beside the class folders and hidden ones play no part: they are `passed_over`.

    Raises:
        DataError: other than `classes` class folders, an empty one, or something in one that is not a file.
    """
    there = entries(folder)
    found = [path for path in there if path.is_dir()]
    if len(found) != classes:
        names = ", ".join([path.name for path in found[:5]] + ["..."] * (len(found) > 5))
        raise DataError(
            f"{folder} holds {len(found)} class folders ({names or 'none'}), data.classes is {classes}",
            "Name the folder that holds one folder for each class.",
        )
    listing = Listing(passed_over=[path for path in there if not path.is_dir()] + entries(folder, hidden=True))
    for label, path in enumerate(found):
        listing.add(image_files(path), label)
        listing.passed_over += entries(path, hidden=True)
    return listing
