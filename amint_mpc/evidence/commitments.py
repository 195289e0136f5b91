"""What the developer says of its images before the first step, so that it cannot say something else afterwards.

For the members, the external and the unseen images two Merkle trees each (RFC 6962 hashing, `merkle`):

    leaves   one for each image, in the order of the split, so that a batch's positions name them:
             "amint-mpc leaf 1" 0 | set 0 | salt (16 bytes) | label (i32 little-endian, -1: none) | digest of pixels
    index    the keys of all different images, sorted: HMAC-SHA-256(index salt, digest of the pixels)

and one SHA-256 of the index salt. All salts come from one secret of 32 bytes that stays the developer's:

    salt of a leaf   first 16 bytes of HMAC-SHA-256(secret, "leaf" 0 | set 0 | position u64 little-endian)
    index salt       HMAC-SHA-256(secret, "index" 0)

Who learns what: from the public part, how many images and how many different ones there are. No guess at an image can
be tried, for every leaf and key has a salt that is not told. What a proof tells is said in `proofs`.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from amint_mpc.config import Data
from amint_mpc.data.split import SplitImages
from amint_mpc.errors import EvidenceError
from amint_mpc.evidence.canonical import Value, pixels_digest, sha256
from amint_mpc.evidence.merkle import Tree, leaf_hash
from amint_mpc.evidence.software_digests import Digest

SetName: TypeAlias = Literal["members", "external", "unseen"]
COMMITTED_SETS: tuple[SetName, ...] = ("members", "external", "unseen")
SECRET_BYTES, SALT_BYTES = 32, 16
NO_LABEL = -1
_Size = Annotated[int, Field(ge=0, lt=2**53)]


class _Public(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class SetCommitment(_Public):
    """To the images of one set. size, root: of the leaves. keys, index: number and root of the sorted keys."""

    size: _Size
    root: Digest
    keys: _Size
    index: Digest


class DataCommitment(_Public):
    """The public part: in the log's first entry and in the statement. salt: SHA-256 that binds the index salt."""

    members: SetCommitment
    external: SetCommitment
    unseen: SetCommitment
    salt: Digest

    def of(self, name: SetName) -> SetCommitment:
        """One set's."""
        found: SetCommitment = getattr(self, name)
        return found

    def check_sizes(self, data: Data) -> None:
        """Whether it is one to as many images as the experiment has.

        Raises:
            EvidenceError: it is not.
        """
        for name in COMMITTED_SETS:
            size, wanted = self.of(name).size, int(getattr(data, name))
            if size != wanted or not 0 < self.of(name).keys <= size:
                raise EvidenceError(f"images: the commitment is to {size} {name}, the experiment has {wanted}")


class Images:
    """One set, with all that proofs about it need.

    Args:
        name: of the set.
        pixels: the digest of each image, 32 bytes.
        labels: of each, `NO_LABEL` where none is used.
    """

    def __init__(self, name: SetName, pixels: Sequence[bytes], labels: Sequence[int], secret: bytes) -> None:
        self.name, self.pixels, self.labels = name, list(pixels), list(labels)
        self.salts = [leaf_salt(secret, name, position) for position in range(len(self.pixels))]
        self.leaves = Tree([leaf_hash(self.leaf(position)) for position in range(len(self.pixels))])
        salt = index_salt(secret)
        self.keys = sorted({index_key(salt, digest) for digest in self.pixels})
        self.index = Tree([leaf_hash(key) for key in self.keys])

    def leaf(self, position: int) -> bytes:
        """The data of a leaf."""
        return leaf_data(self.name, self.salts[position], self.labels[position], self.pixels[position])

    def public(self) -> SetCommitment:
        """What is told of it."""
        return SetCommitment(
            size=self.leaves.size, root=self.leaves.root.hex(), keys=self.index.size, index=self.index.root.hex()
        )

    def __repr__(self) -> str:
        return f"Images({self.name}, {len(self.pixels)})"


class Commitments:
    """All three sets, as the developer has them.

    Args:
        images: of the experiment. secret: `SECRET_BYTES` random bytes, made for this run.
    """

    def __init__(self, images: SplitImages, secret: bytes) -> None:
        if len(secret) != SECRET_BYTES:
            raise ValueError(f"the secret has {SECRET_BYTES} bytes")
        self.salt = index_salt(secret)
        labels: Mapping[SetName, list[int]] = {
            "members": images.member_labels.tolist(),
            "external": [NO_LABEL] * len(images.external),
            "unseen": images.unseen_labels.tolist(),
        }
        pixels: dict[str, list[bytes]] = {name: [] for name in COMMITTED_SETS}
        for name, image in images.each():
            pixels[name].append(bytes.fromhex(pixels_digest(image)))
        self.sets: dict[SetName, Images] = {
            name: Images(name, pixels[name], labels[name], secret) for name in COMMITTED_SETS
        }

    def public(self) -> DataCommitment:
        """What the auditor is told, and what the log holds."""
        told = {name: images.public() for name, images in self.sets.items()}
        return DataCommitment(**told, salt=salt_commitment(self.salt))

    def record(self) -> dict[str, Value]:
        """`public` as a plain record."""
        record: dict[str, Value] = self.public().model_dump()
        return record

    def __repr__(self) -> str:
        return f"Commitments({', '.join(f'{len(images.pixels)} {name}' for name, images in self.sets.items())})"


def leaf_data(name: SetName, salt: bytes, label: int, pixels: bytes) -> bytes:
    """What a leaf is the hash of. Args: pixels: their digest."""
    return b"amint-mpc leaf 1\0" + name.encode() + b"\0" + salt + label.to_bytes(4, "little", signed=True) + pixels


def leaf_salt(secret: bytes, name: SetName, position: int) -> bytes:
    """Of the leaf of one image."""
    message = b"leaf\0" + name.encode() + b"\0" + position.to_bytes(8, "little")
    return hmac.digest(secret, message, "sha256")[:SALT_BYTES]


def index_salt(secret: bytes) -> bytes:
    """Under which the keys of all sets are made."""
    return hmac.digest(secret, b"index\0", "sha256")


def index_key(salt: bytes, pixels: bytes) -> bytes:
    """The key of an image. Args: pixels: their digest."""
    return hmac.digest(salt, pixels, "sha256")


def salt_commitment(salt: bytes) -> str:
    """SHA-256 (hex) that binds the index salt."""
    return sha256(b"amint-mpc index salt 1\0", salt)
