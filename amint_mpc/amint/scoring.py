"""The order in which the images of a scoring go to the head, and the way back to their sets.

Developer and auditor draw one order of all rows of a scoring, members, external and unseen images alike, from a secret
that both have and that a dealer never learns. So whoever makes the masks cannot tell whose row a block serves.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from amint_mpc.amint.schedule import ScoreSets
from amint_mpc.random_order import permutation

ScoringOrder = Callable[[ScoreSets], Tensor]
"""Of a scoring, for each place the row that stands there: int64 [count], rows counted over its sets in their order."""


def in_order(item: ScoreSets) -> Tensor:
    """Set by set: where nobody makes masks for another one."""
    return torch.arange(item.count)


def drawn_from(secret: bytes) -> ScoringOrder:
    """Orders that follow from a secret alone, one for each scoring of a run."""

    def order(item: ScoreSets) -> Tensor:
        label = f"order of the scoring after epoch {item.epoch}, {'final' if item.final else 'one of several'}"
        return permutation(secret, label, item.count)

    return order


def sets_of(item: ScoreSets, order: Tensor, scores: Tensor) -> dict[str, Tensor]:
    """Scores by set, from those in the order in which they were computed, [count]."""
    back = torch.empty_like(scores)
    back[order] = scores
    parts = torch.split(back, [count for _, count in item.sets])
    return {name: part for (name, _), part in zip(item.sets, parts, strict=True)}
