"""A software record written out in full, for another party to lay beside its own: every file, every package.

`amint-mpc attest --json` prints one; `amint-mpc attest --check FILE` says what differs from it here. What comes from
another party is data: bounded, typed, and its digests must belong to its own lists.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, model_validator

from amint_mpc.errors import UsageError
from amint_mpc.evidence import software_digests
from amint_mpc.evidence.software_digests import Digest, Software, Text

MAX_BYTES = 4 << 20  # ours has 30 kB
_Path = Annotated[str, Field(max_length=200, pattern=r"^[A-Za-z0-9_./+-]+$")]
_NAMED = 5


class Attestation(Software):
    """Args: files: SHA-256 of each file of the code, by path; packages: versions of what it needs, by name."""

    files: dict[_Path, Digest] = Field(max_length=5000)
    packages: dict[Text, Text] = Field(max_length=1000)

    @model_validator(mode="after")
    def _holds_together(self) -> Attestation:
        if (
            software_digests.code_digest(self.files) != self.code
            or software_digests.versions_digest(self.packages) != self.dependencies
        ):
            raise ValueError("a digest does not belong to its list")
        return self


@dataclass(frozen=True)
class Difference:
    """Args: what: which line of the record; here, there: both values; named: files or packages, the first few."""

    what: str
    here: str
    there: str
    named: str = ""


def full() -> Attestation:
    """This party's own.

    Raises:
        UsageError: what stands for the image's digest is none.
    """
    packages = {name: version for name, (version, _) in software_digests.needed().items()}
    record = software_digests.software().model_dump()
    return Attestation.model_validate({**record, "files": software_digests.code_files(), "packages": packages})


def read(path: Path) -> Attestation:
    """Another one's, from a file.

    Raises:
        UsageError: it cannot be read, or is none.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}", "Check the path") from None
    hint = "Make one on the other machine: amint-mpc attest --json > software.json"
    if len(raw) > MAX_BYTES:
        raise UsageError(f"{path} is longer than {MAX_BYTES} bytes", hint)
    try:
        return Attestation.model_validate_json(raw)
    except ValidationError:
        raise UsageError(f"{path} is not a software record", hint) from None


def differences(here: Attestation, there: Attestation) -> list[Difference]:
    """What differs, line by line of the record; nothing where all is the same. `here` is this machine's own."""
    endings = " (line endings alone)" if _same_but_for_line_endings(here.files, there.files) else ""
    named = {"code": _named(here.files, there.files) + endings, "dependencies": _named(here.packages, there.packages)}
    found = []
    for what in Software.model_fields:
        a, b = getattr(here, what), getattr(there, what)
        if a != b:
            found.append(Difference(what, a or "none", b or "none", named.get(what, "")))
    return found


def _same_but_for_line_endings(here: Mapping[str, str], there: Mapping[str, str]) -> bool:
    """Whether the other machine's files of the code become ours when their line endings are changed."""
    if here.keys() != there.keys():
        return False
    paths = software_digests.code_paths()
    return all(digest == there[name] or there[name] in _rewritten(paths[name]) for name, digest in here.items())


def _rewritten(path: Path) -> tuple[str, str]:
    """SHA-256 of a file with the line endings of Unix, and with those of Windows."""
    unix = path.read_bytes().replace(b"\r\n", b"\n")
    return hashlib.sha256(unix).hexdigest(), hashlib.sha256(unix.replace(b"\n", b"\r\n")).hexdigest()


def _named(here: Mapping[str, str], there: Mapping[str, str]) -> str:
    names = [name for name in sorted({*here, *there}) if here.get(name) != there.get(name)]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
