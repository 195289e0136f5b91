"""What both sides of a private query have in common (`afterwards.query`)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from pydantic import BaseModel, ValidationError
from torch import Tensor

from amint_mpc.config import PARTIES, Experiment, Role
from amint_mpc.data.registry import dataset
from amint_mpc.errors import ProtocolError, UsageError
from amint_mpc.events import OnProgress
from amint_mpc.evidence.canonical import Value, pixels_digest
from amint_mpc.evidence.files import LOG
from amint_mpc.evidence.log import Log
from amint_mpc.evidence.session import AgreedSession
from amint_mpc.evidence.verify import Verified
from amint_mpc.identity import Identity
from amint_mpc.roles.masks import QueryMasks
from amint_mpc.runlog.countersigning import LogsDiffer, countersign
from amint_mpc.transport.channel import Channel
from amint_mpc.transport.hashing import Digests, HashingChannel


@dataclass(frozen=True)
class QuerySide:
    """What both sides of a query have.

    Args:
        run: the folder of this party's run. found: its evidence, verified.
        own, certificate: who signs, and whose signature is expected.
        session: of the link, with the software of both. link: to the other party. supply: of masks.
    """

    run: Path
    found: Verified
    own: Identity
    certificate: x509.Certificate
    session: AgreedSession
    link: Channel
    supply: QueryMasks
    on_progress: OnProgress = lambda *_: None

    @property
    def peer(self) -> Role:
        return "developer" if self.own.role == "auditor" else "auditor"

    @property
    def experiment(self) -> Experiment:
        return self.found.experiment

    @property
    def decoders(self) -> dict[Role, str | None]:
        """What each of the two says it reads image files with."""
        return {role: self.session.software[role].decoder for role in PARTIES}

    @property
    def run_id(self) -> str:
        """The session of the run that is asked about."""
        return str(self.found.log.begin["session"])

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an image, (C, H, W)."""
        return dataset(self.experiment.data).shape

    def refuses(self, images: int) -> str | None:
        """Why so many images are too many; None: they are not."""
        limit, used = self.experiment.evidence.max_queries, self.found.log.queried
        if images <= limit - used:
            return None
        return f"{images} images are asked about; of {limit} that the experiment allows, {used} are used up"

    def write_query(self, images: int, digest: str, canaries: Sequence[int]) -> None:
        """Append the query to the log and sign it with the other party; where that fails the log stays as it was.

        Args:
            images: that will be scored, canaries among them. digest: of those that the auditor brings.
            canaries: positions of the members that will be opened.

        Raises:
            ProtocolError: the other party's log differs, or its signature is wrong.
        """
        decoders: dict[str, Value] = dict(self.decoders.items())
        record: dict[str, Value] = {
            "session": self.session.id.hex(),
            "images": images,
            "digest": digest,
            "canaries": list(canaries),
            "decoders": decoders,
        }
        self._append_signed("query", record, 0)

    def write_answer(self, frames: Digests) -> None:
        """The same for what was sent since the query was signed.

        Args:
            frames: digests of what this party sent and received.

        Raises:
            ProtocolError: the two did not observe the same frames.
        """
        both: dict[str, Value] = dict(zip((self.own.role, self.peer), frames, strict=True))
        try:
            self._append_signed("answer", {"frames": both}, 1)
        except LogsDiffer:
            raise ProtocolError(
                "what one party sent in this query is not what the other received: neither signs the answer, and its "
                "scores are not given out",
                "The query is in both logs and counts. Ask again; if it happens again, something between the two "
                "programs changes what they send",
            ) from None

    def _append_signed(self, kind: str, record: Mapping[str, Value], number: int) -> None:
        file = self.run / LOG
        length = file.stat().st_size
        try:
            with Log.resume(file) as log:
                before = log.head().size
                log.append(kind, record)
                countersign(log, self.own, self.certificate, self.peer, self.link, number, before)
        except OSError as error:
            os.truncate(file, length)  # half of it may have been written
            raise UsageError(f"cannot write {file}: {error.strerror}", "Is the disk full?") from None


@contextmanager
def hashed(link: Channel) -> Iterator[HashingChannel]:
    """The link with digests of what crosses it, for as long as the context lasts."""
    hashing = HashingChannel(link)
    try:
        yield hashing
    finally:
        hashing.end()


def frames_of(hashing: HashingChannel) -> Digests:
    """Of all that has crossed it."""
    found: list[Digests] = []
    hashing.mark(found.append)
    hashing.drain()
    return found[0]


def digests(images: Tensor) -> list[bytes]:
    """Of each image's pixels, 32 bytes. Args: images: uint8 [n, C, H, W]."""
    return [bytes.fromhex(pixels_digest(image)) for image in images]


def check_own_model(experiment: Experiment, instead: str) -> None:
    """For what builds the classifier of a run again. Args: instead: what to do otherwise.

    Raises:
        UsageError: it belongs to a training loop of the developer's own.
    """
    if experiment.head.features is not None:
        raise UsageError("this run had a training loop of its own, whose model this program cannot build", instead)


_Told = TypeVar("_Told", bound=BaseModel)


def read(model: type[_Told], value: object, what: str) -> _Told:
    """What came from the other party.

    Raises:
        ProtocolError: it is not of this form.
    """
    try:
        return model.model_validate(value)
    except ValidationError:
        raise ProtocolError(f"a malformed {what} came", "Use the same version on both sides") from None
