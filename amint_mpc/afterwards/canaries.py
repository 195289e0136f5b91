"""Images that a developer opens in a query: canaries, and those that are in its committed external set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from amint_mpc.afterwards.common import QuerySide, read
from amint_mpc.afterwards.proving import Prover
from amint_mpc.errors import EvidenceError, ProtocolError
from amint_mpc.evidence.canonical import pixels_digest
from amint_mpc.evidence.commitments import DataCommitment
from amint_mpc.evidence.proofs import Included, check, prove
from amint_mpc.transport.channel import Channel

PROOF, CANARIES, EXTERNAL = "query-proof", "query-canaries", "query-external"
CANARY_TOLERANCE = 0.05
"""Of the logit: features of an image differ a little with the batch it is in, and fixed point rounds."""
SURE = 1e-12
"""Scores nearer than this to 0 or 1 are all the same: their logits are rounding errors."""


def open_members(side: QuerySide, link: Channel, positions: Sequence[int]) -> Tensor:
    """Receive the members that both have drawn, and check that they are the committed ones.

    Returns:
        pixels, uint8 [n, C, H, W].

    Raises:
        EvidenceError: one is not.
    """
    if not positions:
        return torch.empty((0, *side.shape), dtype=torch.uint8)
    (opened,) = link.receive(CANARIES, 0, (torch.uint8, (len(positions), *side.shape)))
    for position, image in zip(positions, opened, strict=True):
        proof = _proof(side, link, "members", bytes.fromhex(pixels_digest(image)))
        if proof.leaf.position != position:
            raise EvidenceError(f"proof: member {proof.leaf.position} was opened instead of member {position}")
    return opened


def show_members(link: Channel, prover: Prover, positions: Sequence[int]) -> Tensor:
    """The developer's side of `open_members`. Returns the same."""
    members = prover.images.members[list(positions)].contiguous()
    if positions:
        link.send(CANARIES, 0, members)
        for position in positions:
            link.send_json(PROOF, prover.position("members", position).proof.model_dump(mode="json"))
    return members


def prove_external(link: Channel, prover: Prover, pixels: Sequence[bytes]) -> None:
    """The developer's side of `proven_external`."""
    external = set(prover.commitments.sets["external"].pixels)
    link.send(EXTERNAL, 0, torch.tensor([image in external for image in pixels], dtype=torch.uint8))
    for image in pixels:
        if image in external:
            proof = prove(prover.commitments, "external", image)
            link.send_json(PROOF, proof.model_dump(mode="json"))


def proven_external(side: QuerySide, link: Channel, pixels: Sequence[bytes]) -> list[bool]:
    """Of each image, by the digest of its pixels: whether the developer proved that it is in the external set.

    Raises:
        EvidenceError: a proof does not hold.
    """
    (claimed,) = link.receive(EXTERNAL, 0, (torch.uint8, (len(pixels),)))
    for image, external in zip(pixels, claimed.tolist(), strict=True):
        if external:
            _proof(side, link, "external", image)
    return [bool(each) for each in claimed.tolist()]


def recorded_members(recorded: Mapping[str, Tensor], positions: Sequence[int]) -> Tensor:
    """Scores that the run ended with. Args: recorded: of the five sets."""
    return torch.cat([recorded["members_calibration"], recorded["members_report"]]).double()[list(positions)]


def check_canaries(scores: Tensor, recorded: Tensor) -> None:
    """Whether canaries score as in the run. Args: scores, recorded: probabilities, float64 [n].

    Raises:
        ProtocolError: some of them do not, or are no numbers.
    """
    off = (scores.logit(SURE) - recorded.logit(SURE)).abs()
    wrong = int((~(off <= CANARY_TOLERANCE)).sum())  # what is no number is wrong, too
    if wrong:
        raise ProtocolError(
            f"{wrong} of {len(scores)} canaries do not score as they did in the run: their logits are off by up to "
            f"{float(off.max()):.3g}, where {CANARY_TOLERANCE} is allowed",
            "The developer answered with another classifier or other features; these scores say nothing",
        )


def _proof(side: QuerySide, link: Channel, name: str, pixels: bytes) -> Included:
    """The next proof of presence, checked."""
    proof = read(Included, link.receive_json(PROOF), "proof")
    if proof.images != name:
        raise EvidenceError(f"proof: it is about the {proof.images}, not about the {name}")
    check(proof, DataCommitment.model_validate(side.found.log.begin["data"]), pixels)
    return proof
