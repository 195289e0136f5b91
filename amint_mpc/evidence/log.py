"""The log of a run: an append-only file, one line of canonical JSON an entry, the same bytes at both parties.

Each entry has its `index`, its `kind`, and in `previous` the hash of the entry before it; over all of them stands a
Merkle tree (RFC 6962: the leaf of an entry is the hash of a zero byte and its line). The head, size and root, says
everything that came before in 32 bytes: it is what the parties sign and what can be published.

Guarantees
    A line has one form only: what is not byte for byte its own canonical JSON is refused.
    An entry that is changed, left out, repeated or moved breaks the chain at its place, or at the entry after it.
    Reading takes memory for one line of at most `MAX_LINE` bytes.

Edge cases
    The chain alone proves nothing against who rewrites all of it from there on: the signed heads do
    (`amint_mpc.evidence.verify`).
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple, NoReturn

from amint_mpc.errors import EvidenceError, UsageError
from amint_mpc.evidence.canonical import Value, encode
from amint_mpc.evidence.merkle import EMPTY, GrowingRoot, leaf_hash

VERSION = 3
"""Of the entries; a `begin` entry carries it. Logs of earlier versions are read as well."""
MAX_LINE = 1 << 18
MAX_ENTRIES = 50_000_000


class TreeHead(NamedTuple):
    """Size of a log, and the root of its Merkle tree in hex."""

    size: int
    root: str


@dataclass(frozen=True)
class Entry:
    """One line that was read. Args: record: all but index, kind and previous. leaf: its hash."""

    index: int
    kind: str
    record: dict[str, Any]
    leaf: bytes


class Log:
    """An open log. Opened by `create` or `resume`; any thread may append."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self._file = file
        self._tree, self._previous = GrowingRoot(), EMPTY
        self._held: list[bytes] | None = None
        self._lock = threading.Lock()

    @classmethod
    def create(cls, path: Path) -> Log:
        """A new log; its folder is made where it is missing.

        Raises:
            UsageError: there is one already, or it cannot be written.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return cls(path, path.open("xb", buffering=0))
        except FileExistsError:
            raise UsageError(f"{path} exists already", "A log is only ever added to") from None
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}") from None

    @classmethod
    def resume(cls, path: Path) -> Log:
        """Go on with a log, after its chain has been checked. What is appended is on the disk once `sync` has written
        it, in one piece: whoever is stopped before leaves the log as it was.

        Raises:
            EvidenceError: the chain is broken.
            UsageError: it cannot be read or written.
        """
        leaves = [entry.leaf for entry in read(path)]
        try:
            log = cls(path, path.open("ab", buffering=0))
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}") from None
        for leaf in leaves:
            log._grow(leaf)
        log._held = []
        return log

    def append(self, kind: str, record: Mapping[str, Value]) -> int:
        """Add an entry. Returns its index.

        Raises:
            TypeError, ValueError: what canonical JSON cannot hold, or more of it than a line takes.
        """
        if taken := {"index", "kind", "previous"} & record.keys():
            raise ValueError(f"an entry has its {taken.pop()} already")
        with self._lock:
            index = self._tree.size
            line = encode({**record, "index": index, "kind": kind, "previous": self._previous.hex()})
            if len(line) > MAX_LINE:
                raise ValueError(f"an entry of {len(line)} bytes; a line takes {MAX_LINE}")
            if self._held is None:
                self._file.write(line + b"\n")
            else:
                self._held.append(line + b"\n")
            self._grow(leaf_hash(line))
            return index

    def head(self) -> TreeHead:
        """Of all entries so far."""
        with self._lock:
            return TreeHead(self._tree.size, self._tree.root().hex())

    def sync(self) -> None:
        """Return when everything is on the disk."""
        if self._held:
            self._file.write(b"".join(self._held))
            self._held = []
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Can be called twice."""
        self._file.close()

    def __enter__(self) -> Log:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _grow(self, leaf: bytes) -> None:
        self._tree.append(leaf)
        self._previous = leaf


def read(path: Path) -> Iterator[Entry]:
    """The entries of a log, one by one, each checked for its form, its place and the link to the one before.

    Raises:
        EvidenceError: it names the first entry that is wrong.
        UsageError: the file cannot be read.
    """
    previous = EMPTY
    try:
        with path.open("rb") as file:
            for index in range(MAX_ENTRIES):
                line = file.readline(MAX_LINE + 2)
                if not line:
                    return
                entry = _entry(line, index, previous)
                previous = entry.leaf
                yield entry
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", "Is this the folder of a run with a log?") from None
    raise EvidenceError(f"the log has more than {MAX_ENTRIES} entries")


def version_of(path: Path) -> int:
    """Which version a log says that it is of; today's where its first entry does not say.

    Raises:
        EvidenceError: the first entry is malformed, or of a newer version.
        UsageError: the file cannot be read.
    """
    first = next(read(path), None)
    version = first.record.get("version") if first is not None and first.kind == "begin" else None
    if type(version) is not int or version < 1:
        return VERSION  # whoever checks the entry says what is wrong with it
    if version > VERSION:
        raise EvidenceError(
            f"log: it is of version {str(version)[:9]}, this program reads {VERSION}",
            "Verify it with a newer version of amint-mpc",
        )
    return version


def _entry(line: bytes, index: int, previous: bytes) -> Entry:
    if not line.endswith(b"\n"):
        what = "is cut off" if len(line) <= MAX_LINE else f"is longer than {MAX_LINE} bytes"
        _wrong(index, what)
    line = line[:-1]
    try:
        record = json.loads(line)
        canonical = isinstance(record, dict) and encode(record) == line
    except (ValueError, TypeError, RecursionError):  # no JSON, no UTF-8, or a number with a point
        canonical = False
    if not canonical:
        _wrong(index, "was changed: it is not canonical JSON")
    found, kind, link = (record.pop(key, None) for key in ("index", "kind", "previous"))
    if type(found) is not int or not isinstance(kind, str) or not isinstance(link, str):
        _wrong(index, "has no index, no kind or no link to the entry before")
    if found > index:
        _wrong(index, f"is missing: entry {found} stands in its place")
    if found < index:
        _wrong(index, f"is missing: entry {found} stands there, once more or out of order")
    if link != previous.hex():
        before = f"entry {index - 1}, or one of the two was changed" if index else "nothing, as the first one must"
        _wrong(index, f"does not follow {before}")
    return Entry(index, kind[:32], record, leaf_hash(line))


def _wrong(index: int, what: str) -> NoReturn:
    raise EvidenceError(f"log: entry {index} {what}")
