"""Proofs about committed images: this one is in a set; this one is not; these were the images of a step.

    included   position, label, salt and path of a leaf. Tells the label of that image, and nothing of others.
    absent     the index salt, and the two neighbours between which the image's key would stand, side by side in the
               sorted index. Whoever has the salt can try guesses at other images, against the neighbours' keys and the
               hashes in their paths, of this and of every later proof of the run.
    step       for each image of a step's batch: position, label, salt, digest of its pixels, and path

Sources: inclusion proofs as in RFC 9162, 2.1.3; non-membership by neighbours in a sorted Merkle tree as in certificate
revocation trees (Naor, Nissim, Certificate Revocation and Certificate Update, USENIX Security 1998).

Guarantees
    A proof is data: bounded, typed, and refused with the first reason why it does not hold.
    `included` binds the exact pixels. `absent` speaks of the exact pixels, too: an image of which one pixel was changed
    is another image, and its absence says nothing of the one it was made from.

Edge cases
    `absent` holds against a developer that decides afterwards which images it wants to have used. One that planned the
    denial could leave an image out of the index, or out of the set, before the first step, and train on it anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from amint_mpc.errors import EvidenceError
from amint_mpc.evidence.commitments import (
    Commitments,
    DataCommitment,
    Images,
    SetName,
    index_key,
    leaf_data,
    salt_commitment,
)
from amint_mpc.evidence.merkle import Tree, leaf_hash, root_from_proof
from amint_mpc.evidence.software_digests import Digest
from amint_mpc.printable import excerpt

MAX_FILE = 64 << 20
_Position = Annotated[int, Field(ge=0, lt=2**53)]
_Path = Annotated[tuple[Digest, ...], Field(max_length=64, strict=False)]
_Salt = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
_Label = Annotated[int, Field(ge=-1, lt=2**31)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Leaf(_Part):
    """An image of a set, opened."""

    position: _Position
    label: _Label
    salt: _Salt
    path: _Path


class Key(_Part):
    """A key of a set's index."""

    position: _Position
    key: Digest
    path: _Path


class Included(_Part):
    """The image is one of the set."""

    claim: Literal["included"] = "included"
    images: SetName
    leaf: Leaf


class Absent(_Part):
    """The image is none of the set. One neighbour where its key would be the first or the last."""

    claim: Literal["absent"] = "absent"
    images: SetName
    salt: Digest
    neighbours: Annotated[tuple[Key, ...], Field(min_length=1, max_length=2, strict=False)]


class BatchImage(Leaf):
    """An image of a batch; the digest of its pixels stands for it."""

    pixels: Digest


_Batch = Annotated[tuple[BatchImage, ...], Field(max_length=65536, strict=False)]


class Reopened(_Part):
    """The images of a joint step."""

    claim: Literal["step"] = "step"
    step: _Position
    members: _Batch
    external: _Batch


Proof = Annotated[Included | Absent | Reopened, Field(discriminator="claim")]


class ProofFile(_Part):
    """A proof with the run that it is about."""

    version: Literal[1] = 1
    experiment: Digest
    session: Digest
    proof: Proof


def prove(commitments: Commitments, name: SetName, pixels: bytes) -> Included | Absent:
    """That an image is in a set, or that it is not: whichever is so.

    Args:
        pixels: their digest.
    """
    images = commitments.sets[name]
    if pixels in images.pixels:
        return Included(images=name, leaf=_leaf(images, images.pixels.index(pixels)))
    key = index_key(commitments.salt, pixels)
    after = sum(each < key for each in images.keys)
    beside = [position for position in (after - 1, after) if 0 <= position < len(images.keys)]
    neighbours = tuple(Key(position=at, key=images.keys[at].hex(), path=_path(images.index, at)) for at in beside)
    return Absent(images=name, salt=commitments.salt.hex(), neighbours=neighbours)


def reopen(commitments: Commitments, step: int, members: Sequence[int], external: Sequence[int]) -> Reopened:
    """The images of a step, by their positions."""

    def opened(name: SetName, positions: Sequence[int]) -> tuple[BatchImage, ...]:
        images = commitments.sets[name]
        return tuple(BatchImage(**_leaf(images, at).model_dump(), pixels=images.pixels[at].hex()) for at in positions)

    return Reopened(step=step, members=opened("members", members), external=opened("external", external))


def check(proof: Included | Absent, commitment: DataCommitment, pixels: bytes) -> None:
    """Whether a proof about an image holds.

    Args:
        commitment: from the statement or the log. pixels: the image's digest, worked out by whoever checks.

    Raises:
        EvidenceError: it does not; the reason.
    """
    if isinstance(proof, Included):
        _check_leaf(proof.leaf, proof.images, commitment, pixels)
        return
    salt = bytes.fromhex(proof.salt)
    if salt_commitment(salt) != commitment.salt:
        raise EvidenceError("proof: its index salt is not the one that was committed to")
    committed, key = commitment.of(proof.images), index_key(salt, pixels)
    for each in proof.neighbours:
        root = _root(bytes.fromhex(each.key), each.position, committed.keys, each.path)
        if root != committed.index:
            raise EvidenceError(f"proof: neighbour {each.position} is not in the index of the {proof.images}")
    positions = [each.position for each in proof.neighbours]
    keys = [bytes.fromhex(each.key) for each in proof.neighbours]
    if key in keys:
        raise EvidenceError(f"proof: the image is one of the {proof.images}", "Its key stands in the index")
    below = [position for position, each in zip(positions, keys, strict=True) if each < key]
    above = [position for position, each in zip(positions, keys, strict=True) if each > key]
    first, last = not below and above == [0], not above and below == [committed.keys - 1]
    between = len(below) == len(above) == 1 and below[0] + 1 == above[0]
    if not (first or last or between):
        raise EvidenceError(
            f"proof: its neighbours do not stand around this image's place in the index of the {proof.images}",
            "It is a proof about another image, or no proof at all",
        )


def check_step(proof: Reopened, commitment: DataCommitment, members: Sequence[int], external: Sequence[int]) -> None:
    """Whether these were the images of a step.

    Args:
        members, external: the positions that the experiment gives the step.

    Raises:
        EvidenceError: they were not; names the first that is wrong.
    """
    wanted: dict[SetName, Sequence[int]] = {"members": members, "external": external}
    for name, positions in wanted.items():
        batch: tuple[BatchImage, ...] = getattr(proof, name)
        if [each.position for each in batch] != list(positions):
            raise EvidenceError(f"proof: step {proof.step} has other {name} than the experiment gives it")
        for each in batch:
            _check_leaf(each, name, commitment, bytes.fromhex(each.pixels))


def encode_file(file: ProofFile) -> bytes:
    """As it is written down."""
    return (file.model_dump_json() + "\n").encode()


def decode_file(raw: bytes) -> ProofFile:
    """Raises: EvidenceError: it is not a proof, or one of a newer version."""
    try:
        return ProofFile.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = excerpt(".".join(str(part) for part in first["loc"])) or "the file"
        if key == "version":
            raise EvidenceError("proof: it is of another version", "Use the version that made it") from None
        raise EvidenceError(f"proof: {key} is not as a proof has it") from None


def _leaf(images: Images, position: int) -> Leaf:
    return Leaf(
        position=position,
        label=images.labels[position],
        salt=images.salts[position].hex(),
        path=_path(images.leaves, position),
    )


def _path(tree: Tree, position: int) -> tuple[str, ...]:
    return tuple(each.hex() for each in tree.proof(position))


def _root(data: bytes, position: int, size: int, path: Sequence[str]) -> str | None:
    found = root_from_proof(leaf_hash(data), position, size, [bytes.fromhex(each) for each in path])
    return None if found is None else found.hex()


def _check_leaf(leaf: Leaf, name: SetName, commitment: DataCommitment, pixels: bytes) -> None:
    committed = commitment.of(name)
    data = leaf_data(name, bytes.fromhex(leaf.salt), leaf.label, pixels)
    if _root(data, leaf.position, committed.size, leaf.path) != committed.root:
        raise EvidenceError(
            f"proof: this image is not number {leaf.position} of the {name}",
            "It is a proof about another image, set or run, or it was changed",
        )
