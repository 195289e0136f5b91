"""Which files of a run folder its evidence covers: they are compared with the log's end. All others are named.

    experiment.yaml            the settings whose digest the log begins with; comments in the file are not covered
    backbone.safetensors       the log's classifier
    head.safetensors           the log's commitment to the head, opened by head.salt
    scores, first head, summary   salted digests of version 2 of the log, opened by evidence/files.salt

What only another command checks counts as not covered: evidence/replay and evidence/coin (`amint-mpc replay`),
evidence/commitment.key (`amint-mpc evidence prove`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from amint_mpc.config import PARTIES, ROLES
from amint_mpc.errors import EvidenceError
from amint_mpc.evidence.canonical import record_digest, tensors_digest
from amint_mpc.evidence.entries import FILES, SALT_BYTES, file_digest, head_commitment
from amint_mpc.evidence.files import (
    CERTIFICATES,
    EVIDENCE,
    EXPERIMENT,
    FILES_SALT,
    LOG,
    SALT,
    SECRET,
    STATEMENT,
    check_regular,
    read_bounded,
    read_secret,
)

BACKBONE, HEAD, SUMMARY = "backbone.safetensors", "head.safetensors", "summary.json"
MAX_SUMMARY = 1 << 20
_ITS_OWN = {LOG, STATEMENT, SALT, FILES_SALT, *(CERTIFICATES / f"{role}.pem" for role in ROLES)}


def check_files(run: Path, end: Mapping[str, Any]) -> Iterator[str]:
    """Compare what lies in a folder with a log's end. Gives the names of the files that it covers.

    Args:
        end: that entry, checked.

    Raises:
        EvidenceError: a file is not the one of the log's end; names it.
    """
    for name in (BACKBONE, HEAD, *FILES["auditor"]):
        check_regular(run / name)
    yield str(EXPERIMENT)
    if (run / BACKBONE).is_file():
        if tensors_digest(_tensors(run / BACKBONE)) != end["backbone"]:
            raise EvidenceError(f"{BACKBONE} is not the classifier of the log's end")
        yield BACKBONE
    if (run / HEAD).is_file():
        if head_commitment(_salt(run / SALT), _tensors(run / HEAD)) != end["head"]:
            raise EvidenceError(f"{HEAD} with {SALT} is not the head that was committed to at the log's end")
        yield HEAD
    if (files := end.get("files")) is not None:
        yield from _salted(run, files)


def missing(run: Path, covered: tuple[str, ...], end: Mapping[str, Any]) -> tuple[str, ...]:
    """What the log's end covers of a party's folder, and is not there; of an export, which has no secrets, nothing.

    Args:
        covered: of `check_files`.
    """
    salted = FILES if "files" in end else dict.fromkeys(PARTIES, ())
    wanted: tuple[str, ...] = ()
    if (run / SALT).is_file():
        wanted = (HEAD, *salted["auditor"])
    elif (run / SECRET).is_file():
        wanted = (BACKBONE, *salted["developer"])
    return tuple(name for name in wanted if name not in covered)


def not_covered(run: Path, covered: tuple[str, ...]) -> tuple[str, ...]:
    """What else lies in a run folder, sorted; folders end with a slash."""
    skipped = {Path(name) for name in covered} | _ITS_OWN
    return tuple(sorted(_others(run, Path(), skipped)))


def _others(run: Path, below: Path, skipped: set[Path]) -> Iterator[str]:
    with os.scandir(run / below) as found:
        for entry in found:
            path, is_folder = below / entry.name, entry.is_dir(follow_symlinks=False)
            if is_folder and path in (EVIDENCE, CERTIFICATES):
                yield from _others(run, path, skipped)
            elif path not in skipped:
                yield f"{path}/" if is_folder else str(path)


def _salted(run: Path, files: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    for name in FILES["auditor"]:
        if not (run / name).is_file():
            continue
        role, digest = ("auditor", tensors_digest(_tensors(run / name))) if name != SUMMARY else _summary(run / name)
        if file_digest(_salt(run / FILES_SALT), name, digest) != files[role].get(name):
            raise EvidenceError(f"{name} with {FILES_SALT} is not the one of the log's end")
        yield name


def _summary(path: Path) -> tuple[str, str]:
    """Whose summary it is, and the digest of what it holds."""
    try:
        record = json.loads(read_bounded(path, MAX_SUMMARY))
        role = record["role"]
        if role in PARTIES:
            return role, record_digest(record)
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    raise EvidenceError(f"{path.name} is not the summary of developer or auditor", "Was the folder copied whole?")


def _salt(path: Path) -> bytes:
    return read_secret(path, SALT_BYTES, f"{path.name} is not a salt of a commitment")


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise EvidenceError(f"{path.name} holds no tensors ({type(error).__name__})") from None
