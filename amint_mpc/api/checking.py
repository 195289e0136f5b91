"""Whether the evidence of a finished run holds, as a function call."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from amint_mpc import tables
from amint_mpc.api.folders import RunLike, folder_of, party_folders
from amint_mpc.evidence import verify as evidence
from amint_mpc.evidence.verify import Verified
from amint_mpc.pages.files import read_record, regular
from amint_mpc.printable import excerpt
from amint_mpc.results import Summary
from amint_mpc.runlog.expected import ExpectedEntries

SHOWN = 20
TO_COMPARE = "Two keys signed. Whose they are is for you to compare, or give `trust`."
KEYS_OF_NOBODY = (
    "This run was made in one process: one program held both keys, and deleted them. The log shows which steps were "
    "taken and that no file was changed since, not who took them."
)


@dataclass(frozen=True)
class Checked:
    """Evidence that holds; see `verify`.

    Args:
        folders: that were checked. found: what they say.
    """

    folders: tuple[Path, ...]
    found: Verified
    note: str

    def _repr_html_(self) -> str:
        found, log = self.found, self.found.log
        rows: list[tuple[str, object]] = [
            ("experiment", f"{found.experiment.name}, {log.begin['experiment']}"),
            ("log", f"{log.head.size} entries, root {log.head.root}"),
            ("steps", f"{log.steps}, none missing, repeated or moved"),
            ("signed", f"{log.signed} heads and the statement, by developer and auditor"),
            ("covered", ", ".join(found.covered)),
            ("not covered", ", ".join(excerpt(name, 80) for name in found.uncovered[:SHOWN]) or "nothing"),
            *((f"key of the {role}", mark) for role, mark in found.fingerprints.items()),
        ]
        return tables.table(("the evidence holds", ""), rows, (self.note,))


def verify(run: RunLike, *, trust: Path | str | None = None) -> Checked:
    """Check the log of a finished run and the statement that both parties signed: offline, without a key or a peer.

    Args:
        run: what `run_in_process` returned, or a run folder of developer or auditor, or an exported one. Where both
            parties' folders are there both are checked, and must have the same log.
        trust: a folder of keys: the certificates in the evidence must be those that are trusted there.

    Raises:
        EvidenceError: it does not hold; names the first thing that is wrong.
        UsageError: there is no log, as in a training in the clear.
    """
    folders = tuple(party_folders(run).values()) or (folder_of(run),)
    pinned = [None if trust is None else evidence.pinned_in(Path(trust), folder) for folder in folders]
    found = [evidence.verify(folder, ExpectedEntries, own) for folder, own in zip(folders, pinned, strict=True)]
    for other in folders[1:]:
        evidence.compare_logs(folders[0], other)
    last = found[-1]
    covered, uncovered = (
        tuple(dict.fromkeys(name for names in lists for name in names))
        for lists in ([each.covered for each in found], [each.uncovered for each in found])
    )
    whole = Verified(last.experiment, last.log, last.fingerprints, last.pinned, covered, uncovered)
    return Checked(folders, whole, _note(folders[-1], whole))


def _note(folder: Path, found: Verified) -> str:
    summary = folder / "summary.json"
    if regular(summary) and read_record(summary, Summary).in_process is not None:
        return KEYS_OF_NOBODY
    return "" if len(found.pinned) == len(found.fingerprints) else TO_COMPARE
