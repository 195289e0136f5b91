"""How far a secure run and its plaintext twin agree that began with the same head, and whether the head learned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

EXTERNAL = ("external",)
MEMBERS = ("members_calibration", "members_report")


@dataclass(frozen=True)
class Agreement:
    """Args:
    weights, scores: norm of the difference over the norm of the twin's; weights: of the tensor that differs most.
    loss: L_mint over all members and external images, from the auditor's final scores.
    twin_loss: the same of the twin.
    """

    weights: float
    scores: float
    loss: float
    twin_loss: float


def compare(auditor: Path, twin: Path) -> Agreement:
    """Args: the run folders of the auditor and of the twin, both finished."""
    heads = load_file(auditor / "head.safetensors"), load_file(twin / "head.safetensors")
    scores = load_file(auditor / "scores.safetensors"), load_file(twin / "scores.safetensors")
    return Agreement(
        weights=max(_relative(heads[0][name], heads[1][name]) for name in ("w1", "w2")),
        scores=_relative(*(torch.cat([found[name] for name in sorted(scores[1])]) for found in scores)),
        loss=membership_loss(scores[0]),
        twin_loss=membership_loss(scores[1]),
    )


def membership_loss(scores: Mapping[str, Tensor]) -> float:
    """L_mint: mean cross-entropy over members plus that over external images, from probabilities."""
    members, external = (torch.cat([scores[name] for name in names]).double() for names in (MEMBERS, EXTERNAL))
    return float(-members.log().mean() - (1 - external).log().mean())


def _relative(found: Tensor, wanted: Tensor) -> float:
    return float((found.double() - wanted.double()).norm() / wanted.double().norm())
