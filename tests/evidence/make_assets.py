"""Writes assets/version-3 anew: PYTHONPATH=. python tests/evidence/make_assets.py

Each is what `amint-mpc verify --export` gives. What lies beside it in assets/ is of earlier versions of the log and
stays as it is: it was written by the programs of that time, `bad` with one thing wrong each. Needed again only when the
log's format gets another version, in a folder of its own.
"""

import shutil
import tempfile
from pathlib import Path

import pytest

from amint_mpc.afterwards import query
from amint_mpc.errors import AmintError
from amint_mpc.evidence.export import export
from amint_mpc.evidence.log import VERSION
from tests.afterwards.pair import Pair, mixed
from tests.evidence.bundles import Bundle, logged_run
from tests.runlog.both_logs import SEALED, BothLogs

ASSETS = Path(__file__).parent / "assets" / f"version-{VERSION}"


def hangs_up(*_: object) -> None:
    raise AmintError("cut")


def make(folder: Path) -> None:
    """Args: folder: for the runs that they are made from; their keys are thrown away with it."""
    shutil.rmtree(ASSETS, ignore_errors=True)
    export(BothLogs(folder / "both", SEALED).folders["auditor"].path, ASSETS / "dealt-and-sealed")
    two = BothLogs(folder / "two", [*SEALED, "security.correlations=two-party"], dealer=False)
    export(two.folders["auditor"].path, ASSETS / "made-by-two")
    run = logged_run(folder / "run")
    pair = Pair({role: Bundle(path, folder / "run" / "keys") for role, path in run.folders.items()}, folder / "pair")
    pair.ask(mixed(pair.images), canaries=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(query, "open_members", hangs_up)
        with pytest.raises(AmintError):
            pair.ask(mixed(pair.images), canaries=2)
    export(pair.folders["developer"].path, ASSETS / "queried")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder))
