"""Correlated randomness for CrypTen's own protocols: one class for each kind of request that it makes; and what our
comparisons in its layers need (`AndOfParts`, `Selection`).

All of it is Beaver's (1991): random operands, drawn by the parties from their seeds, and a function of them whose
shares must fit. Only the developer's share of the function is corrected.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.base import Field, Material
from amint_mpc.mpc.ring import products

Option = str | int | tuple[int, ...]

BILINEAR: Mapping[str, Callable[..., Tensor]] = {
    "mul": torch.mul,
    "matmul": torch.matmul,
    "conv1d": torch.conv1d,
    "conv2d": torch.conv2d,
    "conv_transpose1d": torch.conv_transpose1d,
    "conv_transpose2d": torch.conv_transpose2d,
}


@dataclass(frozen=True)
class Product:
    """A triple a, b, c = operation(a, b) over Z_2^64.

    Args:
        operation: a key of `BILINEAR`.
        left, right: shapes of a and b.
        options: keyword arguments of the operation, sorted by name.
    """

    operation: str
    left: tuple[int, ...]
    right: tuple[int, ...]
    options: tuple[tuple[str, Option], ...] = ()

    def __post_init__(self) -> None:
        if self.operation not in BILINEAR:
            raise ValueError(f"no triple for {self.operation}; there are {', '.join(BILINEAR)}")

    def apply(self, a: Tensor, b: Tensor) -> Tensor:
        """operation(a, b) mod 2^64."""
        if self.operation == "matmul" and a.dim() == b.dim() == 2:
            return products.matmul(a, b)
        return BILINEAR[self.operation](a, b, **dict(self.options))

    @cached_property
    def fields(self) -> Mapping[str, Field]:
        # Of zeros: tensors without data (device "meta") would take seconds, to import what they do not need.
        if self.operation == "mul":
            shape = np.broadcast_shapes(self.left, self.right)
        else:
            zeros = torch.zeros(self.left), torch.zeros(self.right)
            shape = tuple(BILINEAR[self.operation](*zeros, **dict(self.options)).shape)
        return {"a": Field(self.left), "b": Field(self.right), "c": Field(shape, corrected=True)}

    def corrections(self, developer: Material, auditor: Material) -> dict[str, Tensor]:
        a, b = developer["a"] + auditor["a"], developer["b"] + auditor["b"]
        return {"c": self.apply(a, b) - auditor["c"]}


@dataclass(frozen=True)
class Square:
    """A pair r, r2 = r^2 over Z_2^64."""

    shape: tuple[int, ...]

    @property
    def fields(self) -> Mapping[str, Field]:
        return {"r": Field(self.shape), "r2": Field(self.shape, corrected=True)}

    def corrections(self, developer: Material, auditor: Material) -> dict[str, Tensor]:
        r = developer["r"] + auditor["r"]
        return {"r2": r * r - auditor["r2"]}


@dataclass(frozen=True)
class AndTriple:
    """XOR-shared words a, b, c = a & b. Args: left, right: shapes of a and b. dtype: of all three."""

    left: tuple[int, ...]
    right: tuple[int, ...]
    dtype: torch.dtype = torch.int64

    @cached_property
    def fields(self) -> Mapping[str, Field]:
        shape = np.broadcast_shapes(self.left, self.right)
        return {
            "a": Field(self.left, self.dtype),
            "b": Field(self.right, self.dtype),
            "c": Field(shape, self.dtype, corrected=True),
        }

    def corrections(self, developer: Material, auditor: Material) -> dict[str, Tensor]:
        a, b = developer["a"] ^ auditor["a"], developer["b"] ^ auditor["b"]
        return {"c": (a & b) ^ auditor["c"]}


@dataclass(frozen=True)
class AndOfParts:
    """Bytes alpha of the developer alone and beta of the auditor alone, and XOR shares of c = alpha & beta."""

    shape: tuple[int, ...]

    @property
    def fields(self) -> Mapping[str, Field]:
        return {
            "alpha": Field(self.shape, torch.uint8, holders=(DEVELOPER,)),
            "beta": Field(self.shape, torch.uint8, holders=(AUDITOR,)),
            "c": Field(self.shape, torch.uint8, corrected=True),
        }

    def corrections(self, developer: Material, auditor: Material) -> dict[str, Tensor]:
        return {"c": (developer["alpha"] & auditor["beta"]) ^ auditor["c"]}


@dataclass(frozen=True)
class Selection:
    """Random bits beta and words r: XOR shares of beta are the low bits of `word`; `ring` adds up to beta, `product` to
    beta r."""

    shape: tuple[int, ...]

    @property
    def fields(self) -> Mapping[str, Field]:
        return {
            "word": Field(self.shape, torch.uint8),
            "r": Field(self.shape),
            "ring": Field(self.shape, corrected=True),
            "product": Field(self.shape, corrected=True),
        }

    def corrections(self, developer: Material, auditor: Material) -> dict[str, Tensor]:
        beta = ((developer["word"] ^ auditor["word"]) & 1).long()
        product = beta * (developer["r"] + auditor["r"])
        return {"ring": beta - auditor["ring"], "product": product - auditor["product"]}


@dataclass(frozen=True)
class SharedBit:
    """A random bit in both kinds of sharing. Its XOR shares are the low bits of `word`; `ring` adds up to it."""

    shape: tuple[int, ...]

    @property
    def fields(self) -> Mapping[str, Field]:
        return {"word": Field(self.shape, torch.uint8), "ring": Field(self.shape, corrected=True)}

    def corrections(self, developer: Material, auditor: Material) -> dict[str, Tensor]:
        bit = (developer["word"] ^ auditor["word"]) & 1
        return {"ring": bit.long() - auditor["ring"]}


@dataclass(frozen=True)
class Wraps:
    """A random r, and theta: how often the sum of its two signed shares leaves [-2^63, 2^63), with sign."""

    shape: tuple[int, ...]

    @property
    def fields(self) -> Mapping[str, Field]:
        return {"r": Field(self.shape), "theta": Field(self.shape, corrected=True)}

    def corrections(self, developer: Material, auditor: Material) -> dict[str, Tensor]:
        mine, theirs = developer["r"], auditor["r"]
        total = mine + theirs
        theta = ((mine >= 0) & (theirs >= 0) & (total < 0)).long() - ((mine < 0) & (theirs < 0) & (total >= 0)).long()
        return {"theta": theta - auditor["theta"]}
