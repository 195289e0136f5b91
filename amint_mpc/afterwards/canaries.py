"""Images that a developer opens in a query: canaries, and those that are in its committed external set."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from amint_mpc.afterwards.common import QuerySide, read
from amint_mpc.afterwards.proving import Prover
from amint_mpc.errors import EvidenceError, ProtocolError
from amint_mpc.evidence.canonical import pixels_digest
from amint_mpc.evidence.commitments import DataCommitment
from amint_mpc.evidence.proofs import Included, check, prove

PROOF, POSITIONS, EXTERNAL = "query-proof", "query-canaries", "query-external"
CANARY_TOLERANCE = 0.05
"""Of the logit: features of an image differ a little with the batch it is in, and fixed point rounds."""


def open_members(side: QuerySide, recorded: Mapping[str, Tensor], count: int) -> tuple[Tensor, Tensor]:
    """Random members, opened by the developer and checked. Returns pixels, and the logits that the run gave them."""
    members = torch.cat([recorded["members_calibration"], recorded["members_report"]]).double()
    if not count:
        return torch.empty((0, *side.shape), dtype=torch.uint8), members[:0]
    random = np.random.Generator(np.random.PCG64(secrets.randbits(128)))
    positions = torch.from_numpy(random.permutation(len(members))[:count])
    side.link.send(POSITIONS, 0, positions)
    (opened,) = side.link.receive(POSITIONS, 0, (torch.uint8, (count, *side.shape)))
    for position, image in zip(positions.tolist(), opened, strict=True):
        proof = _proof(side, "members", image)
        if proof.leaf.position != position:
            raise EvidenceError(f"proof: member {proof.leaf.position} was opened instead of member {position}")
    return opened, members[positions].logit()


def show_members(side: QuerySide, prover: Prover, count: int) -> None:
    """The developer's side of `open_members`."""
    (positions,) = side.link.receive(POSITIONS, 0, (torch.int64, (count,)))
    members = prover.images.members
    if len(set(positions.tolist())) != count or not 0 <= int(positions.min()) <= int(positions.max()) < len(members):
        raise ProtocolError("the auditor's canaries are not numbers of members")
    side.link.send(POSITIONS, 0, members[positions].contiguous())
    for position in positions.tolist():
        side.link.send_json(PROOF, prover.position("members", position).proof.model_dump(mode="json"))


def _proof(side: QuerySide, name: str, image: Tensor | bytes) -> Included:
    """The next proof of presence, checked."""
    proof = read(Included, side.link.receive_json(PROOF), "proof")
    if proof.images != name:
        raise EvidenceError(f"proof: it is about the {proof.images}, not about the {name}")
    pixels = image if isinstance(image, bytes) else bytes.fromhex(pixels_digest(image))
    check(proof, DataCommitment.model_validate(side.found.log.begin["data"]), pixels)
    return proof


def prove_external(side: QuerySide, prover: Prover, pixels: list[bytes]) -> None:
    """The developer's side of `proven_external`."""
    external = set(prover.commitments.sets["external"].pixels)
    side.link.send(EXTERNAL, 0, torch.tensor([image in external for image in pixels], dtype=torch.uint8))
    for image in pixels:
        if image in external:
            proof = prove(prover.commitments, "external", image)
            side.link.send_json(PROOF, proof.model_dump(mode="json"))


def proven_external(side: QuerySide, pixels: list[bytes]) -> list[bool]:
    """Of each image, by the digest of its pixels: whether the developer proved that it is in the external set.

    Raises:
        EvidenceError: a proof does not hold.
    """
    (claimed,) = side.link.receive(EXTERNAL, 0, (torch.uint8, (len(pixels),)))
    for image, external in zip(pixels, claimed.tolist(), strict=True):
        if external:
            _proof(side, "external", image)
    return [bool(each) for each in claimed.tolist()]


def check_canaries(logits: Tensor, expected: Tensor) -> None:
    """Raises: ProtocolError: some of them are not what the run said of the same images."""
    off = (logits - expected).abs()
    wrong = int((off > CANARY_TOLERANCE).sum())
    if wrong:
        raise ProtocolError(
            f"{wrong} of {len(logits)} canaries do not score as they did in the run: their logits are off by up to "
            f"{float(off.max()):.3g}, where {CANARY_TOLERANCE} is allowed",
            "The developer answered with another classifier or other features; these scores say nothing",
        )
