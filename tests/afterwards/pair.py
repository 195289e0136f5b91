"""Both parties of a private query in one process."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from amint_mpc import identity
from amint_mpc.afterwards import parties, query
from amint_mpc.afterwards.common import QuerySide
from amint_mpc.afterwards.proving import Prover
from amint_mpc.config import Experiment
from amint_mpc.data.split import SplitImages
from amint_mpc.evidence.session import AgreedSession
from amint_mpc.evidence.software_digests import software
from amint_mpc.evidence.verify import verify
from amint_mpc.models.classifier import Classifier
from amint_mpc.mpc.correlations.base import Plan
from amint_mpc.roles.plans import scoring_stretch
from amint_mpc.runlog.expected import ExpectedEntries
from amint_mpc.transport.channel import Channel, FramedChannel, memory_pair
from tests.evidence.bundles import Bundle
from tests.mpc.local_dealer import local_supplies


def used_by(experiment: Experiment, count: int) -> list[Plan]:
    """What scoring so many rows uses: here every block is right, and none is checked."""
    part = scoring_stretch(experiment, count)
    return [part.plan(place) for place in range(part.used)]


class Pair:
    """Both parties' folders of one run, to be queried."""

    def __init__(self, folders: dict[str, Bundle], to: Path) -> None:
        self.folders = {role: bundle.copy(to / role) for role, bundle in folders.items()}
        self.keys = self.folders["auditor"].keys
        developer = self.folders["developer"].path
        self.prover = Prover.load(developer, None)
        self.classifier = parties.classifier(self.prover.experiment, developer / "backbone.safetensors", "cpu")
        auditors = self.folders["auditor"].path
        self.head, self.recorded = (
            parties.head_of(self.prover.experiment, auditors),
            parties.scores(self.prover.experiment, auditors),
        )

    @property
    def images(self) -> SplitImages:
        return self.prover.images

    def side(self, role: Any, link: Channel, supply: Any, max_queries: int | None = None) -> QuerySide:
        found = verify(self.folders[role].path, ExpectedEntries)
        if max_queries is not None:
            evidence = found.experiment.evidence.model_copy(update={"max_queries": max_queries})
            object.__setattr__(found, "experiment", found.experiment.model_copy(update={"evidence": evidence}))
        own = identity.load(self.keys / role, role)
        peer = identity.trusted(self.keys / role, "developer" if role == "auditor" else "auditor")
        other: Any = "developer" if role == "auditor" else "auditor"
        session = AgreedSession(b"\1" * 32, other, {each: software() for each in ("developer", "auditor")})
        return QuerySide(self.folders[role].path, found, own, peer, session, link, supply)

    def ask(
        self,
        images: Tensor,
        canaries: int = 0,
        opens: int = 10,
        classifier: Classifier | None = None,
        limits: tuple[int | None, int | None] = (None, None),
        watch: Callable[[FramedChannel], Any] = lambda link: link,
    ) -> query.QueryResult:
        to_auditor, to_developer = memory_pair()
        experiment = self.prover.experiment
        seed = int.from_bytes(os.urandom(4), "little")
        supplies = local_supplies(used_by(experiment, len(images) + canaries), seed)
        developer = self.side("developer", watch(to_auditor), supplies[0], limits[0])
        auditor = self.side("auditor", to_developer, supplies[1], limits[1])
        told: list[int] = []

        def answer() -> int:
            try:
                return query.answer(developer, classifier or self.classifier, self.prover, opens, told.append)
            except BaseException:
                to_auditor.abort("failed")
                raise

        with ThreadPoolExecutor(1) as pool:
            answered = pool.submit(answer)
            try:
                found = query.ask(auditor, images, self.head, self.recorded, canaries)
            except BaseException:
                to_developer.abort("failed")
                self.answered = answered.exception()
                raise
            assert [answered.result()] == told == [len(images) + canaries]
        to_auditor.close()
        to_developer.close()
        return found


def mixed(images: SplitImages) -> Tensor:
    return torch.cat([images.members[:5], images.external[:4], images.unseen[:3]])
