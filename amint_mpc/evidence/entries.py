"""What the entries of a log hold: a model of each kind, and the plan that both parties and a verifier follow.

    begin       experiment, session, certificates, software of both, commitment to the images
    checkpoint  digest of the classifier, as the developer declares it; figures that were shared; whether training
                stops; with `evidence.replay` the digest of what the developer keeps to do the steps again
    signed      the head over everything before it, signed by both; follows each checkpoint and the end
    step        number, epoch, digest of the batch (from the experiment alone), digests of the frames
    score       sets were scored: epoch, whether it was the last time, digests of the frames
    end         digest of the last classifier, commitment to the head, shared figures, digests of the head's opening
    query       after the end, any number of times, each signed before it is answered: session, how many images, and a
                digest of which (`images_digest`)

Names of figures are free, so that a log keeps those of its time (`amint_mpc.results` has today's).

A digest of frames covers what one party sent the other since the last entry that has such a digest
(`amint_mpc.transport.hashing`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from amint_mpc.evidence.canonical import Value, encode, sha256, tensors_digest
from amint_mpc.evidence.commitments import DataCommitment
from amint_mpc.evidence.log import TreeHead
from amint_mpc.evidence.software_digests import Digest, ImageDigest, Software

HEAD_TYPE = "application/vnd.amint-mpc.log-head+json"
SALT_BYTES = 32

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


class Begin(_Entry):
    version: Literal[1]
    experiment: Digest
    session: Digest
    insecure: Annotated[str, Field(max_length=200)] | None
    certificates: Certificates
    software: SoftwareOfBoth
    data: DataCommitment


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


class Score(_Entry):
    epoch: _Count
    final: bool
    frames: Frames


class End(_Entry):
    backbone: Digest
    head: Digest
    figures: dict[_Name, Interval] | None
    replay: Digest | None
    frames: Frames


class Query(_Entry):
    session: Digest
    images: Annotated[int, Field(gt=0, lt=2**53)]
    digest: Digest


KINDS: Mapping[str, type[_Entry]] = {
    "begin": Begin,
    "checkpoint": Checkpoint,
    "signed": Signed,
    "step": Step,
    "score": Score,
    "end": End,
    "query": Query,
}


AFTER = frozenset({"query"})
"""Kinds that may follow the end of a run. Each such series ends with a signed head."""


@dataclass(frozen=True)
class ExpectedEntry:
    """An entry that a run of an experiment must have next.

    Args:
        kind: of `KINDS`.
        fields: what the experiment alone says of it.
        place: for messages, as `step 12 (epoch 3)`.
    """

    kind: str
    fields: Mapping[str, Value]
    place: str


class ExpectedLog(Protocol):
    """The entries that a run must have, one after the other (`amint_mpc.runlog.expected`)."""

    def __iter__(self) -> Iterator[ExpectedEntry]: ...

    def stop(self) -> None:
        """A checkpoint said stop: leave out what an early stop leaves out."""


def signed_payload(head: TreeHead) -> bytes:
    """What both parties sign, as type `HEAD_TYPE`."""
    return encode({"root": head.root, "size": head.size})


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
