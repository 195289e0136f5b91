"""Where the parts of a finished run lie, for functions that take a run as an object or as a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from amint_mpc.evidence.files import LOG

PARTIES = ("developer", "auditor")


class HasFolder(Protocol):
    """A finished run, as `amint_mpc.train` and `amint_mpc.run_in_process` return it."""

    @property
    def folder(self) -> Path: ...


RunLike = HasFolder | Path | str
"""A finished run, or its folder: of one party, of a twin, or one that holds the folders of both parties."""


def folder_of(run: RunLike) -> Path:
    """The folder that stands for a run."""
    return Path(run) if isinstance(run, str | Path) else run.folder


def party_folders(run: RunLike) -> dict[str, Path]:
    """The folders of both parties where one folder holds them, as that of a demo does; else nothing."""
    home = folder_of(run)
    if (home / LOG).exists() or (home / "summary.json").exists():
        return {}  # it is a run itself, whatever else lies in it
    for place in (home, home / "runs"):
        found = {role: place / role for role in PARTIES}
        if all(path.is_dir() for path in found.values()):
            return found
    return {}
