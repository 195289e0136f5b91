"""Matrix products and convolutions as matrices S [n, k] and R [f, k], of which S R^T is wanted; both stand linearly.

A convolution: a row of S for each place of the output, with the k entries of the input that the kernel sees there; a
row of R for each filter. A transposed one is a convolution of the input with zeros in between, and with the kernel
turned around. Groups, and the matrices of a batch, are pairs of their own: right, but dear, as each is encrypted alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from amint_mpc.mpc.correlations.generic import Product

Pairs = list[tuple[Tensor, Tensor]]


class Form(ABC):
    """Of one operation on operands of certain shapes."""

    @abstractmethod
    def pairs(self, a: Tensor, b: Tensor) -> Pairs:
        """S and R of each product of matrices."""

    @abstractmethod
    def join(self, results: Sequence[Tensor]) -> Tensor:
        """The operation's result, of all S R^T."""


def form_of(triple: Product) -> Form:
    """Of anything but "mul"."""
    return Matrices(triple) if triple.operation == "matmul" else Convolution(triple)


class Matrices(Form):
    """torch.matmul."""

    def __init__(self, triple: Product) -> None:
        self._shape = triple.fields["c"].shape
        left, right = triple.left, triple.right
        self._left = (1, *left) if len(left) == 1 else left
        self._right = (*right, 1) if len(right) == 1 else right
        self._batch = np.broadcast_shapes(self._left[:-2], self._right[:-2])

    def pairs(self, a: Tensor, b: Tensor) -> Pairs:
        a, b = a.reshape(self._left), b.reshape(self._right)
        if b.dim() == 2:  # all rows of a at once
            return [(a.reshape(-1, a.shape[-1]), b.T)]
        s, r = (each.expand(*self._batch, *each.shape[-2:]).reshape(-1, *each.shape[-2:]) for each in (a, b))
        return [(one, other.T) for one, other in zip(s, r, strict=True)]

    def join(self, results: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(results)).reshape(self._shape)


class Convolution(Form):
    """torch.conv1d, conv2d, and the transposed ones; one dimension is two of which the first is 1."""

    def __init__(self, triple: Product) -> None:
        options, self._two = dict(triple.options), triple.operation.endswith("2d")
        self._shape = triple.fields["c"].shape
        self._groups = int(options.get("groups", 1))  # type: ignore[arg-type]
        self._transposed = "transpose" in triple.operation
        self._stride, self._dilation = (self._pair(options.get(name, 1), 1) for name in ("stride", "dilation"))
        self._padding, self._more = (self._pair(options.get(name, 0), 0) for name in ("padding", "output_padding"))

    def _pair(self, value: object, neutral: int) -> tuple[int, int]:
        if isinstance(value, str):
            raise ValueError(f"padding in numbers is wanted, not {value!r}")
        values = value if isinstance(value, tuple) else (value,) * (2 if self._two else 1)
        return values if self._two else (neutral, *values)  # type: ignore[return-value]

    def pairs(self, a: Tensor, b: Tensor) -> Pairs:
        if not self._two:
            a, b = a.unsqueeze(-2), b.unsqueeze(-2)
        kernel: tuple[int, int] = tuple(b.shape[-2:])  # type: ignore[assignment]
        filters = b.reshape(self._groups, -1, *b.shape[1:])
        if self._transposed:
            a = self._spread(a, kernel)
            filters = filters.transpose(1, 2).flip(-2, -1)
        else:
            a = F.pad(a, (self._padding[1],) * 2 + (self._padding[0],) * 2)
        seen = self._seen(a, kernel)
        found = []
        for inputs, outputs in zip(seen.chunk(self._groups, dim=1), filters, strict=True):
            s = inputs.permute(0, 2, 3, 1, 4, 5).reshape(-1, outputs[0].numel())
            found.append((s, outputs.reshape(len(outputs), -1)))
        return found

    def join(self, results: Sequence[Tensor]) -> Tensor:
        batch, _, *places = self._shape
        columns = torch.cat(list(results), dim=1)  # the groups' filters one after another
        return columns.reshape(batch, *places, -1).movedim(-1, 1).contiguous()

    def _spread(self, a: Tensor, kernel: tuple[int, int]) -> Tensor:
        """The input of a transposed convolution, with zeros in between and around, for one with a stride of 1."""
        sizes = [(size - 1) * stride + 1 for size, stride in zip(a.shape[-2:], self._stride, strict=True)]
        spread = a.new_zeros(*a.shape[:2], *sizes)
        spread[..., :: self._stride[0], :: self._stride[1]] = a
        around: list[int] = []
        for axis in (1, 0):  # negative where the padding is wider than the kernel reaches: F.pad cuts off then
            side = self._dilation[axis] * (kernel[axis] - 1) - self._padding[axis]
            around += [side, side + self._more[axis]]
        return F.pad(spread, around)

    def _seen(self, a: Tensor, kernel: tuple[int, int]) -> Tensor:
        """What the kernel sees at each place, [n, channels, places, places, kernel, kernel]."""
        a = a.contiguous()
        n, channels, *sizes = a.shape
        steps = (1, 1) if self._transposed else self._stride
        places = [
            (size - dilation * (width - 1) - 1) // step + 1
            for size, dilation, width, step in zip(sizes, self._dilation, kernel, steps, strict=True)
        ]
        one, other, *along = a.stride()
        between = [stride * step for stride, step in zip(along, steps, strict=True)]
        within = [stride * dilation for stride, dilation in zip(along, self._dilation, strict=True)]
        return a.as_strided((n, channels, *places, *kernel), (one, other, *between, *within))
