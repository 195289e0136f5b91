"""The head of `amint_mpc.models.conv_head_weights` as a `crypten.nn` module: same parameters, same function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amint_mpc.mpc.crypten_compat import crypten


class ConvModule(crypten.nn.Module):  # type: ignore[misc,name-defined]
    """Per tapped map: convolution 3 x 3, ReLU, mean over positions; joined; linear, ReLU, linear to one logit.

    Args:
        taps: (channels, height, width) of each tapped map.
        filters: of each convolution. hidden: units of the dense layer.
    """

    def __init__(self, taps: Sequence[tuple[int, int, int]], filters: int, hidden: int) -> None:
        super().__init__()
        nn = crypten.nn
        self.positions = [height * width for _, height, width in taps]
        self.convolutions = [nn.Conv2d(channels, filters, 3, padding=1) for channels, _, _ in taps]
        self.dense = nn.Linear(filters * len(taps), hidden), nn.Linear(hidden, 1)
        for name, layer in zip(("first", "second"), self.convolutions, strict=True):
            self.register_module(name, layer)
        for name, layer in zip(("hidden", "output"), self.dense, strict=True):
            self.register_module(name, layer)

    def forward(self, maps: Sequence[Any]) -> Any:
        """Two shared maps [n, C, H, W] -> shared logits [n]."""
        pooled = []
        for layer, tapped, positions in zip(self.convolutions, maps, self.positions, strict=True):
            pooled.append(layer(tapped).relu().flatten(start_dim=2).sum(2).div(positions))
        hidden, output = self.dense
        return output(hidden(crypten.cat(pooled, dim=1)).relu()).flatten()
