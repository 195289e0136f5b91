"""An order that follows from a secret: for whoever has the secret, and random to everybody else."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor


def permutation(secret: bytes, label: str, count: int) -> Tensor:
    """0 to count - 1 in the order that belongs to a secret of 32 bytes and a label, int64 [count]."""
    seed = int.from_bytes(hashlib.sha256(secret + label.encode()).digest(), "big")
    return torch.from_numpy(np.random.Generator(np.random.PCG64(seed)).permutation(count))
