"""Writes the log (`amint_mpc.evidence`) of one party's run, at the same places at developer and auditor.

1. begin       The developer sends its commitment to the images. Both write the first entry.
2. checkpoint  Before the first step, and after each evaluation: the developer sends the digest of its classifier, both
               write it down, and each sends the other its signature over the log so far (RFC 6962 head).
3. step        Each of the two works out alone which images the batch has, and hashes the frames of the step in a
               thread beside it; no message.
4. sealed      The same for all steps of the sealed phase at once.
5. dealt       Both write down what the dealer has signed; or, `made`, hashes of all frames that masks were made with.
6. end         The developer sends the digest of the last classifier, the auditor its commitment to the head, each the
               salted digests of its files. Both sign the log, and then the statement.

Who learns what: the auditor learns digests of the classifier, the developer a salted hash of the head; no value.
Rounds: two or three a checkpoint, none in a step. Bytes: a few hundred a checkpoint.

Guarantees
    Both files are equal, byte for byte. Where they would differ, both parties stop at the next checkpoint with an error
    that says since where.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import ValidationError
from torch import Tensor

from amint_mpc import identity
from amint_mpc.config import PARTIES, Experiment, Role
from amint_mpc.errors import EvidenceError, ProtocolError
from amint_mpc.evidence import signing
from amint_mpc.evidence.canonical import Value, figure, tensors_digest
from amint_mpc.evidence.commitments import DataCommitment
from amint_mpc.evidence.entries import (
    DEALT_TYPE,
    FILES,
    SALT_BYTES,
    ExpectedEntry,
    FilesOfBoth,
    dealt_payload,
    file_digest,
    head_commitment,
)
from amint_mpc.evidence.files import CERTIFICATES, COIN, FILES_SALT, LOG, SALT, STATEMENT, write_new, write_secret
from amint_mpc.evidence.log import VERSION, Log
from amint_mpc.evidence.session import AgreedSession
from amint_mpc.evidence.statement import PAYLOAD_TYPE, statement
from amint_mpc.identity import Identity
from amint_mpc.results import Figure
from amint_mpc.runfolder import RunFolder
from amint_mpc.runlog.countersigning import (
    DIGEST_SPEC,
    SIGNATURE_SPEC,
    check_signature,
    countersign,
)
from amint_mpc.runlog.expected import ExpectedEntries
from amint_mpc.runlog.interface import NamedDealer, NullRunLog, RunLog
from amint_mpc.transport.channel import Channel
from amint_mpc.transport.frames import JsonValue, as_bytes, as_tensor
from amint_mpc.transport.hashing import Digests, HashingChannel

BEGIN, DIGEST, SIGNATURE, FILES_TOLD = "log-begin", "log-digest", "log-statement", "log-files"
FILES_LIMIT = 4096


@contextmanager
def keep_log(
    experiment: Experiment,
    own: Identity,
    keys: Path,
    session: AgreedSession,
    link: Channel,
    folder: RunFolder | None,
    data: DataCommitment | None = None,
    dealer: NamedDealer | None = None,
    coin: bytes | None = None,
) -> Iterator[RunLog]:
    """The log of a run for as long as the context lasts; `NullRunLog` where the experiment wants none.

    Args:
        own: who signs. keys: this party's folder of keys, with the certificate of the other one.
        link: to the other party.
        folder: of this party's run; gets evidence/ and, at the auditor, the salt of its commitment. None: no log.
        data: at the developer, its commitment to its images.
        dealer: who deals, where that is somebody with a key of its own.
        coin: the secret of the two parties, from which the rows of sealed steps follow: kept for afterwards.
    """
    if not experiment.evidence.log or folder is None:
        yield NullRunLog(link)
        return
    peer = identity.trusted(keys, session.peer)
    hashing = HashingChannel(link)
    try:
        with Log.create(folder.path / LOG) as log:
            recorder = LogRecorder(experiment, own, peer, session, link, hashing, log, folder.path)
            recorder.begin(data, dealer)
            if coin is not None:
                write_secret(folder.path / COIN, coin)
            yield recorder
    finally:
        hashing.end()


class LogRecorder:
    """The log of a run that has one; see `RunLog`.

    Args:
        own, peer: who signs, and whose signature is expected.
        link: to the other party. hashing: the same, with digests of what crosses it. folder: of this party's run.
    """

    def __init__(
        self,
        experiment: Experiment,
        own: Identity,
        peer: x509.Certificate,
        session: AgreedSession,
        link: Channel,
        hashing: HashingChannel,
        log: Log,
        folder: Path,
    ) -> None:
        self.channel: Channel = hashing
        self._experiment, self._own, self._session = experiment, own, session
        self._link, self._hashing, self._log, self._folder = link, hashing, log, folder
        self._certificates: dict[Role, x509.Certificate] = {own.role: own.certificate, session.peer: peer}
        self._plan = ExpectedEntries(experiment, VERSION)
        self._dealer: NamedDealer | None = None
        self._agreed = 0  # entries under the last head that both signed
        self._digests = 0  # messages with one, so far
        self._begin: dict[str, Value] = {}

    def begin(self, data: DataCommitment | None, dealer: NamedDealer | None = None) -> None:
        """Write the first entry. Args: as `keep_log`."""
        if self._own.role == "developer":
            if data is None:
                raise ValueError("the developer commits to its images")
            self._link.send_json(BEGIN, data.model_dump())
        else:
            data = self._commitment(self._link.receive_json(BEGIN))
        named: dict[str, Value] | None = None
        if dealer is not None:
            if "dealer" not in self._experiment.roles:
                raise ValueError("nobody deals in this experiment")
            self._dealer = dealer
            self._certificates["dealer"] = dealer.certificate
            self._plan.dealer()
            named = {
                "certificate": identity.fingerprint(dealer.certificate),
                "session": dealer.session.hex(),
                "seeds": {role: dealer.seeds[role] for role in PARTIES},
            }
        for role, certificate in self._certificates.items():
            write_new(self._folder / CERTIFICATES / f"{role}.pem", certificate.public_bytes(Encoding.PEM))
        self._begin = {
            **self._next("begin").fields,
            "dealer": named,
            "version": VERSION,
            "experiment": self._experiment.digest(),
            "session": self._session.id.hex(),
            "certificates": {role: identity.fingerprint(self._certificates[role]) for role in PARTIES},
            "software": {role: self._session.software[role].record() for role in PARTIES},
            "data": data.model_dump(),
        }
        self._log.append("begin", self._begin)

    def step(self) -> None:
        """See `RunLog`."""
        self._append_with_frames(self._next("step"))

    def sealed(self) -> None:
        """See `RunLog`."""
        self._append_with_frames(self._next("sealed"))

    def dealt(self, blocks: int, chain: str, checked: int, signature: bytes) -> None:
        """See `RunLog`.

        Raises:
            ProtocolError: the signature is not the dealer's over this.
        """
        if self._dealer is None:
            return
        told = self._dealer.session.hex(), self._experiment.digest(), self._dealer.seeds
        payload = dealt_payload(*told, blocks, chain)
        check_signature(self._dealer.certificate, "dealer", DEALT_TYPE, payload, signature, "what it dealt")
        self._hashing.drain()  # entries before this one are written by another thread
        self._next("dealt")
        record: dict[str, Value] = {"blocks": blocks, "chain": chain, "checked": checked, "signature": signature.hex()}
        self._log.append("dealt", record)

    def made(self, links: int, frames: tuple[str, str], kept: str | None) -> None:
        """See `RunLog`."""
        if not self._experiment.two_party:
            raise ValueError("a dealer makes the masks of this experiment")
        self._hashing.drain()
        self._next("made")
        both: dict[str, Value] = dict(zip((self._own.role, self._session.peer), frames, strict=True))
        self._log.append("made", {"links": links, "frames": both, "kept": self._developers_word(kept)})

    def scored(self) -> None:
        """See `RunLog`."""
        self._append_with_frames(self._next("score"))

    def checkpoint(
        self,
        backbone: Mapping[str, Tensor] | None,
        figures: Mapping[str, float],
        stop: bool = False,
        replay: str | None = None,
    ) -> None:
        """See `RunLog`.

        Raises:
            ProtocolError: the other party's log differs, or its signature is wrong.
        """
        self._hashing.drain()
        fields = self._next("checkpoint").fields
        evaluated = self._agreed > 0  # the first one is before any score
        told = evaluated and self._experiment.disclosure.epoch_figures
        record: dict[str, Value] = {
            **fields,
            "backbone": self._developers_digest(backbone),
            "figures": {name: figure(value) for name, value in figures.items()} if told else None,
            "stop": stop,
            "replay": self._developers_word(replay),
        }
        self._log.append("checkpoint", record)
        self._countersign()
        if stop:
            self._plan.stop()

    def end(
        self,
        tensors: Mapping[str, Tensor],
        figures: Mapping[str, Figure],
        replay: str | None = None,
        files: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """See `RunLog`; writes the statement.

        Raises:
            ProtocolError: as `checkpoint`, or what came of the other party's files is malformed.
        """
        shown = {name: {key: figure(value) for key, value in each.as_json().items()} for name, each in figures.items()}
        backbone = self._developers_digest(tensors if self._own.role == "developer" else None)
        head = self._auditors_commitment(tensors if self._own.role == "auditor" else None)
        record: dict[str, Value] = {
            "backbone": backbone,
            "head": head,
            "figures": shown if self._experiment.disclosure.final_figures else None,
            "replay": self._developers_word(replay),
            "files": self._files_of_both(files),
        }
        expected_end = self._next("end")
        self._append_with_frames(ExpectedEntry("end", record, expected_end.place))
        self._hashing.drain()
        self._countersign()
        self._sign_statement(record)

    def _commitment(self, told: object) -> DataCommitment:
        """What the developer said of its images."""
        try:
            data = DataCommitment.model_validate(told)
        except ValidationError:
            raise ProtocolError(
                "the developer's commitment to its images is malformed", "Use the same version on both sides"
            ) from None
        try:
            data.check_sizes(self._experiment.data)
        except EvidenceError as error:
            raise ProtocolError(error.message, "The developer's split is not the agreed one") from None
        return data

    def _next(self, kind: str) -> ExpectedEntry:
        """The entry that the experiment has next."""
        found = next(self._plan)
        if found.kind != kind:
            raise RuntimeError(f"the log is at {found.place}, and was told of a {kind}")
        return found

    def _append_with_frames(self, entry: ExpectedEntry) -> None:
        """Append it once the frames up to here have been hashed; nobody waits."""

        def append(digests: Digests) -> None:
            frames: dict[str, Value] = dict(zip((self._own.role, self._session.peer), digests, strict=True))
            self._log.append(entry.kind, {**entry.fields, "frames": frames})

        self._hashing.mark(append)

    def _developers_digest(self, backbone: Mapping[str, Tensor] | None) -> str:
        if self._own.role == "developer":
            if backbone is None:
                raise ValueError("the developer says what its classifier is")
            return self._send_digest(tensors_digest(backbone))
        return self._receive_digest()

    def _developers_word(self, replay: str | None) -> str | None:
        """The digest of what the developer keeps, with `evidence.replay`."""
        if not self._experiment.evidence.replay:
            return None
        if self._own.role == "auditor":
            return self._receive_digest()
        if replay is None:
            raise ValueError("the developer says what it keeps")
        return self._send_digest(replay)

    def _auditors_commitment(self, head: Mapping[str, Tensor] | None) -> str:
        if self._own.role == "developer":
            return self._receive_digest()
        if head is None:
            raise ValueError("the auditor says what its head is")
        salt = os.urandom(SALT_BYTES)
        write_secret(self._folder / SALT, salt)
        return self._send_digest(head_commitment(salt, head))

    def _files_of_both(self, files: Mapping[str, str]) -> dict[str, Value]:
        """Salted digests of the files of both, by role. Args: files: as `RunLog.end`."""
        own, peer = self._own.role, self._session.peer
        if files.keys() != set(FILES[own]):
            raise ValueError(f"the {own} says what {', '.join(FILES[own])} hold, and nothing else")
        salt = os.urandom(SALT_BYTES)
        write_secret(self._folder / FILES_SALT, salt)
        mine: dict[str, JsonValue] = {name: file_digest(salt, name, files[name]) for name in FILES[own]}
        self._link.send_json(FILES_TOLD, mine)
        theirs = self._link.receive_json(FILES_TOLD, FILES_LIMIT)
        try:
            return FilesOfBoth.model_validate({own: mine, peer: theirs}).model_dump()
        except ValidationError:
            raise ProtocolError(
                f"what the {peer} says of its files is malformed", "Use the same version on both sides"
            ) from None

    def _send_digest(self, digest: str) -> str:
        self._link.send(DIGEST, self._digests, as_tensor(bytes.fromhex(digest)))
        self._digests += 1
        return digest

    def _receive_digest(self) -> str:
        (digest,) = self._link.receive(DIGEST, self._digests, DIGEST_SPEC)
        self._digests += 1
        return as_bytes(digest).hex()

    def _countersign(self) -> None:
        """Both sign the log as it is, and write both signatures down."""
        self._next("signed")
        peer = self._certificates[self._session.peer]
        number = self._agreed
        self._agreed = countersign(self._log, self._own, peer, self._session.peer, self._link, number, number)

    def _sign_statement(self, end: Mapping[str, Any]) -> None:
        payload = statement(self._begin, end, self._log.head())
        mine = signing.sign(self._own, PAYLOAD_TYPE, payload)
        self._link.send(SIGNATURE, 0, as_tensor(mine))
        (signature,) = self._link.receive(SIGNATURE, 0, SIGNATURE_SPEC)
        peer = self._session.peer
        check_signature(self._certificates[peer], peer, PAYLOAD_TYPE, payload, as_bytes(signature), "the statement")
        by_role = {self._own.role: mine, self._session.peer: as_bytes(signature)}
        signatures = [(identity.fingerprint(self._certificates[role]), by_role[role]) for role in PARTIES]
        write_new(self._folder / STATEMENT, signing.seal(PAYLOAD_TYPE, payload, signatures))
