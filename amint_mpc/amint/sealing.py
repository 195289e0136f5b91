"""Sealed epochs: the classifier is frozen, a fresh head is trained on its features, and no gradient is opened.

The features of members and external images are shared once, as they are scored (running statistics), rounded to
FRACTION_BITS. Every row of a sealed step is a public combination of two of these rows, so that nothing has to be
shared again: row i is

    ((8 - k) x_i + k x_j) / 8        k a whole number, drawn anew for each row of each step

A head that is trained beside the classifier learns while members and external images still lie close together. A fresh
one meets them far apart; any boundary between does for it, and where it lies says little about unseen images. So an
external image is moved towards a member of the same step, by k eighths, 0 <= k <= 8 `training.sealed_mixing`, with its
label as before: that draws the boundary close around the members. (Mixup, Zhang et al. 2018, arXiv 1710.09412, moves
inputs and labels.) What it brings is in docs/method.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from amint_mpc.config import Experiment
from amint_mpc.limits import FEATURE_LIMIT

FRACTION_BITS = 5
PARTS = 8
"""A coefficient is so many parts of a whole."""


@dataclass(frozen=True)
class MixedRows:
    """The rows of one sealed step: the members', then the external images'. Same fields, same rows, everywhere.

    Args:
        seed: of the experiment. number: of the step, from 0.
        members, external: how many of each are in the table, in this order.
        batch: rows of each in the step. mixing: the largest k.
    """

    seed: int
    number: int
    members: int
    external: int
    batch: int
    mixing: int

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
        k = torch.from_numpy(random.integers(0, self.mixing + 1, (self.batch, 1))).to(table.dtype)
        return torch.cat([table[inside] * PARTS, table[outside] * (PARTS - k) + table[partners] * k])


def mixed_rows(experiment: Experiment, number: int) -> MixedRows:
    """The rows of sealed step `number`."""
    data, mixing = experiment.data, int(PARTS * experiment.training.sealed_mixing)
    return MixedRows(experiment.seed, number, data.members, data.external, experiment.sealed_batch, mixing)


def rounded(features: Tensor) -> Tensor:
    """Features [n, F] as they are shared for sealed steps: multiples of 2^-FRACTION_BITS within the limits."""
    nearest: Tensor = (features.double() * 2**FRACTION_BITS).round() / 2**FRACTION_BITS
    return nearest.clamp(-FEATURE_LIMIT, FEATURE_LIMIT)
