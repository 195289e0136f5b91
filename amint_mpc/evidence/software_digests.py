"""What software a party runs, in digests that two parties can compare.

    code          every file of this package, by path: the same from a checkout and from a wheel, wherever it lies
    native        the compiled C kernel, apart, for compilers differ
    dependencies  name==version of everything that the package needs, and of what that needs in turn
    wheels        the files that came with each of them, by the hashes that their installer wrote down (RECORD)
    image         of the container, as whoever started it says
    decoder       what reads image files: another one may give other pixels, and other pixels are another image

Guarantees
    A file changed, added, removed or renamed gives another code digest; bytecode and the compiled kernel do not.
    Nothing secret goes in, and no path of this machine.

Edge cases
    All of it is the party's own word. A party that wants to can report any digest: it then has lied in a record that
    it signs. Software cannot prove to a stranger what runs; that takes hardware that signs what it started.
    The files are read when the record is made. What a process has loaded before may differ, and so may bytecode that
    somebody put beside a file on purpose.
    `wheels` says what was installed, not what lies there now: gigabytes are not read again.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import os
import platform
import re
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

from packaging.requirements import Requirement
from PIL import features
from pydantic import BaseModel, ConfigDict, Field

import amint_mpc
from amint_mpc.config import experiments_folder
from amint_mpc.errors import UsageError
from amint_mpc.evidence.canonical import Value, encode, sha256

PACKAGE = "amint-mpc"
KERNEL = "mpc/ring/_native.so"
IMAGE_VARIABLE = "AMINT_MPC_IMAGE_DIGEST"
IMAGE_FILE = Path("/etc/amint-mpc/image-digest")
_IMAGE = re.compile(r"sha256:[0-9a-f]{64}")

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
ImageDigest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Text = Annotated[str, Field(max_length=64, pattern=r"^[!-~]([ -~]*[!-~])?$")]


class Software(BaseModel):
    """The record of one party. What a peer sends is checked by the same model."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    version: Text
    code: Digest
    native: Digest | None
    dependencies: Digest
    wheels: Digest
    python: Text
    machine: Text
    image: ImageDigest | None
    decoder: Text | None = None  # records of before have none

    def record(self) -> dict[str, Value]:
        """For a log or a statement: canonical JSON can hold it."""
        return dict(self.model_dump())


def attest() -> dict[str, Value]:
    """This party's software record; see `Software`.

    Raises:
        UsageError: what stands for the image's digest is none.
    """
    return software().record()


@functools.cache
def software() -> Software:
    """The same, typed; measured once in a process.

    Raises:
        UsageError: what stands for the image's digest is none.
    """
    wheels = {name: files for name, (_, files) in needed().items()}
    kernel = Path(amint_mpc.__file__).parent / KERNEL
    return Software(
        version=amint_mpc.__version__,
        code=code_digest(code_files()),
        native=_file_digest(kernel) if kernel.is_file() else None,
        dependencies=versions_digest({name: version for name, (version, _) in needed().items()}),
        wheels=sha256(b"amint-mpc wheels 1\0", encode(wheels)),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        machine=f"{platform.system()} {platform.machine()}"[:64],
        image=image_digest(),
        decoder=decoder(),
    )


def code_files(package: Path | None = None, experiments: Path | None = None) -> dict[str, str]:
    """SHA-256 (hex) of each file of the package by its path in the wheel. Args: as `code_paths`."""
    return {name: _file_digest(path) for name, path in code_paths(package, experiments).items()}


def code_paths(package: Path | None = None, experiments: Path | None = None) -> dict[str, Path]:
    """Each file of the package by its path in the wheel, `/` between folders.

    Args:
        package: folder of the package; None: the one that runs.
        experiments: folder of the experiments, which a checkout keeps beside the package; None: the one in use.
    """
    package = package or Path(amint_mpc.__file__).parent
    experiments = experiments or experiments_folder()
    found = {path.relative_to(package).as_posix(): path for path in _files(package)}
    found |= {f"configs/{path.relative_to(experiments).as_posix()}": path for path in _files(experiments)}
    found.pop(KERNEL, None)
    return {name: found[name] for name in sorted(found)}


def code_digest(files: Mapping[str, str]) -> str:
    """SHA-256 (hex) of a zero-ended mark and the canonical JSON of what `code_files` gives."""
    return sha256(b"amint-mpc code 1\0", encode(files))


def versions_digest(versions: Mapping[str, str]) -> str:
    """SHA-256 (hex) of a zero-ended mark and the canonical JSON of versions by name."""
    return sha256(b"amint-mpc dependencies 1\0", encode(versions))


@functools.cache
def needed() -> Mapping[str, tuple[str, str]]:
    """`dependencies` of this package, measured once in a process: it takes most of the time."""
    return MappingProxyType(dependencies(PACKAGE))


def dependencies(package: str) -> dict[str, tuple[str, str]]:
    """What the package needs, in turn, by normalised name (PEP 503): the version, and a digest of its files' hashes.

    One that is not installed has the version `missing`.
    """
    found: dict[str, tuple[str, str]] = {}
    visited: set[tuple[str, str]] = set()
    left = [(_normal(package), "")]
    while left:
        asked = left.pop()
        if asked in visited:
            continue
        visited.add(asked)
        name, extra = asked
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            found[name] = "missing", sha256()
            continue
        if name not in found:
            found[name] = distribution.version, _wheel_digest(distribution)
        for asks in _requirements(distribution, extra):
            left += [(_normal(asks.name), each) for each in ("", *asks.extras)]
    del found[_normal(package)]
    return dict(sorted(found.items()))


def decoder() -> str:
    """Name and version of Pillow, and of the libraries in it whose pixels differ from version to version."""
    parts = [f"Pillow {features.version('pil')}"]
    turbo = features.version_feature("libjpeg_turbo")
    jpeg = features.version("jpg")
    if turbo or jpeg:
        parts.append(f"libjpeg-turbo {turbo}" if turbo else f"libjpeg {jpeg}")
    if webp := features.version("webp"):
        parts.append(f"libwebp {webp}")
    return re.sub(r"[^ -~]", "?", ", ".join(parts))[:64].strip()


def image_digest() -> str | None:
    """What whoever started the container says about it, in the environment or in a file; None: nothing.

    An image cannot hold its own digest, so it is always handed in.

    Raises:
        UsageError: it is no `sha256:` and 64 hex digits.
    """
    told, source = os.environ.get(IMAGE_VARIABLE, "").strip(), IMAGE_VARIABLE
    if not told and IMAGE_FILE.is_file():
        with IMAGE_FILE.open("rb") as file:
            told, source = file.read(1024).decode("ascii", "replace").strip(), str(IMAGE_FILE)
    if told and not _IMAGE.fullmatch(told):
        raise UsageError(f"{source} holds no digest of an image", "It is sha256: and 64 hex digits; or leave it out")
    return told or None


def _files(folder: Path) -> Iterator[Path]:
    """Every file below, but for hidden ones and bytecode that Python keeps."""
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and "__pycache__" not in parts and not any(part.startswith(".") for part in parts):
            yield path


def _file_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _requirements(distribution: metadata.Distribution, extra: str) -> Iterator[Requirement]:
    """Those that hold on this machine, for one extra; `""` is without any."""
    for line in distribution.requires or ():
        marker = line.partition(";")[2]
        # Most lines are of other extras, and parsing them would be most of the time.
        if not extra and "extra ==" in marker and " or " not in marker:
            continue
        asks = Requirement(line)
        if asks.marker is None or asks.marker.evaluate({"extra": extra}):
            yield asks


def _wheel_digest(distribution: metadata.Distribution) -> str:
    """Digest of what RECORD says of the wheel's own files. Left out are scripts outside of the folder of packages, and
    what an installer adds: they differ from place to place."""
    rows = csv.reader((distribution.read_text("RECORD") or "").splitlines())
    hashes: dict[str, Value] = {}
    for path, digest, *_ in rows:
        added = path.endswith((".dist-info/INSTALLER", ".dist-info/REQUESTED", ".dist-info/direct_url.json", ".pyc"))
        if digest and not added and not path.startswith(("..", "/")):
            hashes[path] = digest
    return sha256(encode(hashes))
