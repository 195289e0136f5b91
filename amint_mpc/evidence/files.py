"""Where evidence lies in a run folder, and how it is written and read: whole or not at all, and never without a limit.

evidence/log.jsonl            the same at developer and auditor
evidence/statement.json       the same at both, once the run is finished
evidence/certificates/        of both, whose keys have signed; the dealer's, where it signs what it dealt
evidence/commitment.key       the developer's alone: opens its commitment to the images; never part of a bundle
evidence/coin                 the secret of both parties, no secret once the run is over; never part of a bundle
evidence/replay/              the developer's alone, with `evidence.replay`; never part of a bundle
evidence/files.salt           of each party, its own: opens what the log's end says of its files; never part of a bundle
head.salt                     the auditor's alone, beside its head: opens its commitment; never part of a bundle
"""

from __future__ import annotations

import os
from pathlib import Path

from amint_mpc.errors import EvidenceError, UsageError

EVIDENCE = Path("evidence")
LOG = EVIDENCE / "log.jsonl"
STATEMENT = EVIDENCE / "statement.json"
CERTIFICATES = EVIDENCE / "certificates"
SECRET = EVIDENCE / "commitment.key"
SALT = Path("head.salt")
FILES_SALT = EVIDENCE / "files.salt"
COIN = EVIDENCE / "coin"
EXPERIMENT = Path("experiment.yaml")
MAX_SECRET = 1024


def write_new(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file that must not exist yet; its folder is made where it is missing.

    Raises:
        UsageError: it exists, or cannot be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            raise UsageError(f"{path} exists already", "Evidence is never written over")
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None


def write_secret(path: Path, secret: bytes) -> None:
    """Write a secret that must not exist yet, in hex, for its owner alone. Raises: UsageError: as `write_new`."""
    write_new(path, secret.hex().encode() + b"\n", mode=0o600)


def read_secret(path: Path, size: int, wrong: str) -> bytes:
    """What `write_secret` wrote.

    Args:
        size: bytes of the secret. wrong: says that it is none.

    Raises:
        EvidenceError: as `read_bounded`, or `wrong`.
    """
    text = read_bounded(path, MAX_SECRET).strip()
    if len(text) != 2 * size or any(byte not in b"0123456789abcdef" for byte in text):
        raise EvidenceError(wrong)
    return bytes.fromhex(text.decode())


def check_regular(path: Path) -> None:
    """Opening a pipe would wait for whoever writes to it.

    Raises:
        EvidenceError: something else than a file lies there.
    """
    if path.exists() and not path.is_file():
        raise EvidenceError(f"{path} is not a file")


def read_bounded(path: Path, limit: int) -> bytes:
    """The whole file.

    Raises:
        EvidenceError: it is not there, cannot be read, or is longer than `limit`.
    """
    check_regular(path)
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise EvidenceError(f"cannot read {path}: {error.strerror}") from None
    if len(data) > limit:
        raise EvidenceError(f"{path} is longer than {limit} bytes")
    return data
