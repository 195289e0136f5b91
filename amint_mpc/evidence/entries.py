"""What the entries of a log hold: a model of each kind, and the plan that both parties and a verifier follow.

    begin       experiment, session, certificates, software of both, commitment to the images; `dealer`: what the
                dealer told both parties, None where nobody deals
    checkpoint  digest of the classifier, as the developer declares it; figures that were shared; whether training
                stops; with `evidence.replay` the digest of what the developer keeps to do the steps again
    signed      the head over everything before it, signed by both; follows each checkpoint and the end
    step        number, epoch, digest of the batch (from the experiment alone), digests of the frames
    sealed      all steps of the sealed phase in one: the first, the last epoch, how many, digests of the frames
    score       sets were scored: epoch, whether it was the last time, digests of the frames
    dealt       what the dealer says that it dealt, signed by the dealer, and how much of it the parties have checked;
                only where `begin` names a dealer
    made        masks that the two parties made themselves: over how many links, a hash over all frames on them, and
                with `evidence.replay` a digest of what the developer keeps of them; only with `two-party`
    end         digest of the last classifier, commitment to the head, shared figures, salted digests of the files of
                both that later commands rely on (`file_digest`), digests of the head's opening
    query       after the end, any number of times, each signed before any image is opened or sent: session, how many
                images, a digest of those that the auditor brings (`images_digest`), which members are opened as
                canaries, what both decode image files with
    answer      after the query that it answers: digests of the frames; signed, too

Version 2 has no `made`: runs without a dealer had their head under SPU, whose messages were not bound.
Version 1 has no `sealed`, `dealt` and `answer`: steps of the sealed phase are steps, files are not covered, a query
says how many images and which. Its logs hold for ever. One that is queried today gets today's `query` and `answer`.

Names of figures are free, so that a log keeps those of its time (`amint_mpc.results` has today's).

A digest of frames covers what one party sent the other since the last entry that has such a digest
(`amint_mpc.transport.hashing`). Those of `made` cover links of their own (`amint_mpc.transport.chained`, BLAKE3).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from amint_mpc.config import PARTIES, Role
from amint_mpc.evidence.canonical import Value, encode, sha256, tensors_digest
from amint_mpc.evidence.commitments import DataCommitment
from amint_mpc.evidence.log import TreeHead
from amint_mpc.evidence.software_digests import Digest, ImageDigest, Software, Text

HEAD_TYPE = "application/vnd.amint-mpc.log-head+json"
DEALT_TYPE = "application/vnd.amint-mpc.dealt+json"
SALT_BYTES = 32
MAX_CANARIES = 10_000
"""Of one query: their positions fit into a line of the log."""

_Count = Annotated[int, Field(ge=0, lt=2**53)]
_Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
_Number = Annotated[str, Field(max_length=32, pattern=r"^-?[0-9]+(\.[0-9]+)?(e-?[0-9]+)?$")]
_SignatureHex = Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]
Fingerprint = ImageDigest  # both are `sha256:` and 64 hex digits


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Frames(_Entry):
    """Of what each of the two sent."""

    developer: Digest
    auditor: Digest


class Certificates(_Entry):
    developer: Fingerprint
    auditor: Fingerprint


class SoftwareOfBoth(_Entry):
    developer: Software
    auditor: Software


class Signatures(_Entry):
    """Over `signed_payload`, hex."""

    developer: _SignatureHex
    auditor: _SignatureHex


class Interval(_Entry):
    value: _Number
    low: _Number
    high: _Number


class Seeds(_Entry):
    """SHA-256 of the seed that the dealer gave each of the two."""

    developer: Digest
    auditor: Digest


class Dealer(_Entry):
    """What the dealer told both parties. `session`: its number of the session, 16 bytes."""

    certificate: Fingerprint
    session: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    seeds: Seeds


class Begin1(_Entry):
    version: Literal[1]
    experiment: Digest
    session: Digest
    insecure: Annotated[str, Field(max_length=200)] | None
    certificates: Certificates
    software: SoftwareOfBoth
    data: DataCommitment


class Begin2(Begin1):
    version: Literal[2]  # type: ignore[assignment]
    dealer: Dealer | None


class Begin(Begin2):
    version: Literal[3]  # type: ignore[assignment]


class Checkpoint(_Entry):
    epoch: _Count
    backbone: Digest
    figures: dict[_Name, _Number] | None
    stop: bool
    replay: Digest | None


class Signed(_Entry):
    size: _Count
    root: Digest
    signatures: Signatures


class Step(_Entry):
    step: _Count
    epoch: _Count
    batch: Digest
    frames: Frames


class Sealed(_Entry):
    first: _Count
    epoch: _Count
    steps: _Count
    frames: Frames


class Dealt(_Entry):
    """`checked`: of the blocks, how many the two have checked; their word, not the dealer's."""

    blocks: _Count
    chain: Digest
    checked: _Count
    signature: _SignatureHex


class Made(_Entry):
    """`links`: on which the masks were made. `kept`: the developer's word, with `evidence.replay`."""

    links: Annotated[int, Field(gt=0, lt=2**16)]
    frames: Frames
    kept: Digest | None


class Score(_Entry):
    epoch: _Count
    final: bool
    frames: Frames


DevelopersFile = Literal["summary.json"]
AuditorsFile = Literal["scores.safetensors", "first-head.safetensors", "summary.json"]
FILES: Mapping[Role, tuple[str, ...]] = {"developer": get_args(DevelopersFile), "auditor": get_args(AuditorsFile)}
"""Files of each party's run folder that the end of a log covers, beside classifier and head."""


class FilesOfBoth(_Entry):
    """Salted digests (`file_digest`) of all that `FILES` names."""

    developer: dict[DevelopersFile, Digest]
    auditor: dict[AuditorsFile, Digest]

    @model_validator(mode="after")
    def _all(self) -> FilesOfBoth:
        for role in PARTIES:
            if getattr(self, role).keys() != set(FILES[role]):
                raise ValueError(f"not the files of the {role}")
        return self


class End1(_Entry):
    backbone: Digest
    head: Digest
    figures: dict[_Name, Interval] | None
    replay: Digest | None
    frames: Frames


class End(End1):
    files: FilesOfBoth


class Query1(_Entry):
    session: Digest
    images: Annotated[int, Field(gt=0, lt=2**53)]
    digest: Digest


class Decoders(_Entry):
    """What each of the two reads image files with, as its `Software` says."""

    developer: Text | None
    auditor: Text | None


class Query(Query1):
    """`images`: all that are scored, canaries among them. `canaries`: positions among the members."""

    canaries: Annotated[list[_Count], Field(max_length=MAX_CANARIES)]
    decoders: Decoders

    @model_validator(mode="after")
    def _possible(self) -> Query:
        if len(set(self.canaries)) != len(self.canaries) or len(self.canaries) >= self.images:
            raise ValueError("canaries twice, or nothing else")
        return self


class Answer(_Entry):
    frames: Frames


_COMMON: Mapping[str, type[_Entry]] = {
    "checkpoint": Checkpoint,
    "signed": Signed,
    "step": Step,
    "score": Score,
    "query": Query,
    "answer": Answer,
}
_OF_VERSION: Mapping[int, Mapping[str, type[_Entry]]] = {
    1: {**_COMMON, "begin": Begin1, "end": End1},
    2: {**_COMMON, "begin": Begin2, "end": End, "sealed": Sealed, "dealt": Dealt},
    3: {**_COMMON, "begin": Begin, "end": End, "sealed": Sealed, "dealt": Dealt, "made": Made},
}

AFTER = frozenset({"query", "answer"})
"""Kinds that may follow the end of a run. Each such series ends with a signed head."""


def model_of(version: int, kind: str, record: Mapping[str, object]) -> type[_Entry] | None:
    """What an entry must look like; None: logs of this version have no such kind.

    Args:
        record: of the entry, not checked yet: a query of version 1 is told by what it has not.
    """
    if version == 1 and kind == "query" and "canaries" not in record:
        return Query1
    return _OF_VERSION[version].get(kind)


@dataclass(frozen=True)
class ExpectedEntry:
    """An entry that a run of an experiment must have next.

    Args:
        kind: of `KINDS`.
        fields: what the experiment alone says of it.
        place: for messages, as `step 12 (epoch 3)`.
        present: keys whose values are not None.
    """

    kind: str
    fields: Mapping[str, Value]
    place: str
    present: tuple[str, ...] = ()


class ExpectedLog(Protocol):
    """The entries that a run must have, one after the other (`amint_mpc.runlog.expected`)."""

    def __iter__(self) -> Iterator[ExpectedEntry]: ...

    def stop(self) -> None:
        """A checkpoint said stop: leave out what an early stop leaves out."""

    def dealer(self) -> None:
        """The first entry names a dealer: what it signs comes before the end."""


def signed_payload(head: TreeHead) -> bytes:
    """What both parties sign, as type `HEAD_TYPE`."""
    return encode({"root": head.root, "size": head.size})


def dealt_payload(session: str, experiment: str, seeds: Mapping[Role, str], blocks: int, chain: str) -> bytes:
    """What the dealer signs at the end of a run, as type `DEALT_TYPE`: canonical JSON of its arguments by name.

    Args:
        session: the dealer's number of the session, 32 hex digits. experiment: digest of the agreed settings.
        seeds: SHA-256 of each party's seed, by role. blocks: that it dealt. chain: of their digests, 64 hex digits.
    """
    named: dict[str, Value] = {role: seeds[role] for role in PARTIES}
    return encode({"blocks": blocks, "chain": chain, "experiment": experiment, "seeds": named, "session": session})


def file_digest(salt: bytes, name: str, digest: str) -> str:
    """Binds a party to a file of its run folder, and says nothing of it to anyone without the salt.

    Args:
        salt: SALT_BYTES random bytes, of one party and run. name: of the file. digest: of what it holds, hex.
    """
    return sha256(b"amint-mpc file 2\0", salt, name.encode() + b"\0", bytes.fromhex(digest))


def batch_digest(members: Sequence[int], external: Sequence[int]) -> str:
    """Of the images of one step, by their positions among the members and among the external images."""
    return sha256(encode({"external": list(external), "members": list(members)}))


def images_digest(pixels: Sequence[bytes]) -> str:
    """Of queried images in the order in which they were sent. Args: pixels: the digest of each, 32 bytes."""
    return sha256(b"amint-mpc query 1\0", *pixels)


def head_commitment(salt: bytes, head: Mapping[str, Tensor]) -> str:
    """Binds the auditor to its head, and says nothing of it to anyone without the salt.

    Args:
        salt: SALT_BYTES random bytes. head: the tensors of head.safetensors.
    """
    return sha256(b"amint-mpc head 1\0", salt, bytes.fromhex(tensors_digest(head)))
