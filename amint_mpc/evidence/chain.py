"""A log against what its experiment says it must hold, and against the signatures under it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

from cryptography import x509
from pydantic import BaseModel, ValidationError

from amint_mpc import identity
from amint_mpc.config import PARTIES, Role
from amint_mpc.errors import EvidenceError
from amint_mpc.evidence import signing
from amint_mpc.evidence.canonical import Value
from amint_mpc.evidence.entries import (
    AFTER,
    DEALT_TYPE,
    HEAD_TYPE,
    ExpectedEntry,
    ExpectedLog,
    Query,
    Signed,
    dealt_payload,
    model_of,
    signed_payload,
)
from amint_mpc.evidence.log import Entry, TreeHead, read
from amint_mpc.evidence.merkle import EMPTY, GrowingRoot
from amint_mpc.printable import excerpt

NOTHING = TreeHead(0, EMPTY.hex())


@dataclass
class Walked:
    """What a log was found to hold.

    Args:
        begin, end: those entries as plain records.
        finished: the head with everything up to the countersigned end; the statement names it.
        head: of the whole log.
        steps: steps of the head; sealed: how many of them in one entry. signed: heads that both have signed.
        dealt: that entry, where a dealer has signed one. made: that entry, where the two parties made the masks.
        stopped: the epoch after which training stopped early, if it did.
        checkpoints: those entries, in order.
        queried: images that were queried after the end. queries: how many times; answered: how many of these have
            an entry that says so (in a log of version 1, and of a query that was broken off, there is none).
    """

    begin: dict[str, Any] = field(default_factory=dict)
    end: dict[str, Any] = field(default_factory=dict)
    finished: TreeHead = NOTHING
    head: TreeHead = NOTHING
    steps: int = 0
    sealed: int = 0
    signed: int = 0
    stopped: int | None = None
    checkpoints: list[dict[str, Any]] = field(default_factory=list)
    queried: int = 0
    queries: int = 0
    answered: int = 0
    dealt: dict[str, Any] | None = None
    made: dict[str, Any] | None = None

    @property
    def version(self) -> int:
        """Of the log."""
        version: int = self.begin["version"]
        return version


class Walker:
    """Reads a log once, from its first entry to its last.

    Args:
        path: of the log. version: of its entries (`log.version_of`).
        plan: what the experiment says it must hold. begin: what the first entry must say beside that.
        certificates: of both who sign, and the dealer's where there is one.
        anchors: heads that were published: the log must have had each of them.
    """

    def __init__(
        self,
        path: Path,
        version: int,
        plan: ExpectedLog,
        begin: Mapping[str, Value],
        certificates: Mapping[Role, x509.Certificate],
        anchors: tuple[TreeHead, ...] = (),
    ) -> None:
        self._entries, self._plan, self._begin = read(path), plan, begin
        self._version, self._certificates = version, certificates
        self._anchors = {anchor.size: anchor.root for anchor in anchors}
        self._tree = GrowingRoot()
        self._agreed = 0  # entries under the last good signed head, that one included
        self._asked = False  # the last entry but signed heads is a query that may be answered
        self._found = Walked()

    def walk(self) -> Walked:
        """Check everything.

        Raises:
            EvidenceError: it names the first entry that is wrong, and its place in the run.
            UsageError: the file cannot be read.
        """
        for expected in self._plan:
            if expected.kind == "begin":
                expected = replace(expected, fields={**expected.fields, **self._begin})
            self._check_expected(expected)
            if expected.kind == "signed" and self._found.stopped is not None:
                self._plan.stop()
        self._found.finished = self._head()
        self._after()
        self._found.head = self._head()
        if left := sorted(self._anchors):
            raise EvidenceError(
                f"log: it ends after {self._tree.size} entries, and a head of {left[0]} entries was published",
                "Entries have been cut off since",
            )
        return self._found

    def _check_expected(self, expected: ExpectedEntry) -> None:
        entry = next(self._entries, None)
        if entry is None:
            raise EvidenceError(
                f"log: it ends after {self._tree.size} entries, where {expected.place} should follow",
                "The run was not finished, or the log was cut",
            )
        model = self._model(entry, expected)
        if entry.kind != expected.kind or _number(entry) not in (None, expected.fields.get("step")):
            self._wrong(
                entry, f"should be {expected.place}, and is {_place(entry)}", "Entries are missing or were moved"
            )
        for key, value in expected.fields.items():
            if entry.record.get(key) != value:
                self._wrong(entry, f"{expected.place}: its {key} is not the one of this run")
        for key in expected.present:
            if entry.record.get(key) is None:
                self._wrong(entry, f"{expected.place}: it names no {key}, and the experiment has one")
        self._take(entry, model, expected.place)

    def _model(self, entry: Entry, expected: ExpectedEntry | None) -> BaseModel:
        place = f", {expected.place}" if expected and expected.kind == entry.kind else ""
        kind = model_of(self._version, entry.kind, entry.record)
        if kind is None:
            self._wrong(entry, f"{place[2:] or 'it'} is of the unknown kind {entry.kind!r}", "Use a newer amint-mpc")
        try:
            return kind.model_validate(entry.record)
        except ValidationError as error:
            key = excerpt(".".join(str(part) for part in error.errors(include_url=False)[0]["loc"]))
            self._wrong(entry, f"{place[2:] or 'a ' + entry.kind}: {key} is not as such an entry has it")

    def _take(self, entry: Entry, model: BaseModel, place: str) -> None:
        if entry.kind == "signed":
            assert isinstance(model, Signed)
            self._check_signed(entry, model, place)
        elif entry.kind == "begin":
            self._found.begin = entry.record
            if entry.record.get("dealer") is not None:
                self._check_dealer(entry, place)
                self._plan.dealer()
        elif entry.kind == "step":
            self._found.steps += 1
        elif entry.kind == "sealed":
            self._found.steps += entry.record["steps"]
            self._found.sealed = entry.record["steps"]
        elif entry.kind == "dealt":
            self._check_dealt(entry, place)
            self._found.dealt = entry.record
        elif entry.kind == "made":
            self._found.made = entry.record
        elif entry.kind == "checkpoint":
            self._found.checkpoints.append(entry.record)
            if entry.record["stop"]:
                self._found.stopped = entry.record["epoch"]
        elif entry.kind == "end":
            self._found.end = entry.record
        elif entry.kind == "query":
            self._check_query(entry, model, place)
            self._found.queries += 1
            self._found.queried += entry.record["images"]
        elif entry.kind == "answer":
            if not self._asked or self._agreed != self._tree.size:
                self._wrong(entry, f"{place} follows no signed query")
            self._asked = False
            self._found.answered += 1
        self._tree.append(entry.leaf)
        published = self._anchors.pop(self._tree.size, None)
        if published not in (None, self._head().root):
            self._wrong(entry, f"{place}: the log up to here is not the one whose head was published")
        if entry.kind == "signed":
            self._agreed = self._tree.size

    def _check_signed(self, entry: Entry, signed: Signed, place: str) -> None:
        head = self._head()
        if (signed.size, signed.root) != head:
            since = f"entries {self._agreed} to {entry.index - 1}"
            self._wrong(entry, f"{place}: what was signed is not the log before it", f"One of {since} was changed")
        for role in PARTIES:
            signature = bytes.fromhex(getattr(signed.signatures, role))
            if signing.verify(self._certificates[role], HEAD_TYPE, signed_payload(head), signature):
                continue
            other = next(each for each in PARTIES if each != role)
            swapped = signing.verify(self._certificates[other], HEAD_TYPE, signed_payload(head), signature)
            hint = f"It is the {other}'s" if swapped else f"Another key, or a changed byte since entry {self._agreed}"
            self._wrong(entry, f"{place}: the signature of the {role} is not by its certificate", hint)
        self._found.signed += 1

    def _check_query(self, entry: Entry, model: BaseModel, place: str) -> None:
        self._asked = isinstance(model, Query)
        if not isinstance(model, Query):
            return
        if self._agreed != self._tree.size:
            self._wrong(entry, f"{place} follows an entry that is not signed")
        members = self._found.begin["data"]["members"]["size"]
        if not all(position < members for position in model.canaries):
            self._wrong(entry, f"{place}: its canaries are not numbers of members")

    def _check_dealer(self, entry: Entry, place: str) -> None:
        """The certificate that lies in the folder is the one that the first entry names."""
        certificate = self._certificates.get("dealer")
        if certificate is None:
            self._wrong(entry, f"{place}: it names a dealer, and its certificate is missing", "Copy the whole folder")
        if identity.fingerprint(certificate) != entry.record["dealer"]["certificate"]:
            self._wrong(entry, f"{place}: the certificate of its dealer is not the one in the folder")

    def _check_dealt(self, entry: Entry, place: str) -> None:
        record, dealer = entry.record, self._found.begin["dealer"]
        if not record["checked"] <= record["blocks"]:
            self._wrong(entry, f"{place}: more blocks were checked than dealt")
        payload = dealt_payload(
            dealer["session"], self._found.begin["experiment"], dealer["seeds"], record["blocks"], record["chain"]
        )
        signature = bytes.fromhex(record["signature"])
        if not signing.verify(self._certificates["dealer"], DEALT_TYPE, payload, signature):
            self._wrong(
                entry,
                f"{place}: the signature of the dealer is not by its certificate",
                "Another key, or what was dealt was changed",
            )

    def _after(self) -> None:
        """What follows the end of the run."""
        for entry in self._entries:
            if entry.kind not in AFTER and (entry.kind != "signed" or self._agreed == self._tree.size):
                self._wrong(entry, f"{_place(entry)} stands after the end")
            self._take(entry, self._model(entry, None), _place(entry))
        if self._agreed != self._tree.size:
            raise EvidenceError(f"log: entries {self._agreed} to {self._tree.size - 1} at its end are not signed")

    def _head(self) -> TreeHead:
        return TreeHead(self._tree.size, self._tree.root().hex())

    @staticmethod
    def _wrong(entry: Entry, what: str, hint: str = "") -> NoReturn:
        raise EvidenceError(f"log: entry {entry.index}, {what}", hint)


def _number(entry: Entry) -> int | None:
    step = entry.record.get("step")
    return step if entry.kind == "step" and type(step) is int else None


def _place(entry: Entry) -> str:
    """What an entry says it is."""
    shown = {"step": "step", "checkpoint": "a checkpoint", "score": "a scoring", "signed": "a signed head"}
    shown |= {"answer": "an answer", "query": "a query", "sealed": "the sealed phase", "dealt": "what was dealt"}
    shown["made"] = "what the two parties made"
    number, epoch = _number(entry), entry.record.get("epoch")
    where = f" (epoch {epoch})" if type(epoch) is int else ""
    return f"{shown.get(entry.kind, 'the ' + entry.kind)}{'' if number is None else f' {number}'}{where}"
