"""Sealed epochs: the classifier is frozen, a fresh head is trained on its features, and no gradient is opened.

The features of members and external images are shared once, as they are scored (running statistics), rounded to
TABLE_BITS. Every row of a sealed step is a public combination of two of these rows, so that nothing has to be
shared again: row i is

    ((8 - k) x_i + k x_j) / 8        k a whole number, drawn anew for each row of each step

A head that is trained beside the classifier learns while members and external images still lie close together. A fresh
one meets them far apart; any boundary between does for it, and where it lies says little about unseen images. So an
external image is moved towards some member, by k eighths, LEAST <= k <= 8 `training.sealed_mixing`, with its label as
before: that draws the boundary close around the members. (Mixup, Zhang et al. 2018, arXiv 1710.09412, moves inputs and
labels.) The rate falls to a fourth for the last fourth of the steps; it can be much higher than in joint steps, if the
head has few features (`training.sealed_learning_rate`). What all this brings is in docs/method.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from amint_mpc.config import Experiment
from amint_mpc.limits import FEATURE_LIMIT, PARTS, TABLE_BITS

LEAST = 2
"""Parts of a member in an external image's row, at least (if the mixing allows so many)."""
COOL_FROM, COOLED = 0.75, 0.25
"""The rate of the last steps, from this share of them on, times the usual one."""


@dataclass(frozen=True)
class MixedRows:
    """The rows of one sealed step, the members', then the external images', and its rate. Same fields, same rows.

    Args:
        seed: of the experiment. number: of the step, from 0.
        members, external: how many of each are in the table, in this order.
        batch: rows of each in the step. mixing: the largest k. learning_rate: of this step.
    """

    seed: int
    number: int
    members: int
    external: int
    batch: int
    mixing: int
    learning_rate: float

    @property
    def rows(self) -> int:
        """Of the step."""
        return 2 * self.batch

    def __call__(self, table: Tensor) -> Tensor:
        """PARTS times the rows of the step, [rows, F], of a table [members + external, F] of any dtype."""
        # the split draws from the seed, the batches from the word 1
        random = np.random.Generator(np.random.PCG64([self.seed, 2, self.number]))
        inside = torch.from_numpy(random.integers(0, self.members, self.batch))
        outside = torch.from_numpy(random.integers(self.members, self.members + self.external, self.batch))
        partners = torch.from_numpy(random.integers(0, self.members, self.batch))
        k = torch.from_numpy(random.integers(min(LEAST, self.mixing), self.mixing + 1, (self.batch, 1))).to(table.dtype)
        return torch.cat([table[inside] * PARTS, table[outside] * (PARTS - k) + table[partners] * k])


def mixed_rows(experiment: Experiment, number: int) -> MixedRows:
    """The rows of sealed step `number`."""
    data, training = experiment.data, experiment.training
    cooled = COOLED if number >= COOL_FROM * experiment.sealed_steps else 1.0
    return MixedRows(
        experiment.seed,
        number,
        data.members,
        data.external,
        experiment.sealed_batch,
        int(PARTS * training.sealed_mixing),
        (training.sealed_learning_rate or experiment.head.learning_rate) * cooled,
    )


def rounded(features: Tensor) -> Tensor:
    """Features [n, F] as they are shared for sealed steps: multiples of 2^-TABLE_BITS within the limits."""
    nearest: Tensor = (features.double() * 2**TABLE_BITS).round() / 2**TABLE_BITS
    return nearest.clamp(-FEATURE_LIMIT, FEATURE_LIMIT)
