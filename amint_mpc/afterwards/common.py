"""What both sides of a private query have in common (`afterwards.query`)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from pydantic import BaseModel, ValidationError
from torch import Tensor

from amint_mpc.config import Experiment, Role
from amint_mpc.data.registry import dataset
from amint_mpc.errors import ProtocolError
from amint_mpc.events import OnProgress
from amint_mpc.evidence.canonical import Value, pixels_digest
from amint_mpc.evidence.entries import images_digest
from amint_mpc.evidence.files import LOG
from amint_mpc.evidence.log import Log
from amint_mpc.evidence.verify import Verified
from amint_mpc.identity import Identity
from amint_mpc.mpc.correlations.supply import Supply
from amint_mpc.runlog.countersigning import countersign
from amint_mpc.transport.channel import Channel


@dataclass(frozen=True)
class QuerySide:
    """What both sides of a query have.

    Args:
        run: the folder of this party's run. found: its evidence, verified.
        own, certificate: who signs, and whose signature is expected.
        session: of the link. link: to the other party. supply: of masks.
    """

    run: Path
    found: Verified
    own: Identity
    certificate: x509.Certificate
    session: bytes
    link: Channel
    supply: Supply
    on_progress: OnProgress = lambda *_: None

    @property
    def peer(self) -> Role:
        return "developer" if self.own.role == "auditor" else "auditor"

    @property
    def experiment(self) -> Experiment:
        return self.found.experiment

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

    def write_down(self, pixels: list[bytes]) -> None:
        """Append the query to the log and sign it with the other party; where that fails the log stays as it was."""
        file = self.run / LOG
        length = file.stat().st_size
        try:
            self._append(pixels)
        except BaseException:
            os.truncate(file, length)
            raise

    def _append(self, pixels: list[bytes]) -> None:
        with Log.resume(self.run / LOG) as log:
            before = log.head().size
            record: dict[str, Value] = {
                "session": self.session.hex(),
                "images": len(pixels),
                "digest": images_digest(pixels),
                "canaries": [],
                "decoders": {"developer": None, "auditor": None},
            }
            log.append("query", record)
            countersign(log, self.own, self.certificate, self.peer, self.link, 0, before)


def digests(images: Tensor) -> list[bytes]:
    """Of each image's pixels, 32 bytes. Args: images: uint8 [n, C, H, W]."""
    return [bytes.fromhex(pixels_digest(image)) for image in images]


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
