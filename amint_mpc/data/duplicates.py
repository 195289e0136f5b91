"""Identical pictures: found, left out, and counted where they stand in more than one set of a split."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class SplitCounts:
    """What a split holds; it stays with the developer.

    Args:
        duplicates: "set and set" -> how many different pictures stand in both; pairs that share none are left out.
        class_counts: role -> images of each class [classes]. Those of external images are counted here and then
            forgotten: nothing is trained on them.
    """

    duplicates: dict[str, int]
    class_counts: dict[str, list[int]]

    def sentence(self) -> str:
        """For the user."""
        if not self.duplicates:
            return "no image is in more than one set"
        pairs = ", ".join(f"{pair} {count:,}" for pair, count in self.duplicates.items())
        return f"identical pictures stand in two sets ({pairs}); with data.duplicates=drop one copy of each takes part"


def alike(images: Tensor) -> Rows:
    """Numbers [N] that are equal just where the pixels are: images uint8 [N, C, H, W] are compared by SHA-256."""
    rows = images.flatten(1).contiguous().numpy()
    prints = b"".join(hashlib.sha256(row.data).digest() for row in rows)
    numbers: Rows = np.unique(np.frombuffer(prints, dtype="V32"), return_inverse=True)[1]
    return numbers


def first_copies(order: Rows, numbers: Rows) -> Rows:
    """`order` (row numbers) without those whose picture has come before."""
    _, first = np.unique(numbers[order], return_index=True)
    kept: Rows = order[np.sort(first)]
    return kept


def shared(sets: Mapping[str, Rows], numbers: Rows) -> dict[str, int]:
    """How many different pictures each two sets (name -> row numbers) have in common, where there are any."""
    pictures = {name: np.unique(numbers[rows]) for name, rows in sets.items()}
    pairs = {
        f"{one} and {other}": len(np.intersect1d(pictures[one], pictures[other], assume_unique=True))
        for one, other in combinations(sets, 2)
    }
    return {pair: count for pair, count in pairs.items() if count}
