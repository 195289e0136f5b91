"""The private query: the auditor learns membership scores of images of its own, after a run, and nobody else does.

1. ask        auditor -> developer: how many images, how many canaries among them. The developer says if it answers.
2. canaries   The auditor names members by random numbers; the developer opens them: pixels, and proofs that they are
              the committed ones. The auditor puts them at random places among its images.
3. images     auditor -> developer: the pixels, and so which images are asked about.
4. log        Both append how many images and which (a digest) to the log of the run, and sign it. From here on the
              query counts, whatever happens to the links.
5. score      The developer runs its classifier on the images, and both run the head under secure computation, with
              shares and masks that are fresh: the protocol of the run's own scorings (`mpc.dense.layers.score_plan`).
6. external   The developer proves which of the images are in its committed external set.

Who learns what: the developer the images, and nothing of scores and head. The auditor the scores, and whose image is
external; nothing of activations and classifier. The dealer how many images.
Rounds: those of a scoring for each 256 images; bytes: `QueryResult.bytes_sent`.

Guarantees
    The head is the one that the run's log ends with, and so is the classifier if the developer is honest.
    Both count images against `evidence.max_queries`, in the log that both sign before a score is computed.
    A canary whose score is not the one that the run itself ended with raises a `ProtocolError`.

Edge cases
    A developer knows which members it has opened. It can answer rightly for those and wrongly for others; canaries
    catch one that answers with another classifier, or with features that it makes up for images in general.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from amint_mpc.afterwards.canaries import check_canaries, open_members, prove_external, proven_external, show_members
from amint_mpc.afterwards.common import QuerySide, digests, read
from amint_mpc.afterwards.proving import Prover
from amint_mpc.amint.schedule import SCORE_BATCH
from amint_mpc.config import Experiment, Role
from amint_mpc.errors import ProtocolError, UsageError
from amint_mpc.models.classifier import Classifier, to_unit_range
from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.prg import SEED_BYTES, SecretStream
from amint_mpc.printable import excerpt
from amint_mpc.roles.heads import shared_head
from amint_mpc.roles.scoring import scored
from amint_mpc.transport.channel import Channel

ASK, ANSWER, PIXELS, COUNT = "query", "query-answer", "query-pixels", "query-count"


class _Ask(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    run: str = Field(pattern=r"^[0-9a-f]{64}$")
    images: int = Field(gt=0, lt=2**31)
    canaries: int = Field(ge=0, lt=2**31)


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
    """

    scores: Tensor
    external: list[bool]
    canaries: int
    rounds: int
    bytes_sent: int
    bytes_received: int


def ask(
    side: QuerySide, images: Tensor, head: Mapping[str, Tensor], recorded: Mapping[str, Tensor], canaries: int
) -> QueryResult:
    """The auditor's side.

    Args:
        images: uint8 [n, C, H, W]. head: the run's, by name. recorded: the scores at the run's end.
        canaries: members to be opened and mixed in.

    Raises:
        UsageError: the developer does not answer; its reason.
        ProtocolError: a canary has another score than in the run, or a message is not what the protocol allows.
        EvidenceError: an opened member or an external image is not the committed one.
    """
    total = len(images) + canaries
    if too_many := side.refuses(total):
        raise UsageError(too_many, "The limit is evidence.max_queries of the experiment, and both count")
    side.link.send_json(ASK, {"run": side.run_id, "images": total, "canaries": canaries})
    answer = read(_Answer, side.link.receive_json(ANSWER), "answer")
    if answer.refused is not None:
        raise UsageError(f"the developer does not answer: {excerpt(answer.refused, 300)}")
    opened, expected = open_members(side, recorded, canaries)
    # Where the canaries stand is this machine's secret until the developer has answered for all images.
    order = torch.from_numpy(np.random.Generator(np.random.PCG64(secrets.randbits(128))).permutation(total))
    mixed = torch.cat([images, opened])[order]
    for number, batch in enumerate(torch.split(mixed, SCORE_BATCH)):
        side.link.send(PIXELS, number, batch)
    pixels = digests(mixed)
    side.write_down(pixels)
    logits, rounds, sent, received = _score(side, head, total)
    external = proven_external(side, pixels)
    back = torch.argsort(order)
    check_canaries(logits[back][len(images) :], expected)
    scores = logits[back][: len(images)].sigmoid()
    flags = [external[int(at)] for at in back[: len(images)]]
    return QueryResult(scores, flags, canaries, rounds, sent, received)


def answer(
    side: QuerySide, classifier: Classifier, prover: Prover, opens: int, tell_dealer: Callable[[int], None]
) -> int:
    """The developer's side, for one query. Returns how many images there were.

    Args:
        classifier: at the run's end. prover: for canaries and external images.
        opens: members that this developer is willing to open. tell_dealer: is given the number of images.

    Raises:
        UsageError: the query is refused; the auditor is told why.
    """
    asked = read(_Ask, side.link.receive_json(ASK), "query")
    refused = side.refuses(asked.images)
    if asked.canaries > min(opens, side.experiment.data.members):
        refused = f"{asked.canaries} canaries are asked for, this developer opens {opens} (--open-members)"
    if asked.canaries >= asked.images:
        refused = "there are no images but canaries"
    if asked.run != side.run_id:
        refused = f"it is about another run ({asked.run[:12]}, here {side.run_id[:12]}) of the same experiment"
    side.link.send_json(ANSWER, {"refused": refused})
    if refused is not None:
        side.link.flush()
        raise UsageError(f"the query was refused: {refused}")
    tell_dealer(asked.images)
    if asked.canaries:
        show_members(side, prover, asked.canaries)
    batches = []
    for number, rows in enumerate(frame_rows(asked.images)):
        batches += side.link.receive(PIXELS, number, (torch.uint8, (rows, *side.shape)))
    images = torch.cat(batches)
    pixels = digests(images)
    side.write_down(pixels)
    head = shared_head(side.experiment, side.link, DEVELOPER, side.supply)
    head.share_weights(None, None)
    features = torch.cat([features_of(classifier, batch) for batch in batches])
    scored(head, features, asked.images, lambda done: side.on_progress("images", done, asked.images))
    prove_external(side, prover, pixels)
    side.link.flush()
    return asked.images


def frame_rows(images: int) -> list[int]:
    """How many images come in each message."""
    return [min(SCORE_BATCH, images - start) for start in range(0, images, SCORE_BATCH)]


def agreed_count(experiment: Experiment, links: Mapping[Role, Channel]) -> int:
    """The dealer hears from both how many images there are.

    Raises:
        ProtocolError: they do not agree, or it is more than the experiment allows.
    """
    counts = {role: int(link.receive(COUNT, 0, (torch.int64, (1,)))[0]) for role, link in links.items()}
    count = counts["auditor"]
    if count != counts["developer"] or not 0 < count <= experiment.evidence.max_queries:
        raise ProtocolError(f"a query of {counts['auditor']} images there, of {counts['developer']} here")
    return count


def tell_count(dealer: Channel, images: int) -> None:
    """Developer and auditor tell the dealer."""
    dealer.send(COUNT, 0, torch.tensor([images]))


@torch.no_grad()
def features_of(classifier: Classifier, batch: Tensor) -> Tensor:
    """What the head is given of images, uint8 [n, C, H, W] -> float32 [n, F], as in the run's scorings."""
    device = next(classifier.parameters()).device
    features: Tensor = classifier.eval()(to_unit_range(batch.to(device)))[1]
    return features.float().cpu()


def _score(side: QuerySide, weights: Mapping[str, Tensor], total: int) -> tuple[Tensor, int, int, int]:
    """Logits, float64 [total], and what they cost: rounds, bytes sent, bytes received."""
    head = shared_head(side.experiment, side.link, AUDITOR, side.supply)
    masks = SecretStream(secrets.token_bytes(SEED_BYTES), "shares of the head")
    drawn = masks.draw(0, [(torch.int64, shape) for shape in head.shapes.values()])
    stats = side.link.stats
    before = stats.rounds, stats.bytes_sent, stats.bytes_received
    head.share_weights(weights, dict(zip(head.shapes, drawn, strict=True)))
    logits = scored(head, None, total, lambda done: side.on_progress("images", done, total))
    assert logits is not None
    return (
        logits,
        stats.rounds - before[0],
        stats.bytes_sent - before[1],
        stats.bytes_received - before[2],
    )
