"""The page as a function call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from amint_mpc.api.folders import RunLike, folder_of, party_folders
from amint_mpc.evidence.files import STATEMENT


def report(
    run: RunLike,
    out: Path | str | None = None,
    *,
    force: bool = False,
    comparison: Path | str | None = None,
    beside: Sequence[RunLike] = (),
) -> Path:
    """Write one self-contained HTML page about a finished run or a study.

    Args:
        run: a run, or the folder of a run or study.
        out: the file; None: report.html in the folder.
        force: replace a file that is there.
        comparison: a comparison.json of the same experiment; None: the one in or beside the folder.
        beside: trainings in the clear to compare with, such as the twin; those beside the folder are found without.

    Returns:
        Where the page is.

    Raises:
        UsageError: no such run, an unfinished one, or a file is in the way.
        DataError: a file is damaged.
        EvidenceError: a run has a log, and it does not hold, or a file is not the one of the log's end; names it.
    """
    from amint_mpc.pages import page  # loads matplotlib

    folder = folder_of(run)
    file = Path(out) if out is not None else folder / "report.html"
    if folder.is_dir():  # else the folder is what is wrong
        page.check_place(file, force)
    found = page.make(folder, None if comparison is None else Path(comparison), [folder_of(each) for each in beside])
    for home in (*party_folders(run).values(), folder):
        if (home / STATEMENT).is_file():
            _verify(home)  # the page tells what these files say
    page.write(found, file, force)
    return file


def _verify(run: Path) -> None:
    from amint_mpc.evidence.verify import verify  # loads torch
    from amint_mpc.runlog.expected import ExpectedEntries

    verify(run, ExpectedEntries)
