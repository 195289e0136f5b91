"""What others need to verify a run, in a folder of its own: no weights, no scores, no secret.

experiment.yaml, evidence/log.jsonl, evidence/statement.json, evidence/certificates/{developer,auditor}.pem, and
dealer.pem where a dealer signs
"""

from __future__ import annotations

import shutil
from pathlib import Path

from amint_mpc.config import PARTIES
from amint_mpc.errors import UsageError
from amint_mpc.evidence.files import CERTIFICATES, EXPERIMENT, LOG, STATEMENT

FILES = (EXPERIMENT, LOG, STATEMENT, *(CERTIFICATES / f"{role}.pem" for role in PARTIES))


def export(run: Path, folder: Path) -> None:
    """Copy them from a run folder, and nothing else that lies there.

    Raises:
        UsageError: the folder exists, or cannot be written.
    """
    try:
        folder.mkdir(parents=True)
        dealers = CERTIFICATES / "dealer.pem"
        for file in (*FILES, *((dealers,) if (run / dealers).is_file() else ())):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(run / file, folder / file)
    except FileExistsError:
        raise UsageError(f"{folder} exists already", "Give --export a new folder") from None
    except OSError as error:
        raise UsageError(f"cannot write {folder}: {error.strerror}") from None
