"""The folder of a study: run folders under runs/, and what can be told from them alone.

A cell is done when its folder holds a summary whose digest is that of the cell's experiment; what is half-written, has
failed or was made from other settings is moved to aside/, never deleted, and the cell runs again.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from amint_mpc.errors import AmintError, UsageError
from amint_mpc.eventlines import json_line
from amint_mpc.results import Digest, Record, Summary
from amint_mpc.study.plan import Cell, StudyPlan

SUMMARY = "summary.json"  # also a run folder's own
FAILURE = "failed.json"


class Failure(Record):
    """Why a cell failed. Args: code: what its process would have ended with."""

    digest: Digest
    message: str
    hint: str
    code: int


_Found = TypeVar("_Found", Summary, Failure)


class StudyFolder:
    """Args: path: made when it is used. Reading needs no lock; whoever runs cells holds it (`locked`)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.runs = path / "runs"

    def run(self, cell: Cell) -> Path:
        return self.runs / cell.name

    def summary(self, cell: Cell) -> Summary | None:
        """What a finished cell reported; None when it is not done with these settings."""
        return self._record(cell, SUMMARY, Summary)

    def failure(self, cell: Cell) -> Failure | None:
        """Of a cell that has failed with these settings."""
        return self._record(cell, FAILURE, Failure)

    def _record(self, cell: Cell, name: str, form: type[_Found]) -> _Found | None:
        try:
            found = form.model_validate_json((self.run(cell) / name).read_bytes())
        except (OSError, ValueError):
            return None
        return found if found.digest == cell.experiment.digest() else None

    def fail(self, cell: Cell, error: AmintError) -> None:
        """Note in a cell's folder why it failed."""
        self.run(cell).mkdir(parents=True, exist_ok=True, mode=0o700)
        failure = Failure(digest=cell.experiment.digest(), message=error.message, hint=error.hint, code=error.exit_code)
        write(self.run(cell) / FAILURE, json_line(failure.as_json()) + "\n")

    def clear(self, cell: Cell) -> Path | None:
        """Move whatever lies at a cell's place aside. Returns where to."""
        path = self.run(cell)
        if not path.exists():
            return None
        aside = self.path / "aside"
        aside.mkdir(exist_ok=True)
        number = 1
        while (to := aside / f"{cell.name}-{number}").exists():
            number += 1
        return path.rename(to)

    @contextmanager
    def locked(self, plan: StudyPlan) -> Iterator[None]:
        """Keep others from running cells here.

        Raises:
            UsageError: another process does, the folder is something else, or it cannot be written.
        """
        if self.path.exists() and any(self.path.iterdir()) and not (self.path / "study.json").is_file():
            raise UsageError(f"{self.path} holds something else than a study", "Give a new folder with --out")
        if (other := self.name()) not in (None, plan.study.name):
            raise UsageError(f"{self.path} holds the study {other}", "Give another folder with --out")
        try:
            self.runs.mkdir(parents=True, exist_ok=True)
            lock = (self.path / ".lock").open("w")
        except OSError as error:
            raise UsageError(f"cannot write {self.path}: {error.strerror}", "Give another folder with --out") from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # gone with the process, however it ends
            except OSError:
                raise UsageError(f"another process runs the study in {self.path}", "Wait for it, or end it") from None
            yield

    def name(self) -> str | None:
        """The study that lies here."""
        try:
            name = json.loads((self.path / "study.json").read_text(encoding="utf-8"))["name"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return str(name)[:64]


def write(path: Path, content: str | bytes) -> None:
    """Write whole or not at all, over what is there: a reader never meets half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(content.encode() if isinstance(content, str) else content)
    part.replace(path)
