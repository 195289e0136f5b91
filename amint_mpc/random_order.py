"""Drawings that follow from a secret: the same for whoever has it, on every machine; random to everybody else."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def drawn(secret: bytes, purpose: str, total: int, count: int) -> list[int]:
    """`count` different numbers below `total`, in random order: the first steps of a Fisher-Yates shuffle.

    Args:
        secret: 32 random bytes. purpose: drawings with different ones are independent.

    Raises:
        ValueError: there are not so many numbers.
    """
    if not 0 <= count <= total:
        raise ValueError(f"{count} of {total} cannot be drawn")
    start = hashlib.sha256(secret + purpose.encode())
    moved: dict[int, int] = {}
    found = []
    for place in range(count):
        digest = start.copy()
        digest.update(place.to_bytes(8, "little"))
        # 256 bits for less than 2**40 numbers: none is likelier than another by more than 2**-216
        at = place + int.from_bytes(digest.digest(), "little") % (total - place)
        found.append(moved.get(at, at))
        moved[at] = moved.pop(place, place)
    return found


def permutation(secret: bytes, purpose: str, count: int) -> Tensor:
    """0 to count - 1 in random order, int64 [count]. Args: as `drawn`."""
    return torch.tensor(drawn(secret, purpose, count, count), dtype=torch.int64)
