"""The private query: the auditor learns membership scores of images of its own, after a run, and nobody else does.

1. ask        auditor -> developer: how many images, a digest of those that it brings, how many canaries among them.
              The developer says if it answers.
2. draw       They toss a coin (`roles.coin`). With it both draw, each alone and the same: which members are the
              canaries, and in which order all rows are scored.
3. log        Both append how many images, the digest and the canaries to the log of the run, and sign it. From here on
              the query counts, whatever happens to the links; nothing has been opened before.
4. canaries   The developer opens the members that were drawn: pixels, and proofs that they are the committed ones.
5. images     auditor -> developer: the pixels. They must be those of the digest.
6. score      The developer runs its classifier on all rows, and both run the head under secure computation, with shares
              and masks that are fresh: the protocol of the run's own scorings (`mpc.dense.layers.score_plan`).
7. external   The developer proves which of the images are in its committed external set.
8. answer     Both append digests of all that was sent in steps 4 to 7, and sign that, too.

Who learns what: the developer the images, and nothing of scores and head. The auditor the scores, the canaries, and
whose image is external; nothing of activations and classifier. The dealer how many images, and nothing of their order.
Rounds: those of a scoring for each 256 images; bytes: `QueryResult.bytes_sent`.

Guarantees
    The head is the one that the run's log ends with, and so is the classifier if the developer is honest.
    Both count images against `evidence.max_queries`, in the log that both sign before an image is opened or sent.
    The developer opens the members that the coin has drawn, and no others.
    Scores are given out only after both have signed that they saw the same frames.
    A canary whose score is not the one that the run itself ended with raises a `ProtocolError`.

Edge cases
    A developer knows which members it has opened. It can answer rightly for those and wrongly for others; canaries
    catch one that answers with another classifier, or with features that it makes up for images in general.
    A party that sends something else than the protocol says, and hashes what it sends, signs that it did.
    A run of version 1 of the log can be queried; its log then has entries of both versions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from amint_mpc.afterwards.canaries import (
    check_canaries,
    open_members,
    prove_external,
    proven_external,
    recorded_members,
    show_members,
)
from amint_mpc.afterwards.common import QuerySide, digests, frames_of, hashed, read
from amint_mpc.afterwards.proving import Prover
from amint_mpc.amint.schedule import SCORE_BATCH
from amint_mpc.config import Role
from amint_mpc.errors import ProtocolError, UsageError
from amint_mpc.evidence.entries import MAX_CANARIES, images_digest
from amint_mpc.models.classifier import Classifier, to_unit_range
from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.printable import excerpt
from amint_mpc.random_order import drawn, permutation
from amint_mpc.roles.auditor import share_head
from amint_mpc.roles.coin import toss
from amint_mpc.roles.heads import shared_head
from amint_mpc.roles.scoring import scored
from amint_mpc.transport.channel import Channel

ASK, ANSWER, PIXELS = "query", "query-answer", "query-pixels"


_Hex32 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Ask(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    run: _Hex32
    images: int = Field(gt=0, lt=2**31)
    canaries: int = Field(ge=0, lt=2**31)
    digest: _Hex32


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    refused: str | None = Field(max_length=300)


@dataclass(frozen=True)
class QueryResult:
    """What the auditor has learned.

    Args:
        scores: membership probabilities of its images, float64 [n], in their order.
        external: of each, whether the developer proved that it is in the committed external set.
        canaries: how many were opened and scored as the run had scored them.
        rounds, bytes_sent, bytes_received: of the scoring, on the link between auditor and developer.
        decoders: what each of the two says it reads image files with; None: it does not say.
    """

    scores: Tensor
    external: list[bool]
    canaries: int
    rounds: int
    bytes_sent: int
    bytes_received: int
    decoders: Mapping[Role, str | None]


def ask(
    side: QuerySide, images: Tensor, head: Mapping[str, Tensor], recorded: Mapping[str, Tensor], canaries: int
) -> QueryResult:
    """The auditor's side.

    Args:
        images: uint8 [n, C, H, W]. head: the run's, by name. recorded: the scores at the run's end.
        canaries: members to be opened and mixed in.

    Raises:
        UsageError: the developer does not answer; its reason.
        ProtocolError: a canary has another score than in the run, the two saw different frames, or a message is not
            what the protocol allows.
        EvidenceError: an opened member or an external image is not the committed one.
    """
    total, pixels = len(images) + canaries, digests(images)
    if too_many := side.refuses(total) or too_many_canaries(side, canaries, MAX_CANARIES):
        raise UsageError(too_many, "The limit is evidence.max_queries of the experiment, and canaries count, too")
    digest = images_digest(pixels)
    side.link.send_json(ASK, {"run": side.run_id, "images": total, "canaries": canaries, "digest": digest})
    answer = read(_Answer, side.link.receive_json(ANSWER), "answer")
    if answer.refused is not None:
        raise UsageError(f"the developer does not answer: {excerpt(answer.refused, 300)}")
    positions, order = _draw(side, canaries, total)
    side.write_query(total, digest, positions)
    with hashed(side.link) as link:
        open_members(side, link, positions)
        for number, batch in enumerate(torch.split(images, SCORE_BATCH)):
            link.send(PIXELS, number, batch)
        logits, rounds, sent, received = _score(side, link, head, total)
        side.supply.finish()  # blocks after the last used one are checked, too
        external = proven_external(side, link, pixels)
        side.write_answer(frames_of(link))
    scores = logits[torch.argsort(order)].sigmoid()
    check_canaries(scores[len(images) :], recorded_members(recorded, positions))
    return QueryResult(scores[: len(images)], external, canaries, rounds, sent, received, side.decoders)


def answer(side: QuerySide, classifier: Classifier, prover: Prover, opens: int, tell: Callable[[int], None]) -> int:
    """The developer's side, for one query. Returns how many images there were.

    Args:
        classifier: at the run's end. prover: for canaries and external images.
        opens: members that this developer is willing to open. tell: is given the number of images.

    Raises:
        UsageError: the query is refused; the auditor is told why.
        ProtocolError: the auditor sends other images than it had named, the two saw different frames, or a message is
            not what the protocol allows.
    """
    asked = read(_Ask, side.link.receive_json(ASK), "query")
    refused = side.refuses(asked.images) or too_many_canaries(side, asked.canaries, opens)
    if asked.canaries >= asked.images:
        refused = "there are no images but canaries"
    if asked.run != side.run_id:
        refused = f"it is about another run ({asked.run[:12]}, here {side.run_id[:12]}) of the same experiment"
    side.link.send_json(ANSWER, {"refused": refused})
    if refused is not None:
        side.link.flush()
        raise UsageError(f"the query was refused: {refused}")
    tell(asked.images)
    positions, order = _draw(side, asked.canaries, asked.images)
    side.write_query(asked.images, asked.digest, positions)
    with hashed(side.link) as link:
        members = show_members(link, prover, positions)
        images = _receive_images(side, link, asked.images - asked.canaries, asked.digest)
        _answer_rows(side, link, classifier, torch.cat([images, members])[order])
        side.supply.finish()
        prove_external(link, prover, digests(images))
        side.write_answer(frames_of(link))
    side.link.flush()
    return asked.images


def frame_rows(images: int) -> list[int]:
    """How many images come in each message."""
    return [min(SCORE_BATCH, images - start) for start in range(0, images, SCORE_BATCH)]


@torch.no_grad()
def features_of(classifier: Classifier, batch: Tensor) -> Tensor:
    """What the head is given of images, uint8 [n, C, H, W] -> float32 [n, F], as in the run's scorings."""
    device = next(classifier.parameters()).device
    features: Tensor = classifier.eval()(to_unit_range(batch.to(device)))[1]
    return features.float().cpu()


def too_many_canaries(side: QuerySide, canaries: int, opens: int) -> str | None:
    """Why so many are too many; None: they are not. Args: opens: members that the developer opens at most."""
    most = min(opens, MAX_CANARIES, side.experiment.data.members)
    if canaries <= most:
        return None
    said = " (--open-members)" if most == opens else ""
    return f"{canaries} canaries are asked for, this developer opens {most}{said}"


def _draw(side: QuerySide, canaries: int, total: int) -> tuple[list[int], Tensor]:
    """Positions of the canaries among the members; for each row that is scored, which of images and canaries it is."""
    secret = toss(side.link, side.own.role)
    positions = drawn(secret, "canaries", side.experiment.data.members, canaries)
    return positions, permutation(secret, "order of the rows", total)


def _receive_images(side: QuerySide, link: Channel, count: int, digest: str) -> Tensor:
    """What the auditor asks about, uint8 [count, C, H, W]."""
    batches = []
    for number, rows in enumerate(frame_rows(count)):
        batches += link.receive(PIXELS, number, (torch.uint8, (rows, *side.shape)))
    images = torch.cat(batches)
    if images_digest(digests(images)) != digest:
        raise ProtocolError(
            "the auditor sent other images than those that it had named in the log",
            "They were not scored. The query counts",
        )
    return images


def _answer_rows(side: QuerySide, link: Channel, classifier: Classifier, rows: Tensor) -> None:
    head = shared_head(side.experiment, link, DEVELOPER, side.supply)
    head.share_weights(None, None)
    features = torch.cat([features_of(classifier, batch) for batch in torch.split(rows, SCORE_BATCH)])
    scored(head, features, len(rows), lambda done: side.on_progress("images", done, len(rows)))


def _score(side: QuerySide, link: Channel, weights: Mapping[str, Tensor], total: int) -> tuple[Tensor, int, int, int]:
    """Logits, float64 [total], and what they cost: rounds, bytes sent, bytes received."""
    head = shared_head(side.experiment, link, AUDITOR, side.supply)
    stats = side.link.stats
    before = stats.rounds, stats.bytes_sent, stats.bytes_received
    share_head(head, weights)
    logits = scored(head, None, total, lambda done: side.on_progress("images", done, total))
    assert logits is not None
    return (
        logits,
        stats.rounds - before[0],
        stats.bytes_sent - before[1],
        stats.bytes_received - before[2],
    )
