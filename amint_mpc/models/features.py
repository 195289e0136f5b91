"""Features: what the head sees of a backbone's tapped maps. No layer here has weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from amint_mpc.limits import FEATURE_LIMIT

HeadInput = Literal["pooled", "maps", "conv"]


class Features(nn.Module):
    """Tapped maps -> [n, count], standardised column by column and clipped to +-`FEATURE_LIMIT`.

    `pooled`: global maximum and mean of each map, concatenated. `maps`, `conv`: the maps themselves, flattened; what
    differs is the head that takes them. A map is [n, C, H, W], or of tokens [n, T, C], or a vector [n, C].

    Standardising is a batch norm without weights: by the statistics of the batch (members and external together) in
    training, by their running means when scoring. It is what lets the head learn by plain gradient descent at a public
    constant rate, and the developer can do it alone, in plaintext. Clipping keeps the range that the head relies on.

    Maps may have any floating-point type; features have that of the statistics, float32, under mixed precision, too.
    """

    def __init__(self, kind: HeadInput, count: int) -> None:
        super().__init__()
        self.kind = kind
        self.count = count
        self.standardise = nn.BatchNorm1d(count, affine=False)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        with torch.autocast(maps[0].device.type, enabled=False):
            exact = [tapped.to(self.standardise.running_mean) for tapped in maps]
            standard: Tensor = self.standardise(flatten(self.kind, exact))
        return standard.clamp(-FEATURE_LIMIT, FEATURE_LIMIT)


def flatten(kind: HeadInput, maps: Sequence[Tensor]) -> Tensor:
    """Maps -> [n, count], before standardising."""
    if kind != "pooled":
        return torch.cat([tapped.flatten(1) for tapped in maps], 1)
    return torch.cat([pooled for tapped in maps for pooled in _pooled(tapped)], 1)


def _pooled(tapped: Tensor) -> tuple[Tensor, ...]:
    """Of one map, [n, C] each: maximum and mean over its places."""
    if tapped.dim() == 2:
        return (tapped,)
    places = (1,) if tapped.dim() == 3 else tuple(range(2, tapped.dim()))
    return tapped.amax(places), tapped.mean(places)
