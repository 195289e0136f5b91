"""Folders and text files of a dataset: listed in a fixed order, bounded, and named in every complaint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from amint_mpc.errors import DataError

_MOST_TEXT = 1 << 23  # bytes; the longest list of file names here has half a megabyte


@dataclass
class Listing:
    """Image files and the class number of each, in a fixed order: the order is part of a split's digest.

    Attributes:
        passed_over: what lies there and is not an image of the set.
    """

    paths: list[Path] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    passed_over: list[Path] = field(default_factory=list)

    def add(self, paths: list[Path], label: int) -> None:
        self.paths += paths
        self.labels += [label] * len(paths)


def entries(folder: Path, *, hidden: bool = False) -> list[Path]:
    """What lies in a folder, sorted by name.

    Args:
        hidden: instead, what has a name with a dot in front (.DS_Store).

    Raises:
        DataError: no folder, or not ours to read.
    """
    try:
        return sorted(path for path in folder.iterdir() if path.name.startswith(".") == hidden)
    except OSError as error:
        raise DataError(f"{folder} cannot be listed: {error.strerror}", "Check that it is the right folder.") from None


def left_out(paths: Iterable[Path]) -> str:
    """What was passed over, for a sentence: `2 folders, 1 hidden file`; empty where there is nothing."""
    found = Counter(_kind(path) for path in paths)
    return ", ".join(f"{count:,} {kind}{'s' if count > 1 else ''}" for kind, count in sorted(found.items()))


def _kind(path: Path) -> str:
    if path.name.startswith("."):
        return "hidden file"
    if path.is_dir():
        return "folder"
    return "file" if path.is_file() else "broken link or device"


def image_files(folder: Path, suffix: str = "") -> list[Path]:
    """The files of a class folder, sorted by name: all of them, or those that end in `suffix`, in any case.

    Raises:
        DataError: none is there, or something that is not a file.
    """
    found = [path for path in entries(folder) if path.name.lower().endswith(suffix)]
    if not found:
        raise DataError(f"{folder} holds no images{suffix and f' ({suffix})'}", "Every class needs some.")
    for path in found:
        if not path.is_file():
            raise DataError(f"{path} is not an image: {instead(path)}", "Only image files may stand in a class folder.")
    return found


def text_lines(path: Path) -> list[str]:
    """The lines of a small UTF-8 file, without those that are empty.

    Raises:
        DataError: missing, not text, or too long for what it should be.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_MOST_TEXT + 1)
        if len(raw) > _MOST_TEXT:
            raise DataError(f"{path} is longer than {_MOST_TEXT} bytes", "Replace it with an intact copy.")
        return [line for line in raw.decode("utf-8-sig").splitlines() if line.strip()]
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", "Unpack the whole archive.") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not text: {instead(path)}", "Replace it with an intact copy.") from None


def named_file(folder: Path, name: str, source: Path) -> Path:
    """The file in `folder` that a list names.

    Raises:
        DataError: the name leads out of the folder, or there is no such file.
    """
    path = folder / name
    if path.name != name or "\0" in name:
        raise DataError(
            f"{source} names {name[:60]!r}, which is not a plain file name", "Replace it with an intact copy."
        )
    if not path.is_file():
        raise DataError(f"{path} is named in {source.name}, and there is {instead(path)}", "Unpack the whole archive.")
    return path


def instead(path: Path) -> str:
    """What is there, for a message that says what should be."""
    try:
        if path.is_dir():
            return "a folder"
        if not path.exists():
            return "nothing"
        if not path.is_file():
            return "neither a file nor a folder"
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        return str(error.strerror)
    return f"a file that starts with {start!r}" if start else "an empty file"
