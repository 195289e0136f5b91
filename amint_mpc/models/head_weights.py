"""The membership head in plaintext: its weights, how they start, what it computes, and its file.

z = relu(X w1 + b1) . w2 + b2          X [n, F] features, z [n] logits; sigmoid(z) is the membership probability
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from amint_mpc.errors import DataError
from amint_mpc.printable import excerpt

Normal = Callable[..., Tensor]
"""normal(*shape) -> standard normal numbers of that shape, float64."""


@dataclass(frozen=True, repr=False)
class HeadWeights:
    """Weights of the head, all float64: w1 [F, H], b1 [H], w2 [H], b2 []. They are the auditor's secret."""

    w1: Tensor
    b1: Tensor
    w2: Tensor
    b2: Tensor

    def __post_init__(self) -> None:
        if self.w1.dim() != 2 or self.b1.shape != self.w1.shape[1:] or self.w2.shape != self.b1.shape or self.b2.dim():
            raise DataError("the weights of a head do not fit together", "Expected w1 [F, H], b1 [H], w2 [H], b2 [].")
        if any(value.dtype != torch.float64 for value in self.tensors().values()):
            raise DataError("the weights of a head are not float64", "Use a file that this program has written.")

    def __repr__(self) -> str:
        """Sizes only: the values must not end up in a log."""
        return f"HeadWeights(features={self.w1.shape[0]}, hidden={self.w1.shape[1]})"

    def tensors(self) -> dict[str, Tensor]:
        """The four tensors by name, as they are stored."""
        return {"w1": self.w1, "b1": self.b1, "w2": self.w2, "b2": self.b2}

    def clone(self) -> HeadWeights:
        """A copy that shares no memory."""
        return HeadWeights(**{name: value.clone() for name, value in self.tensors().items()})

    def hidden(self, features: Tensor) -> Tensor:
        """Pre-activations X w1 + b1, [n, H]."""
        return features.to(torch.float64) @ self.w1 + self.b1

    def logits(self, features: Tensor) -> Tensor:
        """z, float64 [n]."""
        return self.hidden(features).relu() @ self.w2 + self.b2

    def save(self, path: Path) -> None:
        """Write the weights as safetensors."""
        save_file({name: value.contiguous() for name, value in self.tensors().items()}, path)


def seeded_normal(seed: int) -> Normal:
    """Standard normal numbers from a reproducible generator. Not for a head that must stay secret."""
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(shape, generator=generator, dtype=torch.float64)


def init_head(features: int, hidden: int, normal: Normal) -> HeadWeights:
    """Random first weights, from standard normal numbers that the caller's generator draws.

    w1 after He et al. 2015 (arXiv 1502.01852), biases 0, w2 a tenth of 1/sqrt(hidden): the first logits are close to
    0, so that L_mint starts at 2 ln 2, the public constant that the joint objective divides it by.
    """
    w1 = normal(features, hidden) * math.sqrt(2 / features)
    w2 = normal(hidden) * 0.1 / math.sqrt(hidden)
    return HeadWeights(w1, torch.zeros_like(w2), w2, torch.zeros((), dtype=torch.float64))


def load_head(path: Path) -> HeadWeights:
    """Read a head written by `HeadWeights.save`.

    Raises:
        DataError: missing, damaged, or not a head.
    """
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(
            f"{path} cannot be read: {excerpt(str(error), 200)}", "Name the head.safetensors of a finished run."
        ) from error
    if set(tensors) != {"w1", "b1", "w2", "b2"}:
        raise DataError(f"{path} is not a membership head", "Name the head.safetensors of a finished run.")
    return HeadWeights(**tensors)
