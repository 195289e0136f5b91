"""Writes assets/ anew: PYTHONPATH=.:tests/roles python tests/evidence/make_assets.py

`good` is what `amint-mpc verify --export` gives. Each of bad/ is the same with one thing wrong; where a key is misused,
those of both were used, and none is kept. Needed again only when the log's format gets another version.
"""

import shutil
import tempfile
from pathlib import Path

from amint_mpc import identity
from amint_mpc.evidence.export import export
from amint_mpc.evidence.files import STATEMENT
from tests.evidence.bundles import Bundle, flipped, logged_run

ASSETS = Path(__file__).parent / "assets"


def make(folder: Path) -> None:
    """Args: folder: for the run that all of them are made from."""
    logged_run(folder)
    shutil.rmtree(ASSETS, ignore_errors=True)
    export(folder / "auditor", ASSETS / "good")
    good = Bundle(ASSETS / "good", folder / "keys")

    def bad(name: str) -> Bundle:
        return good.copy(ASSETS / "bad" / name)

    bad("changed-byte").edit(8, lambda entry: entry.update(batch=flipped(entry["batch"])))
    bad("newer-version").edit(0, lambda entry: entry.update(version=3))
    for name, change in {
        "missing-step": lambda x: x[:8] + x[9:],
        "repeated-step": lambda x: x[:9] + x[8:],
        "swapped-order": lambda x: [*x[:8], x[9], x[8], *x[10:]],
    }.items():
        bundle = bad(name)
        bundle.lines = change(bundle.lines)
        bundle.resign("developer", "auditor")
    bundle = bad("truncated")
    bundle.lines = bundle.lines[:8]
    strangers = folder / "strangers"
    identity.create_for_one_machine({role: strangers / role for role in ("developer", "auditor")})
    bad("wrong-key").resign("auditor", keys=strangers)
    bundle = bad("one-party-alone")
    bundle.edit(6, lambda entry: entry.update(backbone=flipped(entry["backbone"])))
    bundle.resign("developer")
    other = good.copy(ASSETS / "other-log")
    other.edit(8, lambda entry: entry["frames"].update(auditor=flipped(entry["frames"]["auditor"])))
    other.resign("developer", "auditor")
    (bad("statement-of-another-run").path / STATEMENT).write_bytes((other.path / STATEMENT).read_bytes())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder))
