"""Whether a secure run computed what training in the clear computes: its steps again, with a plaintext head beside.

In two trainings the classifiers would drift apart, since every step grows the smallest difference. So the plaintext
head takes the steps of the secure one, on the same features; with sealed epochs those of the sealed phase alone, from
which the auditor's head comes: it begins with the head that was drawn then, on the rows that the coin chose.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from amint_mpc.afterwards.common import check_own_model
from amint_mpc.afterwards.proving import Prover
from amint_mpc.afterwards.replay import OWN_LOOP, ReplayHead, replayed_head, through_all
from amint_mpc.amint.plaintext_head import HeadWrapper
from amint_mpc.amint.sealing import MixedRows
from amint_mpc.config import Experiment
from amint_mpc.errors import UsageError
from amint_mpc.evidence.verify import verify
from amint_mpc.roles import coin
from amint_mpc.roles.auditor import FIRST_HEAD
from amint_mpc.roles.heads import PlainHead, head_kind
from amint_mpc.roles.plans import sealed_rows
from amint_mpc.runlog.expected import ExpectedEntries

EXTERNAL = ("external",)
MEMBERS = ("members_calibration", "members_report")


@dataclass(frozen=True)
class Agreement:
    """The auditor's head and scores against those of a plaintext head that took the same steps from the same start.

    Args:
        weights: norm of the difference over the norm, of w1 or w2, whichever differs more. moved: the same as a share
            of what the steps changed. scores: as weights, over all five sets.
        loss: L_mint over all members and external images after the last step, from the auditor's scores. Before the
            first one it is 2 ln 2 = 1.386, for the first head's outputs are close to zero.
    """

    weights: float
    moved: float
    scores: float
    loss: float


def compare(auditor: Path, developer: Path, data: Path | None) -> Agreement:
    """Compare the two folders of a finished run with `evidence.replay`.

    Raises:
        EvidenceError, UsageError: as `replay`.
    """
    check_own_model(verify(auditor, ExpectedEntries).experiment, OWN_LOOP)
    prover = Prover.load(developer, data)
    experiment = prover.experiment
    if experiment.training.sealed_epochs and prover.found.log.version == 1:
        raise UsageError("sealed epochs of a log of version 1 had other steps", "Compare a run of today")
    first, last = load_file(auditor / FIRST_HEAD), load_file(auditor / "head.safetensors")
    plain = head_kind(experiment).plaintext(first, experiment.head)
    plain.fresh = lambda: head_kind(experiment).plaintext(first, experiment.head)
    with replayed_head(prover, 0) as head:
        wanted = through_all(prover, head, Beside(head, plain, experiment, developer)).scores
    found = load_file(auditor / "scores.safetensors")
    weights = plain.weights.tensors()
    layers = ("w1", "w2")
    return Agreement(
        weights=_worst(_relative(last[name], weights[name]) for name in layers),
        moved=_worst(_relative(last[name] - first[name], weights[name] - first[name]) for name in layers),
        scores=_relative(*(torch.cat([scores[name] for name in sorted(wanted)]) for scores in (found, wanted))),
        loss=membership_loss(found),
    )


class Beside(HeadWrapper):
    """The head of a replay, and a plaintext one that takes the same steps and gives the scores.

    Args:
        run: the folder of either party, for the coin.
    """

    def __init__(self, head: ReplayHead, plain: PlainHead, experiment: Experiment, run: Path) -> None:
        super().__init__(head)
        self._plain, self._sealed = plain, bool(experiment.training.sealed_epochs)
        self._rows = sealed_rows(experiment, coin.kept(run)) if self._sealed else []

    def step(self, features: Tensor, members: int) -> Tensor:
        """See `MintHead.step`."""
        if not self._sealed:  # else that head is not the auditor's
            self._plain.step(features, members)
        return super().step(features, members)

    def seal(self, features: Tensor) -> None:
        """See `MintHead.seal`."""
        self._plain.seal(features)
        super().seal(features)

    def fit(self, rows: MixedRows) -> None:
        """See `MintHead.fit`."""
        self._plain.fit(self._rows[rows.number])
        super().fit(rows)

    def score(self, features: Tensor) -> Tensor | None:
        """See `MintHead.score`."""
        super().score(features)
        return self._plain.score(features)


def membership_loss(scores: Mapping[str, Tensor]) -> float:
    """L_mint: mean cross-entropy over members plus that over external images, from probabilities."""
    members, external = (torch.cat([scores[name] for name in names]).double() for names in (MEMBERS, EXTERNAL))
    return float(-members.log().mean() - (1 - external).log().mean())


def _worst(found: Iterable[float]) -> float:
    """The largest; NaN where one is."""
    return float(torch.tensor(list(found), dtype=torch.float64).max())


def _relative(found: Tensor, wanted: Tensor) -> float:
    return float((found.double() - wanted.double()).norm() / wanted.double().norm())
