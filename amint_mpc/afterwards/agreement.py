"""Whether a secure run computed what training in the clear computes: its steps again, with a plaintext head beside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from amint_mpc.afterwards.replay import beside
from amint_mpc.evidence.verify import verify
from amint_mpc.roles.auditor import FIRST_HEAD
from amint_mpc.roles.heads import head_kind
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
    experiment = verify(auditor, ExpectedEntries).experiment
    first, last = load_file(auditor / FIRST_HEAD), load_file(auditor / "head.safetensors")
    plain = head_kind(experiment).plaintext(first, experiment.head)
    wanted, found = beside(developer, data, plain), load_file(auditor / "scores.safetensors")
    weights = plain.weights.tensors()
    layers = ("w1", "w2")
    return Agreement(
        weights=_worst(_relative(last[name], weights[name]) for name in layers),
        moved=_worst(_relative(last[name] - first[name], weights[name] - first[name]) for name in layers),
        scores=_relative(*(torch.cat([scores[name] for name in sorted(wanted)]) for scores in (found, wanted))),
        loss=membership_loss(found),
    )


def membership_loss(scores: Mapping[str, Tensor]) -> float:
    """L_mint: mean cross-entropy over members plus that over external images, from probabilities."""
    members, external = (torch.cat([scores[name] for name in names]).double() for names in (MEMBERS, EXTERNAL))
    return float(-members.log().mean() - (1 - external).log().mean())


def _worst(found: Iterable[float]) -> float:
    """The largest; NaN where one is."""
    return float(torch.tensor(list(found), dtype=torch.float64).max())


def _relative(found: Tensor, wanted: Tensor) -> float:
    return float((found.double() - wanted.double()).norm() / wanted.double().norm())
