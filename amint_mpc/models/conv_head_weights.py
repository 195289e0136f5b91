"""The convolutional membership head in plaintext: a short form of aMINT's head on tapped maps (arXiv 2509.07879).

    p_t = mean over positions of relu(conv3x3(M_t) + bias)          M_t [n, C, H, W] -> [n, K], for both taps
    z   = output(relu(hidden([p_1, p_2])))                          [n, 2 K] -> [n, hidden] -> [n]

The convolutions keep the size of their map (padding 1). A map of one tap is standardised by position and clipped before
(`amint_mpc.models.features`), as the head relies on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from amint_mpc.errors import DataError
from amint_mpc.models.head_weights import Normal
from amint_mpc.printable import excerpt

TapShapes = tuple[tuple[int, int, int], tuple[int, int, int]]
"""(channels, height, width) of both tapped maps."""
KERNEL = 3
LAYERS = ("first", "second", "hidden", "output")


def conv_shapes(taps: TapShapes, filters: int, hidden: int) -> dict[str, tuple[int, ...]]:
    """Of the parameters, named as in a torch.nn.Module of these layers."""
    maps = {name: (filters, channels, KERNEL, KERNEL) for name, (channels, _, _) in zip(LAYERS, taps, strict=False)}
    weights: dict[str, tuple[int, ...]] = {**maps, "hidden": (hidden, filters * len(taps)), "output": (1, hidden)}
    return {
        f"{name}.{kind}": s for name, shape in weights.items() for kind, s in (("weight", shape), ("bias", shape[:1]))
    }


@dataclass(frozen=True, repr=False)
class ConvWeights:
    """Weights of the head, float64, by name, and the maps that it takes. They are the auditor's secret."""

    taps: TapShapes
    values: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        found = {name: tuple(value.shape) for name, value in self.values.items()}
        filters, hidden = (found.get(f"{name}.bias", (0,))[:1] for name in ("first", "hidden"))
        wanted = conv_shapes(self.taps, filters[0] if filters else 0, hidden[0] if hidden else 0)
        if found != wanted or any(value.dtype != torch.float64 for value in self.values.values()):
            raise DataError("the weights of a convolutional head do not fit together", "Use a file of this program.")

    def __repr__(self) -> str:
        """Sizes only: the values must not end up in a log."""
        return f"ConvWeights(taps={self.taps}, filters={len(self.values['first.bias'])})"

    @property
    def features(self) -> int:
        """F, both maps flattened."""
        return sum(math.prod(tap) for tap in self.taps)

    def tensors(self) -> dict[str, Tensor]:
        """What is stored: the parameters, and `taps`, int64 [2, 3]."""
        return {**self.values, "taps": torch.tensor(self.taps)}

    def pre_activations(self, features: Tensor) -> tuple[list[Tensor], Tensor]:
        """Of both convolutions, [n, K, H, W] each, and of the dense layer, [n, hidden], from features [n, F]."""
        pieces = torch.split(features.to(torch.float64), [math.prod(tap) for tap in self.taps], dim=1)
        maps = [
            F.conv2d(piece.view(-1, *tap), self.values[f"{name}.weight"], self.values[f"{name}.bias"], padding=1)
            for name, tap, piece in zip(LAYERS, self.taps, pieces, strict=False)
        ]
        pooled = torch.cat([each.relu().mean((2, 3)) for each in maps], 1)
        return maps, F.linear(pooled, self.values["hidden.weight"], self.values["hidden.bias"])

    def output(self, hidden: Tensor) -> Tensor:
        """z [n] from the dense layer's pre-activations."""
        return F.linear(hidden.relu(), self.values["output.weight"], self.values["output.bias"]).flatten()

    def logits(self, features: Tensor) -> Tensor:
        """z, float64 [n]."""
        return self.output(self.pre_activations(features)[1])

    def save(self, path: Path) -> None:
        """Write the weights as safetensors."""
        save_file({name: value.contiguous() for name, value in self.tensors().items()}, path)


def init_conv_head(taps: TapShapes, filters: int, hidden: int, normal: Normal) -> ConvWeights:
    """Random first weights from standard normal numbers, as `init_head`: He et al. 2015, biases 0, small output."""
    values = {}
    for name, shape in conv_shapes(taps, filters, hidden).items():
        if name.endswith("bias"):
            values[name] = torch.zeros(shape, dtype=torch.float64)
        else:
            scale = 0.1 / math.sqrt(hidden) if name == "output.weight" else math.sqrt(2 / math.prod(shape[1:]))
            values[name] = normal(*shape) * scale
    return ConvWeights(taps, values)


def load_conv_head(path: Path) -> ConvWeights:
    """Read a head written by `ConvWeights.save`, or by an auditor's run with `head.input: conv`.

    Raises:
        DataError: missing, damaged, or not such a head.
    """
    hint = "Name the head.safetensors of a finished run with head.input: conv."
    try:
        values = load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path} cannot be read: {excerpt(str(error), 200)}", hint) from error
    taps = values.pop("taps", torch.zeros(0))
    if taps.shape != (2, 3) or taps.dtype != torch.int64 or not bool(((taps > 0) & (taps < 2**16)).all()):
        raise DataError(f"{path} is not a convolutional head", hint)
    first, second = (tuple(row) for row in taps.tolist())
    return ConvWeights((first, second), values)
